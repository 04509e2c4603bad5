//! Containers without reports.

use std::time::Duration;

use super::finding::{Finding, FindingKind};
use super::level::Level;
use super::timeline::ago;
use crate::amount::age;
use crate::snapshot::Status;

/// Intervals without a report after which a container or an agent is late.
pub const LATE_INTERVALS: u32 = 3;
/// Intervals without a report after which it is lost.
const LOST_INTERVALS: u32 = 6;
/// Reports out of Valkey are never late before this: clocks of machines differ, and it is the shortest TTL of a report.
pub const GRACE: Duration = Duration::from_secs(30);

/// The arrival of a container's reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reporting {
    /// A report that has not expired.
    Present {
        /// The status that it gives.
        status: Status,
        /// Its age.
        age: Duration,
        /// The time between two reports, if it is known.
        interval: Option<Duration>,
        /// The age before which no report is late.
        grace: Duration,
    },
    /// The latest report has expired; this was its age.
    Expired(Duration),
}

impl Reporting {
    /// A report that has just been made.
    pub fn now(status: Status) -> Self {
        Self::Present { status, age: Duration::ZERO, interval: None, grace: Duration::ZERO }
    }

    /// The finding about it, if there is one.
    pub(super) fn finding(self) -> Option<Finding> {
        let (kind, level, text) = match self {
            Self::Expired(silence) => (FindingKind::Silent, Level::Error, expired(silence)),
            Self::Present { status: Status::Exited, age: past, .. } => {
                (FindingKind::Exited, Level::Info, format!("ended {}", ago(past)))
            }
            Self::Present { age: silence, interval: Some(interval), grace, .. }
                if silence > grace.max(interval.saturating_mul(LATE_INTERVALS)) =>
            {
                let lost = silence > grace.saturating_mul(2).max(interval.saturating_mul(LOST_INTERVALS));
                let level = if lost { Level::Error } else { Level::Warn };
                (FindingKind::Silent, level, format!("no report for {}", age(silence)))
            }
            Self::Present { status: Status::Paused, .. } => (FindingKind::Frozen, Level::Info, "frozen".to_owned()),
            Self::Present { .. } => return None,
        };
        Some(Finding { kind, level, text })
    }
}

fn expired(silence: Duration) -> String {
    let why = "its agent is dead or cannot reach Valkey";
    // The clock of its machine may be ahead of ours.
    if silence.is_zero() {
        format!("no report any more: {why}")
    } else {
        format!("no report for {}: {why}", age(silence))
    }
}
