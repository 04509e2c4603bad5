//! A log entry as the API shows it.

use super::numbers::millis;
use crate::events;

/// A log entry.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(super) struct LogEntry {
    /// Unix time in milliseconds.
    pub(super) time: u64,
    /// `INFO`, `WARN` or `ERROR`.
    pub(super) level: &'static str,
    /// What happened.
    pub(super) message: String,
}

impl From<events::Entry> for LogEntry {
    fn from(entry: events::Entry) -> Self {
        Self { time: millis(entry.at), level: entry.event.level.as_str(), message: entry.event.message }
    }
}
