//! Reads back the data of agents: the list of containers, the latest report of each, and its history page by page.
//!
//! No command that blocks a server is used: the list of containers is a sorted set, and a history is read in pages.

use std::time::{Duration, SystemTime};

use super::connector::connect;
use super::fault::Fault;
use super::keys::{CONTAINERS, history_key, log_key, metrics_key};
use super::link::Link;
use super::options::ValkeyOptions;
use crate::events::LogEntry;
use crate::findings::Level;
use crate::metrics::{Metric, Shown};
use crate::snapshot::Status;
use crate::unix_time::unix_millis;

/// Entries in one page of a history.
const PAGE: usize = 500;
/// Requests that are sent at once: a few hundred kilobytes of reports.
const BATCH: usize = 100;
/// Timeout of the answers to one batch.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Why something cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The server cannot be reached, or refuses.
    #[error("Valkey: {0}")]
    Valkey(#[from] Fault),
    /// The answer takes too long.
    #[error("Valkey: no answer within {} s", .0.as_secs())]
    Slow(Duration),
    /// The value was not written by an agent.
    #[error("{0} holds no report")]
    Nonsense(String),
}

/// A report as it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// The name of its container.
    pub name: String,
    /// The time at which its reading began.
    pub taken: SystemTime,
    /// Its status.
    pub status: Status,
    document: serde_json::Value,
}

impl Stored {
    fn parse(key: &str, text: &[u8]) -> Result<Self, StoreError> {
        let nonsense = || StoreError::Nonsense(key.to_owned());
        let document: serde_json::Value = serde_json::from_slice(text).map_err(|_| nonsense())?;
        let text = |field: &str| document[field].as_str().map(str::to_owned).ok_or_else(nonsense);
        let taken = humantime::parse_rfc3339(&text("timestamp")?).map_err(|_| nonsense())?;
        let status = Status::parse(&text("status")?).ok_or_else(nonsense)?;
        Ok(Self { name: text("container_name")?, taken, status, document })
    }

    /// A row's field as it was written.
    pub(crate) fn field(&self, metric: Metric) -> Option<&serde_json::Value> {
        let Shown::Field(path) = metric.spec().shown else { return None };
        path.split('.').try_fold(&self.document, |value, part| value.get(part))
    }

    /// A row's number; `None` when it is absent.
    pub fn number(&self, metric: Metric) -> Option<f64> {
        self.field(metric)?.as_f64()
    }

    /// Why a row has no number, as far as the report says.
    pub fn cause(&self, metric: Metric) -> Option<&str> {
        let Shown::Field(path) = metric.spec().shown else { return None };
        self.document.get("absent")?.get(path)?.as_str()
    }

    /// The whole report, for what is no number: identity, sources, labels.
    pub fn document(&self) -> &serde_json::Value {
        &self.document
    }
}

/// A part of a history, oldest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// The reports.
    pub reports: Vec<Stored>,
    /// The start of the next page; `None` after the last one.
    pub next: Option<String>,
}

/// The latest state of a container.
#[derive(Debug)]
pub struct Looked {
    /// Its name.
    pub name: String,
    /// The time of its latest report.
    pub last: SystemTime,
    /// The report, `None` when it has expired; or why it cannot be read, which costs this container alone.
    pub report: Result<Option<Stored>, StoreError>,
}

/// An entry of a stream: its id and its fields.
type RawEntry = (String, Vec<(String, Vec<u8>)>);

/// A connection for reading.
pub struct Store {
    link: Link,
}

impl Store {
    /// Connects with the same options as the sink.
    ///
    /// # Errors
    /// Why the server cannot be reached.
    pub async fn connect(options: &ValkeyOptions) -> Result<Self, StoreError> {
        Ok(Self { link: connect(options).await? })
    }

    async fn ask<T: redis::FromRedisValue>(&mut self, command: &redis::Cmd) -> Result<T, StoreError> {
        Ok(self.link.ask(command.clone()).await?)
    }

    /// The containers that have been reported since a time of day, with the time of the latest report, by name.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn containers(&mut self, since: SystemTime) -> Result<Vec<(String, SystemTime)>, StoreError> {
        let mut command = redis::cmd("ZRANGEBYSCORE");
        command.arg(CONTAINERS).arg(unix_millis(since)).arg("+inf").arg("WITHSCORES");
        let mut found: Vec<(String, u64)> = self.ask(&command).await?;
        found.sort();
        Ok(found
            .into_iter()
            .map(|(name, millis)| (name, SystemTime::UNIX_EPOCH + Duration::from_millis(millis)))
            .collect())
    }

    /// The latest report of a container; `None` when it has expired.
    ///
    /// # Errors
    /// When the server does not answer, or the key holds no report.
    pub async fn latest(&mut self, name: &str) -> Result<Option<Stored>, StoreError> {
        let key = metrics_key(name);
        let text: Option<Vec<u8>> = self.ask(redis::cmd("GET").arg(&key)).await?;
        text.map(|text| Stored::parse(&key, &text)).transpose()
    }

    /// The latest reports of many containers, in the order of their names; a value that is no report fails alone.
    ///
    /// # Errors
    /// When the server does not answer.
    async fn reports(&mut self, names: &[&str]) -> Result<Vec<Result<Option<Stored>, StoreError>>, StoreError> {
        let keys: Vec<String> = names.iter().map(|name| metrics_key(name)).collect();
        let answers = self.ask_all(keys.iter().map(|key| redis::cmd("GET").arg(key).to_owned()).collect()).await?;
        let report = |(key, answer): (&String, Result<Option<Vec<u8>>, Fault>)| {
            answer?.map(|text| Stored::parse(key, &text)).transpose()
        };
        Ok(keys.iter().zip(answers).map(report).collect())
    }

    /// The containers that have been reported since a time of day, by name, with the time of the latest report and the
    /// report.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn look(&mut self, since: SystemTime) -> Result<Vec<Looked>, StoreError> {
        let known = self.containers(since).await?;
        let names: Vec<&str> = known.iter().map(|(name, _)| name.as_str()).collect();
        let reports = self.reports(&names).await?;
        Ok(known.into_iter().zip(reports).map(|((name, last), report)| Looked { name, last, report }).collect())
    }

    /// The latest log entries of a container, oldest first. Entries that no agent wrote are left out.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn log(&mut self, name: &str, count: usize) -> Result<Vec<LogEntry>, StoreError> {
        Ok(logged_in(&self.ask::<Vec<RawEntry>>(&latest_entries(name, count)).await?))
    }

    /// The latest log entries of many containers; none of one that refuses them.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn logs(&mut self, names: &[&str], count: usize) -> Result<Vec<Vec<LogEntry>>, StoreError> {
        let answers = self.ask_all(names.iter().map(|name| latest_entries(name, count)).collect()).await?;
        let entries = |answer: Result<Vec<RawEntry>, Fault>| logged_in(&answer.unwrap_or_default());
        Ok(answers.into_iter().map(entries).collect())
    }

    /// Sends many commands, [`BATCH`] at a time, and returns their answers.
    async fn ask_all<T: redis::FromRedisValue>(
        &mut self,
        commands: Vec<redis::Cmd>,
    ) -> Result<Vec<Result<T, Fault>>, StoreError> {
        let mut answers = Vec::with_capacity(commands.len());
        for batch in commands.chunks(BATCH) {
            answers.extend(self.link.ask_all(batch.to_vec(), TIMEOUT).await?);
        }
        Ok(answers)
    }

    /// Reads a page of a container's history since a time of day.
    ///
    /// # Errors
    /// As [`Store::latest`].
    pub async fn history(&mut self, name: &str, since: SystemTime) -> Result<Page, StoreError> {
        self.page(name, &unix_millis(since).to_string()).await
    }

    /// The page at `next` of the one before.
    ///
    /// # Errors
    /// As [`Store::latest`].
    pub async fn page(&mut self, name: &str, next: &str) -> Result<Page, StoreError> {
        let key = history_key(name);
        let mut command = redis::cmd("XRANGE");
        command.arg(&key).arg(next).arg("+").arg("COUNT").arg(PAGE);
        let entries: Vec<RawEntry> = self.ask(&command).await?;
        let next = entries.last().filter(|_| entries.len() == PAGE).map(|(id, _)| format!("({id}"));
        let texts = entries.iter().flat_map(|(_, fields)| fields).filter(|(field, _)| field == "report");
        let reports = texts.map(|(_, text)| Stored::parse(&key, text)).collect::<Result<_, _>>()?;
        Ok(Page { reports, next })
    }
}

fn latest_entries(name: &str, count: usize) -> redis::Cmd {
    redis::cmd("XREVRANGE").arg(log_key(name)).arg("+").arg("-").arg("COUNT").arg(count).to_owned()
}

/// Returns the log entries among the newest entries of a stream, oldest first.
fn logged_in(entries: &[RawEntry]) -> Vec<LogEntry> {
    let texts = entries.iter().rev().flat_map(|(_, fields)| fields).filter(|(field, _)| field == "entry");
    texts.filter_map(|(_, text)| logged(text)).collect()
}

/// A log entry as it was written.
fn logged(text: &[u8]) -> Option<LogEntry> {
    let document: serde_json::Value = serde_json::from_slice(text).ok()?;
    let at = humantime::parse_rfc3339(document["timestamp"].as_str()?).ok()?;
    Some(LogEntry::written(at, Level::parse(document["level"].as_str()?)?, document["message"].as_str()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{"container_name":"web","timestamp":"1970-01-01T00:00:05.000000000Z","cpu_percent":1.5,"process_count":null,
        "status":"running","cpu":{"usage_cores":0.25},"absent":{"process_count":"/proc: gone"}}"#;

    #[test]
    fn numbers_and_causes_are_found_by_their_rows() {
        let stored = Stored::parse("k", TEXT.as_bytes()).unwrap();
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
    fn what_no_agent_wrote_is_named() {
        for text in ["", "7", "{}", &TEXT.replace("1970", "yore")] {
            assert_eq!(Stored::parse("the key", text.as_bytes()).unwrap_err().to_string(), "the key holds no report");
        }
    }
}
