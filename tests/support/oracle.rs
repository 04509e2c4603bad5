//! Judges documents by the rules of the one reader that decodes strictly: typed fields, whole numbers as digits, names
//! compared without case, the last one wins, and one bad field invalidates the document. Written from those rules, not
//! from the agent's own types.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

/// A demand of the contract on a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    /// Digits only, 0 to `i64::MAX`, or null.
    Whole,
    /// Finite, not negative, or null.
    Real,
}

const REPORT: &[(&str, Kind)] = &[
    ("container_name", Kind::Text),
    ("timestamp", Kind::Text),
    ("cpu_percent", Kind::Real),
    ("memory_usage_bytes", Kind::Whole),
    ("memory_percent", Kind::Real),
    ("network_rx_bytes", Kind::Whole),
    ("network_tx_bytes", Kind::Whole),
    ("disk_read_bytes", Kind::Whole),
    ("disk_write_bytes", Kind::Whole),
    ("disk_usage_bytes", Kind::Whole),
    ("disk_total_bytes", Kind::Whole),
    ("disk_percent", Kind::Real),
    ("process_count", Kind::Whole),
    ("file_descriptors", Kind::Whole),
    ("load_average_1m", Kind::Real),
    ("load_average_5m", Kind::Real),
    ("load_average_15m", Kind::Real),
    ("uptime_seconds", Kind::Whole),
    ("status", Kind::Text),
];

const ENTRY: [&str; 4] = ["container_name", "timestamp", "level", "message"];

/// A report that passed.
#[derive(Debug)]
pub struct Judged {
    numbers: BTreeMap<&'static str, Option<f64>>,
    pub timestamp: String,
    pub status: String,
    /// Why numbers are null, by their names.
    pub absent: BTreeMap<String, String>,
    /// The whole document, for the fields outside of the contract.
    pub json: Value,
}

impl Judged {
    /// A contract field's number; `None` for null.
    pub fn number(&self, field: &str) -> Option<f64> {
        *self.numbers.get(field).unwrap_or_else(|| panic!("{field} is no number of the contract"))
    }
}

/// The causes of the numbers that a report does not have: of schema 3 with each text once, of schema 2 with a text per
/// number. Other documents may have neither.
pub fn absent(report: &Value) -> Result<BTreeMap<String, String>, String> {
    let all = match report["schema"].as_u64() {
        None => return Ok(BTreeMap::new()),
        Some(2) if report.get("causes").is_none() => None,
        Some(3) => Some(distinct(&report["causes"])?),
        _ => return Err(format!("schema is {}, causes are {}", report["schema"], report["causes"])),
    };
    let (mut absent, mut used) = (BTreeMap::new(), BTreeSet::new());
    for (field, told) in report["absent"].as_object().ok_or("absent is no object")? {
        let cause = match &all {
            None => told.as_str(),
            Some(all) => told.as_u64().and_then(|index| Some(all.get(usize::try_from(index).ok()?)?.as_str())),
        };
        let cause = cause.ok_or_else(|| format!("{field} is absent because of {told}"))?;
        used.insert(cause.to_owned());
        absent.insert(field.clone(), cause.to_owned());
    }
    match all.into_iter().flatten().find(|cause| !used.contains(cause)) {
        Some(cause) => Err(format!("nothing is absent because of {cause:?}")),
        None => Ok(absent),
    }
}

/// Texts, none of which may be there twice.
fn distinct(causes: &Value) -> Result<Vec<String>, String> {
    let texts: Vec<String> = serde_json::from_value(causes.clone()).map_err(|_| format!("causes are {causes}"))?;
    let all: BTreeSet<&String> = texts.iter().collect();
    if all.len() < texts.len() { Err(format!("a cause is there twice: {causes}")) } else { Ok(texts) }
}

/// Records the numbers that are not zero. Indices of causes are none.
fn note(path: &str, value: &Value) {
    match value {
        Value::Object(members) => members.iter().filter(|(name, _)| *name != "absent").for_each(|(name, member)| {
            note(&if path.is_empty() { name.clone() } else { format!("{path}.{name}") }, member);
        }),
        Value::Number(number) if number.as_f64() != Some(0.0) => crate::seen(path),
        _ => {}
    }
}

/// Judges the bytes under `system:metrics:{name}`.
pub fn report(name: &str, bytes: &[u8]) -> Result<Judged, String> {
    let members = members(bytes)?;
    let mut numbers = BTreeMap::new();
    let mut texts = BTreeMap::new();
    for (at, (field, kind)) in REPORT.iter().enumerate() {
        let found: Vec<_> = members.iter().filter(|(key, _)| key.eq_ignore_ascii_case(field)).collect();
        let [(key, raw)] = found[..] else { return Err(format!("{field} is there {} times", found.len())) };
        if key != field {
            return Err(format!("{field} is written {key}"));
        }
        if members[at].0 != *field {
            return Err(format!("{field} is not at its place"));
        }
        match kind {
            Kind::Text => {
                let text: String = serde_json::from_str(raw.get()).map_err(|_| format!("{field} is no text: {raw}"))?;
                texts.insert(*field, text);
            }
            Kind::Whole => _ = numbers.insert(*field, whole(field, raw.get())?),
            Kind::Real => _ = numbers.insert(*field, real(field, raw.get())?),
        }
    }
    if texts["container_name"] != name {
        return Err(format!("container_name is {:?}, the key says {name:?}", texts["container_name"]));
    }
    if !["running", "exited", "paused"].contains(&texts["status"].as_str()) {
        return Err(format!("status is {:?}", texts["status"]));
    }
    timestamp(&texts["timestamp"])?;
    percent(&numbers)?;
    let json: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    note("", &json);
    let absent = absent(&json)?;
    Ok(Judged { numbers, timestamp: texts["timestamp"].clone(), status: texts["status"].clone(), absent, json })
}

/// A log entry that passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub timestamp: String,
    pub level: String,
    pub message: String,
}

/// Judges the bytes under a key `system:logs:{name}:{nanoseconds}`.
pub fn entry(name: &str, key: &str, bytes: &[u8]) -> Result<Entry, String> {
    let members = members(bytes)?;
    let mut texts = BTreeMap::new();
    for field in ENTRY {
        let found: Vec<_> = members.iter().filter(|(key, _)| key.eq_ignore_ascii_case(field)).collect();
        let [(_, raw)] = found[..] else { return Err(format!("{field} is there {} times", found.len())) };
        texts.insert(
            field,
            serde_json::from_str::<String>(raw.get()).map_err(|_| format!("{field} is no text: {raw}"))?,
        );
    }
    if texts["container_name"] != name {
        return Err(format!("container_name is {:?}, not {name:?}", texts["container_name"]));
    }
    if !["ERROR", "WARN", "INFO", "DEBUG"].contains(&texts["level"].as_str()) {
        return Err(format!("level is {:?}", texts["level"]));
    }
    let nanos = timestamp(&texts["timestamp"])?;
    let wanted = format!("system:logs:{name}:{nanos:019}");
    if key != wanted {
        return Err(format!("the key is {key}, its entry belongs under {wanted}"));
    }
    Ok(Entry {
        timestamp: texts["timestamp"].clone(),
        level: texts["level"].clone(),
        message: texts["message"].clone(),
    })
}

/// The members of one object, in order, with duplicates, and nothing before or after it.
fn members(bytes: &[u8]) -> Result<Vec<(String, Box<RawValue>)>, String> {
    struct Members;
    impl<'de> Visitor<'de> for Members {
        type Value = Vec<(String, Box<RawValue>)>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut members = Vec::new();
            while let Some(member) = map.next_entry()? {
                members.push(member);
            }
            Ok(members)
        }
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
    if !text.starts_with('{') || !text.ends_with('}') {
        return Err(format!("something stands before or after the object: {text:?}"));
    }
    let mut json = serde_json::Deserializer::from_str(text);
    let members = json.deserialize_map(Members).map_err(|error| error.to_string())?;
    json.end().map_err(|error| error.to_string())?;
    Ok(members)
}

fn whole(field: &str, raw: &str) -> Result<Option<f64>, String> {
    if raw == "null" {
        return Ok(None);
    }
    let digits = raw.bytes().all(|byte| byte.is_ascii_digit());
    let value =
        raw.parse::<i64>().ok().filter(|_| digits).ok_or_else(|| format!("{field} is no whole number: {raw}"))?;
    Ok(Some(value as f64))
}

fn real(field: &str, raw: &str) -> Result<Option<f64>, String> {
    if raw == "null" {
        return Ok(None);
    }
    let value = raw.parse::<f64>().ok().filter(|value| value.is_finite() && *value >= 0.0);
    value.map(Some).ok_or_else(|| format!("{field} is no real number: {raw}"))
}

/// RFC 3339 in UTC with nine digits: readers sort it as text. Gives the nanoseconds since 1970.
fn timestamp(text: &str) -> Result<u128, String> {
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    if shape != "0000-00-00T00:00:00.000000000Z" {
        return Err(format!("the timestamp {text:?} has not its fixed form"));
    }
    let part = |from: usize, to: usize| text[from..to].parse::<i64>().unwrap_or(-1);
    let (year, month, day) = (part(0, 4), part(5, 7), part(8, 10));
    // Days from civil, Howard Hinnant's algorithm.
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let of_era = shifted.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    let seconds = days * 86_400 + part(11, 13) * 3600 + part(14, 16) * 60 + part(17, 19);
    let seconds = u128::try_from(seconds).map_err(|_| format!("the timestamp {text:?} is before 1970"))?;
    Ok(seconds * 1_000_000_000 + u128::try_from(part(20, 29)).unwrap_or_default())
}

/// The percentages agree with the numbers that are sent with them, and none of the allowances is exceeded.
fn percent(numbers: &BTreeMap<&'static str, Option<f64>>) -> Result<(), String> {
    if numbers["cpu_percent"].is_some_and(|percent| percent > 100.0) {
        return Err("cpu_percent is above 100".to_owned());
    }
    let (used, total, percent) = (numbers["disk_usage_bytes"], numbers["disk_total_bytes"], numbers["disk_percent"]);
    if let (Some(used), Some(total), Some(percent)) = (used, total, percent)
        && (percent > 100.0 || (used / total * 100.0 - percent).abs() > 0.01)
    {
        return Err(format!("disk_percent is {percent}, {used} of {total} are used"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A report that passes, with one member replaced by another text.
    fn document(field: &str, with: &str) -> String {
        let member = |(name, kind): &(&str, Kind)| {
            let value = match (*name, kind) {
                ("container_name", _) => r#""web""#,
                ("timestamp", _) => r#""2026-01-02T03:04:05.000000006Z""#,
                ("status", _) => r#""running""#,
                (_, Kind::Whole) => "1",
                _ => "null",
            };
            if *name == field { with.to_owned() } else { format!("{name:?}:{value}") }
        };
        format!("{{{}}}", REPORT.iter().map(member).collect::<Vec<_>>().join(","))
    }

    #[test]
    fn a_report_that_keeps_every_rule_passes() {
        let judged = report("web", document("", "").as_bytes()).unwrap();
        assert_eq!((judged.number("process_count"), judged.number("cpu_percent")), (Some(1.0), None));
        assert!(report("web", document("cpu_percent", r#""cpu_percent":1.5e1"#).as_bytes()).is_ok());
    }

    #[test]
    fn each_broken_rule_is_found() {
        for (field, with) in [
            ("process_count", r#""process_count":1.0"#),
            ("process_count", r#""process_count":1e3"#),
            ("process_count", r#""process_count":"1""#),
            ("process_count", r#""process_count":-1"#),
            ("process_count", r#""process_count":18446744073709551615"#),
            ("process_count", r#""process_count":1,"PROCESS_COUNT":2"#),
            ("process_count", r#""Process_count":1"#),
            ("process_count", r#""other":1"#),
            ("cpu_percent", r#""cpu_percent":1e400"#),
            ("cpu_percent", r#""cpu_percent":-0.1"#),
            ("cpu_percent", r#""cpu_percent":100.1"#),
            ("status", r#""status":"degraded""#),
            ("status", r#""status":{}"#),
            ("timestamp", r#""timestamp":7"#),
            ("timestamp", r#""timestamp":"2026-01-02T03:04:05.6Z""#),
            ("timestamp", r#""timestamp":"2026-01-02T03:04:05.000000006+02:00""#),
            ("container_name", r#""container_name":"other""#),
            ("container_name", r#""container_name":null"#),
        ] {
            assert!(report("web", document(field, with).as_bytes()).is_err(), "{with}");
        }
        for broken in ["", "[]", "null", "\u{feff}{}", "{} x", "{"] {
            assert!(report("web", broken.as_bytes()).is_err(), "{broken}");
        }
    }

    #[test]
    fn a_cause_is_a_text_in_schema_2_and_an_index_into_distinct_texts_in_schema_3() {
        let causes = |text: &str| absent(&serde_json::from_str(&format!("{{{text}}}")).unwrap());
        let both = [("a", "x"), ("b", "y"), ("c", "x")].map(|(field, cause)| (field.to_owned(), cause.to_owned()));
        for text in [
            r#""schema":2,"absent":{"a":"x","b":"y","c":"x"}"#,
            r#""schema":3,"absent":{"a":0,"b":1,"c":0},"causes":["x","y"]"#,
        ] {
            assert_eq!(causes(text), Ok(both.clone().into()), "{text}");
        }
        assert_eq!(causes(r#""schema":3,"absent":{},"causes":[]"#), Ok(BTreeMap::new()));
        for broken in [
            r#""schema":2,"absent":{"a":0},"causes":["x"]"#,
            r#""schema":2,"absent":{"a":0}"#,
            r#""schema":3,"absent":{"a":"x"},"causes":[]"#,
            r#""schema":3,"absent":{"a":0}"#,
            r#""schema":3,"absent":{"a":1},"causes":["x"]"#,
            r#""schema":3,"absent":{"a":0.0},"causes":["x"]"#,
            r#""schema":3,"absent":{"a":0},"causes":["x","y"]"#,
            r#""schema":3,"absent":{"a":0,"b":1},"causes":["x","x"]"#,
            r#""schema":3,"absent":{"a":0},"causes":[7]"#,
            r#""schema":3,"causes":[]"#,
            r#""schema":4,"absent":{},"causes":[]"#,
        ] {
            assert!(causes(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn an_entrys_key_and_timestamp_belong_together() {
        let bytes =
            br#"{"container_name":"web","timestamp":"2023-11-14T22:13:20.000000001Z","level":"WARN","message":"x"}"#;
        assert_eq!(entry("web", "system:logs:web:1700000000000000001", bytes).unwrap().level, "WARN");
        assert!(entry("web", "system:logs:web:1700000000000000002", bytes).is_err());
        assert!(entry("db", "system:logs:db:1700000000000000001", bytes).is_err());
        assert!(entry("web", "system:logs:web:1700000000000000001", br#"{"container_name":"web"}"#).is_err());
    }
}
