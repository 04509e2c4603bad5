//! Answers of a server taken apart, each element alone: one that is no text, or too long (nil), costs itself.

use std::time::{Duration, SystemTime};

use redis::Value;

/// The longest name of a container that is read back: a cgroup's name has 255 bytes, and the machine's may follow.
const LONGEST_NAME: usize = 512;
/// The latest time that is believed, in milliseconds: the end of the year 9999.
const LATEST: f64 = 253_402_300_799_999.0;

/// An entry of a stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ReadEntry {
    pub(super) id: String,
    /// The value of the field that was asked for.
    pub(super) text: Option<Vec<u8>>,
}

/// The members of a sorted set of names, with their times, by name. A list of pairs in RESP3, a flat list in RESP2.
pub(super) fn members(answer: Value) -> Vec<(String, SystemTime)> {
    let Value::Array(items) = answer else { return Vec::new() };
    let mut items = items.into_iter();
    let mut members = Vec::new();
    while let Some(item) = items.next() {
        let (name, score) = match item {
            Value::Array(pair) => match <[Value; 2]>::try_from(pair) {
                Ok([name, score]) => (name, score),
                Err(_) => continue,
            },
            name => (name, items.next().unwrap_or(Value::Nil)),
        };
        members.extend(self::name(name).zip(time(&score)));
    }
    members.sort();
    members
}

fn name(value: Value) -> Option<String> {
    String::from_utf8(bytes(value)?).ok().filter(|name| !name.is_empty() && name.len() <= LONGEST_NAME)
}

/// A score, which is a time in milliseconds.
fn time(score: &Value) -> Option<SystemTime> {
    let millis = match score {
        Value::Double(score) => *score,
        Value::BulkString(text) => std::str::from_utf8(text).ok()?.parse().ok()?,
        Value::SimpleString(text) => text.parse().ok()?,
        _ => return None,
    };
    if !(0.0..=LATEST).contains(&millis) {
        return None;
    }
    SystemTime::UNIX_EPOCH
        .checked_add(Duration::try_from_secs_f64((millis / 1e3).trunc()).ok()?)
        .map(|time| time + Duration::from_millis(rest(millis)))
}

/// The milliseconds within a second.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 999")]
fn rest(millis: f64) -> u64 {
    (millis % 1e3) as u64
}

/// The entries of a stream, with the value of one field.
pub(super) fn entries(answer: Value, field: &str) -> Vec<ReadEntry> {
    let Value::Array(items) = answer else { return Vec::new() };
    items.into_iter().filter_map(|item| entry(item, field)).collect()
}

fn entry(item: Value, field: &str) -> Option<ReadEntry> {
    let Value::Array(parts) = item else { return None };
    let [id, fields] = <[Value; 2]>::try_from(parts).ok()?;
    let id = String::from_utf8(bytes(id)?).ok()?;
    let mut fields = match fields {
        Value::Array(fields) => fields.into_iter(),
        _ => Vec::new().into_iter(),
    };
    while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
        if bytes(name).is_some_and(|name| name == field.as_bytes()) {
            return Some(ReadEntry { id, text: bytes(value) });
        }
    }
    Some(ReadEntry { id, text: None })
}

/// The bytes of a text.
pub(super) fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text.into_bytes()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &[u8]) -> Value {
        Value::BulkString(text.to_vec())
    }

    fn at(millis: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(millis)
    }

    #[test]
    fn a_member_that_is_no_name_or_has_no_time_costs_only_itself() {
        let (web, db) = (("web".to_owned(), at(1_700_000_000_123)), ("db".to_owned(), at(7)));
        let flat = Value::Array(vec![
            text(b"\xff"),
            text(b"5"),
            text(b"web"),
            text(b"1700000000123"),
            Value::Nil,
            text(b"6"),
            text(b"forever"),
            text(b"inf"),
            text(b"1e300"),
            text(b"1e300"),
            text(b""),
            text(b"1"),
            text(b"db"),
            text(b"7.5"),
            text(b"odd"),
        ]);
        assert_eq!(members(flat), [db.clone(), web.clone()]);
        let pair = |name: Value, score: Value| Value::Array(vec![name, score]);
        let pairs = Value::Array(vec![
            pair(text(b"web"), Value::Double(1_700_000_000_123.0)),
            pair(text(b"x"), Value::Double(f64::NEG_INFINITY)),
            Value::Array(vec![text(b"alone")]),
            pair(text(&[b'l'; 1000]), Value::Double(1.0)),
            pair(text(b"db"), Value::Double(7.5)),
        ]);
        assert_eq!(members(pairs), [db, web]);
        assert_eq!(members(Value::Nil), []);
    }

    #[test]
    fn an_entry_has_the_field_that_was_asked_for_or_none() {
        let entry = |id: &[u8], fields: Value| Value::Array(vec![text(id), fields]);
        let all = Value::Array(vec![
            entry(b"1-0", Value::Array(vec![text(b"a"), text(b"b"), text(b"report"), text(b"{}")])),
            entry(b"2-0", Value::Nil),
            entry(b"3-0", Value::Array(vec![text(b"report")])),
            entry(b"\xff", Value::Array(vec![text(b"report"), text(b"{}")])),
            Value::Nil,
            entry(b"4-0", Value::Array(vec![text(b"report"), Value::Nil])),
        ]);
        let read = |id: &str, text: Option<&str>| ReadEntry { id: id.to_owned(), text: text.map(Into::into) };
        let expected = [read("1-0", Some("{}")), read("2-0", None), read("3-0", None), read("4-0", None)];
        assert_eq!(entries(all, "report"), expected);
    }
}
