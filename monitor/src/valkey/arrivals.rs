//! The arrival of reports on the reader's clock. Clocks of machines differ: a container is alive if its report changes,
//! whatever time stands in it, and a clock that is minutes off is told. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use super::store::Looked;
use super::stored::Stored;
use crate::findings::ClockOffset;
use crate::snapshot::Stamp;

/// Clocks that differ by less count as equal: a report may be this old before anybody has read it.
const EQUAL: Duration = Duration::from_secs(30);

/// The reports that were seen at the last look, by container.
#[derive(Debug, Default)]
pub struct Arrivals {
    seen: BTreeMap<String, Arrival>,
    /// The time of the last look.
    last: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
struct Arrival {
    /// The time that the report gives.
    taken: SystemTime,
    /// The monotonic time at which it arrived.
    at: Duration,
    offset: Option<ClockOffset>,
}

impl Arrivals {
    /// Dates the reports of a list of all containers on the reader's clock, and forgets the containers that are not on
    /// it.
    pub fn update(&mut self, listed: &mut [Looked], now: Stamp) {
        self.date(listed.iter_mut().filter_map(|looked| looked.report.as_mut().ok()?.as_mut()), now);
        let names: BTreeSet<&str> = listed.iter().map(|looked| looked.name.as_str()).collect();
        self.seen.retain(|name, _| names.contains(name.as_str()));
    }

    fn date<'a>(&mut self, reports: impl Iterator<Item = &'a mut Stored>, now: Stamp) {
        let gap = self.last.replace(now.mono).map_or(Duration::ZERO, |last| now.mono.saturating_sub(last));
        for stored in reports {
            let arrival = match self.seen.get(&stored.name).copied() {
                Some(known) if known.taken == stored.taken => known,
                known => arrived(stored.taken, known.is_some(), gap, now),
            };
            let age = now.mono.saturating_sub(arrival.at);
            stored.seen = now.wall.checked_sub(age).unwrap_or(stored.taken);
            stored.clock = arrival.offset;
            self.seen.insert(stored.name.clone(), arrival);
        }
    }

    /// When the last report of a container arrived, on the reader's clock.
    pub fn last(&self, name: &str, now: Stamp) -> Option<SystemTime> {
        now.wall.checked_sub(now.mono.saturating_sub(self.seen.get(name)?.at))
    }
}

/// The arrival of a report. One that has changed is at most as old as the last look, which tells the offset of its
/// clock; of a first one nothing is known.
fn arrived(taken: SystemTime, has_changed: bool, gap: Duration, now: Stamp) -> Arrival {
    let offset = ClockOffset::between(taken, now.wall);
    let is_equal = offset.by <= EQUAL + if has_changed { gap } else { Duration::ZERO };
    let age = if is_equal && !offset.is_ahead { offset.by } else { Duration::ZERO };
    Arrival { taken, at: now.mono.saturating_sub(age), offset: Some(offset).filter(|_| has_changed && !is_equal) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns what a reader learns at one second of a report that was made at another: its age, and the offset in
    /// seconds.
    fn look(arrivals: &mut Arrivals, second: u64, taken: u64) -> (u64, Option<(u64, bool)>) {
        let at = |second| SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + second);
        let text = format!(
            r#"{{"container_name":"web","timestamp":"{}","status":"running"}}"#,
            humantime::format_rfc3339_nanos(at(taken))
        );
        let mut stored = Stored::parse("web", "k", text.as_bytes()).unwrap();
        let now = Stamp { mono: Duration::from_secs(second), wall: at(second) };
        arrivals.date([&mut stored].into_iter(), now);
        let age = now.wall.duration_since(stored.seen).unwrap().as_secs();
        (age, stored.clock.map(|offset| (offset.by.as_secs(), offset.is_ahead)))
    }

    #[test]
    fn with_equal_clocks_the_age_is_that_of_the_report() {
        let mut arrivals = Arrivals::default();
        assert_eq!(look(&mut arrivals, 10_000, 9_997), (3, None));
        assert_eq!(look(&mut arrivals, 10_005, 10_002), (3, None));
        assert_eq!(look(&mut arrivals, 10_060, 10_002), (58, None), "it stands still");
    }

    #[test]
    fn a_clock_that_is_minutes_off_is_told_and_its_reports_are_fresh() {
        let mut arrivals = Arrivals::default();
        assert_eq!(look(&mut arrivals, 10_000, 8_000), (0, None), "nothing is known of a first report");
        assert_eq!(look(&mut arrivals, 10_005, 8_005), (0, Some((2_000, false))));
        assert_eq!(look(&mut arrivals, 10_050, 8_005), (45, Some((2_000, false))), "and silence is silence");
        let mut arrivals = Arrivals::default();
        look(&mut arrivals, 10_000, 10_900);
        assert_eq!(look(&mut arrivals, 10_005, 10_905), (0, Some((900, true))));
    }

    #[test]
    fn a_reader_that_was_away_blames_no_clock() {
        let mut arrivals = Arrivals::default();
        look(&mut arrivals, 10_000, 9_999);
        assert_eq!(look(&mut arrivals, 10_600, 10_400), (200, None));
    }
}
