//! The two streams of a container, and the commands for them.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use redis::{Cmd, Value};

use crate::unix_time::{since_epoch, unix_millis};
use crate::valkey::keys::{history_key, log_key};
use crate::valkey::{Document, Request};

/// The approximate number of log entries that the stream of a container keeps.
const LONGEST_LOG: u32 = 10_000;
/// The expiry of that stream after its latest entry.
pub(super) const LOG_TTL: Duration = Duration::from_secs(7 * 24 * 3600);

/// The content of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum StreamKind {
    /// The reports of the past.
    History,
    /// All log entries.
    Log,
}

/// A stream of a container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stream {
    /// Its content.
    pub(super) kind: StreamKind,
    /// The container's name.
    pub(super) name: Arc<str>,
}

/// The id of an entry in its stream: Unix milliseconds, and a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EntryId {
    /// Unix milliseconds.
    pub(super) millis: u64,
    /// Distinguishes entries of one millisecond.
    pub(super) seq: u64,
}

impl EntryId {
    /// The id of a sample.
    pub(super) fn of(wall: SystemTime) -> Self {
        Self { millis: unix_millis(wall), seq: 0 }
    }

    /// The next one of the same millisecond.
    pub(super) fn next(self) -> Self {
        self.seq.checked_add(1).map_or(Self { millis: self.millis + 1, seq: 0 }, |seq| Self { seq, ..self })
    }

    /// Parses an id as the server writes it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (millis, seq) = text.split_once('-')?;
        Some(Self { millis: millis.parse().ok()?, seq: seq.parse().ok()? })
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.millis, self.seq)
    }
}

impl Stream {
    /// A container's history.
    pub(super) fn history(name: &str) -> Self {
        Self { kind: StreamKind::History, name: name.into() }
    }

    /// A container's log.
    pub(super) fn log(name: &str) -> Self {
        Self { kind: StreamKind::Log, name: name.into() }
    }

    fn key(&self) -> String {
        match self.kind {
            StreamKind::History => history_key(&self.name),
            StreamKind::Log => log_key(&self.name),
        }
    }

    /// Adds an entry, and trims entries that are older than `length`, counted from `now`, or too many.
    pub(super) fn add(&self, id: EntryId, json: &Document, now: SystemTime, length: Duration) -> Request {
        let mut add = redis::cmd("XADD");
        add.arg(self.key());
        let field = match self.kind {
            StreamKind::History => {
                let oldest = since_epoch(now).saturating_sub(length).as_millis();
                add.arg("MINID").arg("~").arg(oldest.to_string());
                "report"
            }
            StreamKind::Log => {
                add.arg("MAXLEN").arg("~").arg(LONGEST_LOG);
                "entry"
            }
        };
        Request::with(add.arg(id.to_string()).arg(field).to_owned(), json.clone())
    }

    /// Lets the stream expire when nothing has been added for its length.
    pub(super) fn expire(&self, length: Duration) -> Cmd {
        let length = if self.kind == StreamKind::History { length } else { LOG_TTL };
        redis::cmd("PEXPIRE").arg(self.key()).arg(length.as_millis().to_string()).to_owned()
    }

    /// Asks for the last entry.
    pub(super) fn last(&self) -> Cmd {
        redis::cmd("XREVRANGE").arg(self.key()).arg("+").arg("-").arg("COUNT").arg("1").to_owned()
    }

    /// The id in the answer to [`Stream::last`]; `None` for an empty stream.
    pub(super) fn last_id(answer: Value) -> Option<EntryId> {
        let entries: Vec<(String, Value)> = redis::from_redis_value(answer).ok()?;
        entries.first().and_then(|(id, _)| EntryId::parse(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(request: impl Into<Request>) -> String {
        request.into().text()
    }

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn at(millis: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(millis)
    }

    #[test]
    fn streams_have_explicit_ids_and_bounds() {
        let (history, log) = (Stream::history("web"), Stream::log("web"));
        let now = at(1_700_000_000_000);
        assert_eq!(
            text(history.add(EntryId::of(at(1_699_999_999_000)), &"{}".into(), now, DAY)),
            "XADD system:history:web MINID ~ 1699913600000 1699999999000-0 report {}"
        );
        assert_eq!(text(history.expire(DAY)), "PEXPIRE system:history:web 86400000");
        assert_eq!(
            text(log.add(EntryId { millis: 7, seq: 8 }, &"{}".into(), now, DAY)),
            "XADD system:logstream:web MAXLEN ~ 10000 7-8 entry {}"
        );
        assert_eq!(text(log.expire(DAY)), "PEXPIRE system:logstream:web 604800000");
        assert_eq!(text(log.last()), "XREVRANGE system:logstream:web + - COUNT 1");
    }

    #[test]
    fn ids_are_ordered_read_and_written() {
        let id = EntryId { millis: 7, seq: 8 };
        assert_eq!((EntryId::parse("7-8"), EntryId::parse("7"), EntryId::parse("-")), (Some(id), None, None));
        assert!(id < id.next() && id.next() < EntryId { millis: 8, seq: 0 });
        assert_eq!(EntryId { millis: 7, seq: u64::MAX }.next(), EntryId { millis: 8, seq: 0 });
    }

    #[test]
    fn the_last_id_is_found_in_the_answer() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let entry = Value::Array(vec![text("5-1"), Value::Array(vec![text("report"), text("{}")])]);
        assert_eq!(Stream::last_id(Value::Array(vec![entry])), Some(EntryId { millis: 5, seq: 1 }));
        assert_eq!(Stream::last_id(Value::Array(Vec::new())), None);
    }
}
