//! Events, their levels, and their words for an operator.

use std::fmt;

use super::heartbeat::Heartbeat;
use crate::cause::Cause;
use crate::findings::{Level, Logged};

/// Something that happened to a container, or to the log about it.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A group of numbers cannot be read any more.
    SourceLost {
        /// The group.
        group: &'static str,
        /// The backend that fed it before.
        before: &'static str,
        /// Why.
        cause: Option<Cause>,
    },
    /// A group of numbers can be read again.
    SourceRegained {
        /// The group.
        group: &'static str,
        /// The backend that feeds it now.
        now: &'static str,
    },
    /// Another backend feeds a group of numbers.
    SourceChanged {
        /// The group.
        group: &'static str,
        /// The backend that fed it before.
        before: &'static str,
        /// The backend that feeds it now.
        now: &'static str,
    },
    /// The kernel killed processes for want of memory.
    OomKilled {
        /// The number since the last report.
        killed: u64,
        /// The number since the container began.
        total: u64,
    },
    /// A number has reached its threshold.
    Exceeded(&'static Logged, f64),
    /// A number has fallen again.
    Recovered(&'static Logged, f64),
    /// The container is frozen.
    Frozen,
    /// The container runs again.
    Thawed,
    /// The container has exited.
    Exited,
    /// The agent stops, and reports on nothing any more.
    AgentStopped,
    /// Nothing happened: the agent is alive.
    Alive(Box<Heartbeat>),
    /// Reports could not be delivered for a while, in the words of the sink.
    Delivery(String),
}

/// The words of [`Event::Exited`], under which readers of the log know it.
pub(super) const EXITED: &str = "the container has ended";
/// The words of [`Event::AgentStopped`], likewise.
pub(super) const AGENT_STOPPED: &str = "the agent stops";

impl Event {
    /// Its severity.
    pub fn level(&self) -> Level {
        match self {
            Self::OomKilled { .. } => Level::Error,
            Self::SourceLost { .. } | Self::SourceChanged { .. } | Self::Exceeded(..) | Self::Delivery(_) => {
                Level::Warn
            }
            Self::SourceRegained { .. }
            | Self::Recovered(..)
            | Self::Frozen
            | Self::Thawed
            | Self::Exited
            | Self::AgentStopped
            | Self::Alive(_) => Level::Info,
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SourceLost { group, before, cause } => {
                let cause = cause.as_ref().map_or("", Cause::as_str);
                write!(f, "{group} is lost, was read from {before}: {cause}")
            }
            Self::SourceRegained { group, now } => write!(f, "{group} is back, read from {now}"),
            Self::SourceChanged { group, before, now } => {
                write!(f, "{group} is now read from {now}, no longer from {before}")
            }
            Self::OomKilled { killed, total } => {
                let plural = if *killed == 1 { "process" } else { "processes" };
                write!(f, "out of memory: the kernel killed {killed} {plural}, {total} in all")
            }
            Self::Exceeded(logged, value) => write!(f, "{}: {value:.1}", logged.words),
            Self::Recovered(logged, value) => write!(f, "{}: {value:.1} again", logged.words),
            Self::Frozen => f.write_str("the container is frozen"),
            Self::Thawed => f.write_str("the container runs again"),
            Self::Exited => f.write_str(EXITED),
            Self::AgentStopped => f.write_str(AGENT_STOPPED),
            Self::Alive(heartbeat) => heartbeat.fmt(f),
            Self::Delivery(text) => f.write_str(text),
        }
    }
}
