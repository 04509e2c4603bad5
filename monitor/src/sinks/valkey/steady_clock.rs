//! The time of day without steps that are soon taken back.

use std::time::{Duration, SystemTime};

use crate::snapshot::Stamp;

/// Time for which a step of the clock must hold before entries are aged by it: a step that is soon corrected must not
/// cost the history.
const STEADY: Duration = Duration::from_secs(3600);
/// Smaller steps are normal corrections of a clock.
const STEP: Duration = Duration::from_secs(60);

/// The time of day without steps that are soon taken back.
#[derive(Debug)]
pub(super) struct SteadyClock {
    pub(super) wall: SystemTime,
    last: Option<Stamp>,
    differs_since: Option<Duration>,
}

impl Default for SteadyClock {
    fn default() -> Self {
        Self { wall: SystemTime::UNIX_EPOCH, last: None, differs_since: None }
    }
}

impl SteadyClock {
    /// Records the clock.
    pub(super) fn tick(&mut self, now: Stamp) {
        let expected = self.last.map_or(now.wall, |last| self.wall + now.mono.saturating_sub(last.mono));
        self.last = Some(now);
        let step = now.wall.duration_since(expected).unwrap_or_else(|back| back.duration());
        let since = *self.differs_since.get_or_insert(now.mono);
        if step < STEP || now.mono.saturating_sub(since) >= STEADY {
            self.wall = now.wall;
            self.differs_since = None;
        } else {
            self.wall = expected;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn at(mono: u64, wall: u64) -> Stamp {
        Stamp { mono: Duration::from_secs(mono), wall: SystemTime::UNIX_EPOCH + Duration::from_secs(wall) }
    }

    fn after(clock: &mut SteadyClock, mono: u64, wall: u64) -> u64 {
        clock.tick(at(mono, wall));
        clock.wall.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
    }

    #[test]
    fn a_step_of_the_clock_counts_only_when_it_has_held_for_an_hour() {
        let mut clock = SteadyClock::default();
        let day = DAY.as_secs();
        assert_eq!(after(&mut clock, 0, 1000), 1000);
        assert_eq!(after(&mut clock, 5, 1006), 1006, "small steps are followed");
        assert_eq!(after(&mut clock, 10, 1010 + day), 1011);
        assert_eq!(after(&mut clock, 15, 1015), 1015, "and back");
        assert_eq!(after(&mut clock, 20, 1020 + day), 1020);
        assert_eq!(after(&mut clock, 3619, 4619 + day), 4619);
        assert_eq!(after(&mut clock, 3620, 4620 + day), 4620 + day);
    }
}
