//! A log entry as the API shows it.

use crate::events::{self, Topic};
use crate::unix_time::unix_millis;

/// A log entry.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(super) struct LogEntry {
    /// Unix time in milliseconds.
    pub(super) time: u64,
    /// `INFO`, `WARN` or `ERROR`.
    pub(super) level: &'static str,
    /// Its text.
    pub(super) message: String,
    /// Its topic, which is not shown.
    #[serde(skip)]
    pub(super) topic: Topic,
}

impl From<events::LogEntry> for LogEntry {
    fn from(entry: events::LogEntry) -> Self {
        let events::LogEntry { at, level, message, topic } = entry;
        Self { time: unix_millis(at), level: level.as_str(), message, topic }
    }
}
