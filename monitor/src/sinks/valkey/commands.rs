//! Commands for keys, and their purposes. Pure.

use std::time::{Duration, SystemTime};

use redis::Cmd;

use crate::unix_time::unix_millis;
use crate::valkey::keys::{CONTAINERS, metrics_key};
use crate::valkey::{Document, Request};

/// The purpose of a command, which decides what its refusal means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Purpose {
    /// The report itself.
    Metrics,
    /// A log entry.
    Log,
    /// Removing log entries that are too old to be shown.
    Prune,
    /// Searching for log entries of an earlier run.
    Scan,
    /// The list of containers.
    Index,
    /// Claiming a name for this machine.
    Owner,
    /// Asking which machine has a name.
    OwnerRead,
    /// Giving up a name that was claimed.
    Release,
    /// Removing names without data from it.
    Forget,
    /// The reports of the past.
    History,
    /// All log entries.
    Stream,
    /// Renewing the expiry of a stream.
    Expiry,
    /// Asking for the last id of a stream, after an id was refused.
    End,
}

impl Purpose {
    /// Returns the words for operators when it fails.
    pub(super) fn what(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Log => "log",
            Self::Prune => "the removal of old log entries (DEL)",
            Self::Scan => "the search for log entries of earlier runs (SCAN)",
            Self::Index => "the list system:containers (ZADD)",
            Self::Owner => {
                "claims on container names (SET of system:owner:*; allow it, or machines overwrite each other's reports \
                 of containers with the same name)"
            }
            Self::OwnerRead => {
                "claims on container names (GET of system:owner:*; allow it, or machines overwrite each other's reports \
                 of containers with the same name)"
            }
            Self::Release => "the release of container names (DEL of system:owner:*)",
            Self::Forget => "the removal of old names from system:containers (ZREMRANGEBYSCORE)",
            Self::History => "the history of reports (XADD)",
            Self::Stream => "the stream of all log entries (XADD)",
            Self::Expiry => "the expiry of streams (PEXPIRE)",
            Self::End => "the last entry of a stream (XREVRANGE)",
        }
    }
}

/// Sets the report under its key. Its expiry tells readers that an agent has died.
pub(super) fn metrics(name: &str, json: &Document, ttl: Duration) -> Request {
    set(&metrics_key(name), json, ttl)
}

/// The members of the list of containers, with the time of their latest report.
pub(super) fn index<'a>(names: impl Iterator<Item = &'a str>, wall: SystemTime) -> Cmd {
    let millis = unix_millis(wall).to_string();
    let mut add = redis::cmd("ZADD");
    add.arg(CONTAINERS);
    names.for_each(|name| _ = add.arg(&millis).arg(name));
    add
}

/// Removes the containers from the list whose latest report is older than `oldest`.
pub(super) fn forget(oldest: Duration) -> Cmd {
    let millis = oldest.as_millis().to_string();
    redis::cmd("ZREMRANGEBYSCORE").arg(CONTAINERS).arg("-inf").arg(format!("({millis}")).to_owned()
}

/// Sets a key with an expiry.
pub(super) fn set(key: &str, value: &Document, ttl: Duration) -> Request {
    let head = redis::cmd("SET").arg(key).to_owned();
    Request::with(head, value.clone()).and("PX").and(ttl.as_millis().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(request: impl Into<Request>) -> String {
        request.into().text()
    }

    fn at(nanos: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos)
    }

    const T: u64 = 1_700_000_000_000_000_000;

    #[test]
    fn value_and_expiry_are_one_command() {
        assert_eq!(text(metrics("web", &"{}".into(), Duration::from_secs(30))), "SET system:metrics:web {} PX 30000");
        let names = ["web", "db"].into_iter();
        assert_eq!(text(index(names, at(T))), "ZADD system:containers 1700000000000 web 1700000000000 db");
        assert_eq!(
            text(forget(Duration::from_secs(1_700_000_000))),
            "ZREMRANGEBYSCORE system:containers -inf (1700000000000"
        );
    }
}
