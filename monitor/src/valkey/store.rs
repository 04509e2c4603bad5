//! Reads back the data of agents: the list of containers, the latest report of each, and its history page by page.
//!
//! No command that blocks a server is used: the list of containers is a sorted set, and a history is read in pages.
//! Others may write to the server too, so each entry is judged alone: what is no report, too long, or of another type,
//! costs only itself.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use redis::Value;
use tokio::time::Instant;

use super::behind::Behind;
use super::connector::connect;
use super::entries::{bytes, entries, members};
use super::fault::{Fault, FaultKind};
use super::keys::{CONTAINERS, history_key, log_key, metrics_key};
use super::link::Link;
use super::options::ValkeyOptions;
use super::stored::logged;
pub use super::stored::{StoreError, Stored};
use crate::events::LogEntry;
use crate::timer;
use crate::unix_time::unix_millis;

/// The most containers of a fleet.
const CONTAINERS_READ: usize = 32 << 10;
/// Entries in one page of a history.
const PAGE: usize = 500;
/// Requests that are sent at once: a few hundred kilobytes of reports.
const BATCH: usize = 100;
/// Timeout of the answers to one batch.
const TIMEOUT: Duration = Duration::from_secs(3);
/// The length of a report that nobody wonders about. As values in memory, reports are up to 16 times as long.
const USUAL: usize = 64 << 10;
/// The bytes that all longer reports of one look may have together.
const UNUSUAL: usize = 4 << 20;
/// The time for which a value that is far too long is not asked for again.
const TOO_LONG: Duration = Duration::from_secs(60);

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

/// A connection for reading.
pub struct Store {
    options: ValkeyOptions,
    link: Link,
    /// Keys whose values are far too long, and when they are asked for again.
    too_long: BTreeMap<String, Instant>,
    behind: Behind,
}

impl Store {
    /// Connects with the same options as the sink.
    ///
    /// # Errors
    /// Why the server cannot be reached.
    pub async fn connect(options: &ValkeyOptions) -> Result<Self, StoreError> {
        Ok(Self {
            link: connect(options).await?,
            options: options.clone(),
            too_long: BTreeMap::new(),
            behind: Behind::default(),
        })
    }

    async fn ask(&mut self, command: &redis::Cmd) -> Result<Value, StoreError> {
        Ok(self.link.ask(command.clone()).await?)
    }

    /// The containers that have been reported since a time of day, with the time of the latest report, by name.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn containers(&mut self, since: SystemTime) -> Result<Vec<(String, SystemTime)>, StoreError> {
        self.listed(&unix_millis(since).to_string(), "+inf", CONTAINERS_READ).await
    }

    async fn listed(&mut self, from: &str, to: &str, most: usize) -> Result<Vec<(String, SystemTime)>, StoreError> {
        let mut command = redis::cmd("ZRANGEBYSCORE");
        command.arg(CONTAINERS).arg(from).arg(to).arg("WITHSCORES").arg("LIMIT").arg(0).arg(most);
        Ok(members(self.ask(&command).await?))
    }

    /// The latest report of a container; `None` when it has expired.
    ///
    /// # Errors
    /// When the server does not answer, or the key holds no report.
    pub async fn latest(&mut self, name: &str) -> Result<Option<Stored>, StoreError> {
        let mut reports = self.reports(&[name]).await?;
        reports.pop().unwrap_or(Ok(None))
    }

    /// The latest reports of many containers, in the order of their names; a value that is no report fails alone.
    ///
    /// # Errors
    /// When the server does not answer.
    async fn reports(&mut self, names: &[&str]) -> Result<Vec<Result<Option<Stored>, StoreError>>, StoreError> {
        let (mut reports, mut unusual) = (Vec::with_capacity(names.len()), UNUSUAL);
        for batch in names.chunks(BATCH) {
            let keys: Vec<String> = batch.iter().map(|name| metrics_key(name)).collect();
            // Each batch is parsed before the next one is read.
            let answers = self.values(&keys).await?;
            for ((name, key), answer) in batch.iter().zip(&keys).zip(answers) {
                reports.push(match answer {
                    Ok(Some(text)) if text.len() > USUAL && text.len() > unusual => {
                        Err(StoreError::TooLong(key.clone()))
                    }
                    Ok(Some(text)) => {
                        unusual -= if text.len() > USUAL { text.len() } else { 0 };
                        Stored::parse(name, key, &text).map(Some)
                    }
                    Ok(None) => Ok(None),
                    Err(error) => Err(error),
                });
            }
        }
        Ok(reports)
    }

    /// The values of keys. If some are so long that a whole batch cannot be read, the keys are asked for one by one.
    async fn values(&mut self, keys: &[String]) -> Result<Vec<Result<Option<Vec<u8>>, StoreError>>, StoreError> {
        let now = timer::now();
        self.too_long.retain(|_, until| *until > now);
        let asked: Vec<&String> = keys.iter().filter(|key| !self.too_long.contains_key(*key)).collect();
        let get = |key: &&String| redis::cmd("GET").arg(*key).to_owned();
        let answers = match self.link.ask_all(asked.iter().map(get).collect(), TIMEOUT).await {
            Err(fault) if fault.kind == FaultKind::RefusedReply => self.one_by_one(&asked).await?,
            other => other?,
        };
        let mut found: BTreeMap<&String, Result<Value, Fault>> = asked.into_iter().zip(answers).collect();
        let value = |key: &String| match found.remove(key) {
            Some(answer) => Ok(bytes(answer?)),
            None => Err(StoreError::TooLong(key.clone())),
        };
        Ok(keys.iter().map(value).collect())
    }

    async fn one_by_one(&mut self, keys: &[&String]) -> Result<Vec<Result<Value, Fault>>, StoreError> {
        let mut answers = Vec::with_capacity(keys.len());
        self.link = connect(&self.options).await?;
        for key in keys {
            match self.link.ask(redis::cmd("GET").arg(*key).to_owned()).await {
                Err(fault) if fault.kind == FaultKind::RefusedReply => {
                    self.too_long.insert((*key).clone(), timer::now() + TOO_LONG);
                    self.link = connect(&self.options).await?;
                    answers.push(Err(fault));
                }
                Err(fault) if !fault.is_answer() => return Err(fault.into()),
                answer => answers.push(answer),
            }
        }
        Ok(answers)
    }

    /// The containers that have been reported since a time of day, by name, with the time of the latest report and the
    /// report; and those of before that have a report nevertheless.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn look(&mut self, since: SystemTime) -> Result<Vec<Looked>, StoreError> {
        let mut known = self.containers(since).await?;
        let recent = known.len();
        let names: BTreeSet<String> = known.iter().map(|(name, _)| name.clone()).collect();
        let behind = self.behind(since, CONTAINERS_READ - known.len()).await?;
        known.extend(behind.into_iter().filter(|(name, _)| !names.contains(name)));
        let names: Vec<&str> = known.iter().map(|(name, _)| name.as_str()).collect();
        let reports = self.reports(&names).await?;
        known.iter().zip(&reports).skip(recent).for_each(|((name, _), report)| {
            self.behind.judge(name, !matches!(report, Ok(None)));
        });
        Ok(known.into_iter().zip(reports).map(|((name, last), report)| Looked { name, last, report }).collect())
    }

    /// The containers that were last reported before a time of day by their own clocks, and may be alive nevertheless.
    async fn behind(&mut self, since: SystemTime, most: usize) -> Result<Vec<(String, SystemTime)>, StoreError> {
        if self.behind.is_due() {
            let older = self.listed("-inf", &format!("({}", unix_millis(since)), most).await?;
            self.behind.list(older);
        }
        Ok(self.behind.watched())
    }

    /// The latest log entries of a container, oldest first. Entries that no agent wrote are left out.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn log(&mut self, name: &str, count: usize) -> Result<Vec<LogEntry>, StoreError> {
        Ok(logged_in(self.ask(&latest_entries(name, count)).await?))
    }

    /// The latest log entries of many containers; none of one that refuses them.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn logs(&mut self, names: &[&str], count: usize) -> Result<Vec<Vec<LogEntry>>, StoreError> {
        let mut logs = Vec::with_capacity(names.len());
        for batch in names.chunks(BATCH) {
            let commands = batch.iter().map(|name| latest_entries(name, count)).collect();
            let answers = self.link.ask_all(commands, TIMEOUT).await?;
            logs.extend(answers.into_iter().map(|answer| answer.map(logged_in).unwrap_or_default()));
        }
        Ok(logs)
    }

    /// Reads a page of a container's history since a time of day.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn history(&mut self, name: &str, since: SystemTime) -> Result<Page, StoreError> {
        self.page(name, &unix_millis(since).to_string()).await
    }

    /// The page at `next` of the one before. Entries that no agent wrote are left out.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn page(&mut self, name: &str, next: &str) -> Result<Page, StoreError> {
        let key = history_key(name);
        let mut command = redis::cmd("XRANGE");
        command.arg(&key).arg(next).arg("+").arg("COUNT").arg(PAGE);
        let entries = entries(self.ask(&command).await?, "report");
        let next = entries.last().filter(|_| entries.len() >= PAGE).map(|entry| format!("({}", entry.id));
        let texts = entries.into_iter().filter_map(|entry| entry.text);
        let reports = texts.filter_map(|text| Stored::parse(name, &key, &text).ok()).collect();
        Ok(Page { reports, next })
    }
}

fn latest_entries(name: &str, count: usize) -> redis::Cmd {
    redis::cmd("XREVRANGE").arg(log_key(name)).arg("+").arg("-").arg("COUNT").arg(count).to_owned()
}

/// Returns the log entries among the newest entries of a stream, oldest first.
fn logged_in(answer: Value) -> Vec<LogEntry> {
    entries(answer, "entry").into_iter().rev().filter_map(|entry| logged(&entry.text?)).collect()
}
