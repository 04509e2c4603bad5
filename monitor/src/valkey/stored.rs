//! Reports and log entries as agents have written them.

use std::time::SystemTime;

use serde_json::Value;

use super::fault::Fault;
use crate::events::LogEntry;
use crate::findings::{ClockOffset, Level};
use crate::metrics::{Metric, Shown};
use crate::snapshot::{Scope, Status};

/// Reason for which the store cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The server cannot be reached, or refuses.
    #[error("Valkey: {0}")]
    Valkey(#[from] Fault),
    /// The answer takes too long.
    #[error("Valkey: no answer within {} s", .0.as_secs())]
    Slow(std::time::Duration),
    /// The value was not written by an agent.
    #[error("{0} holds no report")]
    Nonsense(String),
    /// The value is longer than any report.
    #[error("{0} is longer than any report, and was not read")]
    TooLong(String),
}

/// A report as it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// The name of its container: the one in the key.
    pub name: String,
    /// The time at which its reading began.
    pub taken: SystemTime,
    /// The time at which it arrived, on the reader's clock.
    pub seen: SystemTime,
    /// The offset of the clock behind `taken`, if it is known and large.
    pub clock: Option<ClockOffset>,
    /// Its status.
    pub status: Status,
    document: Value,
}

impl Stored {
    /// True for the report of a machine itself: the root cgroup, in scope `host`.
    pub fn is_machine(&self) -> bool {
        self.document["scope"] == Scope::Host.as_str() && self.document["cgroup"] == "/"
    }

    /// Reads a report of `name`. Its own claim of a name does not count: whoever writes one key could speak for others.
    pub(super) fn parse(name: &str, key: &str, text: &[u8]) -> Result<Self, StoreError> {
        let nonsense = || StoreError::Nonsense(key.to_owned());
        let mut document: Value = serde_json::from_slice(text).map_err(|_| nonsense())?;
        let text = |field: &str| document[field].as_str().map(str::to_owned).ok_or_else(nonsense);
        let taken = humantime::parse_rfc3339(&text("timestamp")?).map_err(|_| nonsense())?;
        let status = Status::parse(&text("status")?).ok_or_else(nonsense)?;
        text("container_name")?;
        document["container_name"] = name.into();
        Ok(Self { name: name.to_owned(), taken, seen: taken, clock: None, status, document })
    }

    /// A row's field as it was written.
    pub(crate) fn field(&self, metric: Metric) -> Option<&Value> {
        let Shown::Field(path) = metric.spec().shown else { return None };
        path.split('.').try_fold(&self.document, |value, part| value.get(part))
    }

    /// A row's number; `None` when it is absent.
    pub fn number(&self, metric: Metric) -> Option<f64> {
        self.field(metric)?.as_f64()
    }

    /// Returns the reason for which a row has no number, if the report names it: `absent` has an index into `causes`, or
    /// in schema 2 the text.
    pub fn cause(&self, metric: Metric) -> Option<&str> {
        let Shown::Field(path) = metric.spec().shown else { return None };
        match self.document.get("absent")?.get(path)? {
            Value::Number(index) => self.document.get("causes")?.get(usize::try_from(index.as_u64()?).ok()?)?.as_str(),
            told => told.as_str(),
        }
    }

    /// The whole report, for what is no number: identity, sources, labels.
    pub fn document(&self) -> &Value {
        &self.document
    }
}

/// A log entry as it was written.
pub(super) fn logged(text: &[u8]) -> Option<LogEntry> {
    let document: Value = serde_json::from_slice(text).ok()?;
    let at = humantime::parse_rfc3339(document["timestamp"].as_str()?).ok()?;
    Some(LogEntry::written(at, Level::parse(document["level"].as_str()?)?, document["message"].as_str()?))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const TEXT: &str = r#"{"container_name":"web","timestamp":"1970-01-01T00:00:05.000000000Z","cpu_percent":1.5,"process_count":null,
        "status":"running","cpu":{"usage_cores":0.25},"absent":{"process_count":"/proc: gone"}}"#;

    #[test]
    fn numbers_and_causes_are_found_by_their_rows() {
        let stored = Stored::parse("web", "k", TEXT.as_bytes()).unwrap();
        assert_eq!((stored.name.as_str(), stored.status), ("web", Status::Running));
        assert_eq!(stored.taken, SystemTime::UNIX_EPOCH + Duration::from_secs(5));
        assert_eq!((stored.number(Metric::CpuPercent), stored.number(Metric::CpuUsageCores)), (Some(1.5), Some(0.25)));
        assert_eq!(
            (stored.number(Metric::ProcessCount), stored.cause(Metric::ProcessCount)),
            (None, Some("/proc: gone"))
        );
        assert_eq!((stored.number(Metric::CpuUsage), stored.number(Metric::DiskPercent)), (None, None));
    }

    #[test]
    fn causes_are_texts_or_indices_and_damage_costs_its_own_cause() {
        let text = TEXT.replace(r#""cpu_percent":1.5"#, r#""cpu_percent":null"#);
        let read = |absent: &str, causes: &str| {
            let from = r#""absent":{"process_count":"/proc: gone"}"#;
            let text = text.replace(from, &format!(r#""absent":{absent},"causes":{causes}"#));
            let stored = Stored::parse("web", "k", text.as_bytes()).unwrap();
            [Metric::CpuPercent, Metric::ProcessCount].map(|metric| stored.cause(metric).map(str::to_owned))
        };
        let known = |cause: &str| Some(cause.to_owned());
        let causes = r#"["a","b"]"#;
        assert_eq!(read(r#"{"cpu_percent":1,"process_count":0}"#, causes), [known("b"), known("a")]);
        assert_eq!(read(r#"{"cpu_percent":"c","process_count":1}"#, causes), [known("c"), known("b")]);
        for index in ["2", "-1", "0.0", "1e99", "18446744073709551615", "true", "null", "[0]", r#"{"0":0}"#] {
            assert_eq!(
                read(&format!(r#"{{"cpu_percent":{index},"process_count":1}}"#), causes),
                [None, known("b")],
                "{index}"
            );
        }
        for causes in ["null", "7", r#""ab""#, r#"{"0":"a"}"#, "[]", "[0]", "[[]]"] {
            assert_eq!(read(r#"{"cpu_percent":0,"process_count":"a"}"#, causes), [None, known("a")], "{causes}");
        }
        for absent in ["null", "0", r#""cpu_percent""#, r#"["a"]"#] {
            assert_eq!(read(absent, causes), [None, None], "{absent}");
        }
    }

    #[test]
    fn the_name_of_the_key_counts() {
        let stored = Stored::parse("evil", "k", TEXT.as_bytes()).unwrap();
        assert_eq!((stored.name.as_str(), &stored.document()["container_name"]), ("evil", &"evil".into()));
    }

    #[test]
    fn what_no_agent_wrote_is_named() {
        for text in ["", "7", "{}", "[[[", &TEXT.replace("1970", "yore"), &TEXT.replace("1970", "300000")] {
            let error = Stored::parse("web", "the key", text.as_bytes()).unwrap_err().to_string();
            assert_eq!(error, "the key holds no report");
        }
    }
}
