//! Clocks of machines that differ from the reader's.

use std::time::{Duration, SystemTime};

use super::finding::{Finding, FindingKind};
use super::level::Level;
use crate::amount::age;

/// The difference between the clock of a container's machine and the reader's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockOffset {
    /// The difference.
    pub by: Duration,
    /// True if the machine's clock is ahead.
    pub is_ahead: bool,
}

impl ClockOffset {
    /// The offset of a clock that shows `theirs` at the time `ours`.
    pub fn between(theirs: SystemTime, ours: SystemTime) -> Self {
        match ours.duration_since(theirs) {
            Ok(by) => Self { by, is_ahead: false },
            Err(ahead) => Self { by: ahead.duration(), is_ahead: true },
        }
    }

    /// The finding about it.
    pub(super) fn finding(self) -> Finding {
        let direction = if self.is_ahead { "ahead" } else { "behind" };
        let text = format!("its machine's clock is {} {direction}", age(self.by));
        Finding { kind: FindingKind::Clock, level: Level::Info, text }
    }
}
