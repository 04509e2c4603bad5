//! Start times of containers, and the uptimes that follow from them.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use super::source::{Source, SourceError};
use crate::metrics::Metric;
use crate::snapshot::{CgroupId, Coverage, Snapshot, Status};

/// Last source: it keeps the first start time of each container, which the others give as an uptime. So the start time
/// is the same in every report of a life, whatever happens to the wall clock, and also when the first process ends
/// before others.
#[derive(Debug, Default)]
pub struct StartTimes {
    known: BTreeMap<CgroupId, Start>,
}

/// The start of a container.
#[derive(Clone, Copy, Debug)]
struct Start {
    /// Whole seconds between the boot of the machine and the start.
    since_boot: u64,
    wall: SystemTime,
    /// Whole seconds between the boot and the first reading without a process: the next process begins a new life.
    ended: Option<u64>,
}

impl Source for StartTimes {
    fn name(&self) -> &'static str {
        "start times"
    }

    fn sample(&mut self, into: &mut Snapshot) -> Result<(), SourceError> {
        let (now, wall) = (into.taken.mono.as_secs(), into.taken.wall);
        let boot = wall.checked_sub(into.taken.mono).unwrap_or(SystemTime::UNIX_EPOCH);
        for (id, cgroup) in &mut into.cgroups {
            let uptime = cgroup.values.get(Metric::Uptime).and_then(Result::ok);
            let start = match (uptime, self.known.get(id)) {
                (Some(uptime), None | Some(Start { ended: Some(_), .. })) => {
                    let since_boot = now.saturating_sub(uptime);
                    Start { since_boot, wall: whole_seconds(boot + Duration::from_secs(since_boot)), ended: None }
                }
                (_, Some(start)) => {
                    let is_over = cgroup.status == Status::Exited || cgroup.values.is_empty_of_processes();
                    Start { ended: start.ended.or(is_over.then_some(now)), ..*start }
                }
                (None, None) => continue,
            };
            if uptime.is_some() || cgroup.status == Status::Exited {
                cgroup.values.settle(Metric::Uptime, start.ended.unwrap_or(now).saturating_sub(start.since_boot));
            }
            cgroup.started = Some(start.wall);
            self.known.insert(*id, start);
        }
        if into.coverage == Coverage::All {
            self.known.retain(|id, _| into.cgroups.contains_key(id));
        }
        Ok(())
    }
}

/// The kernel gives start times in hundredths of a second, and this agent in whole seconds.
fn whole_seconds(wall: SystemTime) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(crate::unix_time::since_epoch(wall).as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::{Cause, CauseKind};
    use crate::snapshot::Stamp;

    const ID: CgroupId = CgroupId(1);

    /// A reading at a time since boot, with the wall clock this much later than a thousand seconds at boot.
    fn reading(millis: u64, offset: Duration, values: &[(Metric, u64)], status: Status) -> Snapshot {
        let mono = Duration::from_millis(millis);
        let wall = SystemTime::UNIX_EPOCH + Duration::from_millis(1_000_400) + mono + offset;
        let mut now = Snapshot::new(Stamp { mono, wall });
        let cgroup = now.cgroups.entry(ID).or_default();
        cgroup.status = status;
        cgroup.values.miss(Metric::Uptime, 0, Cause::new(CauseKind::Exited, "it has no process"));
        values.iter().for_each(|(metric, value)| cgroup.values.put(*metric, 0, *value));
        now
    }

    /// The start time in Unix seconds and the uptime after a reading.
    fn told(source: &mut StartTimes, mut now: Snapshot) -> (Option<u64>, Option<u64>) {
        source.sample(&mut now).unwrap();
        let cgroup = &now.cgroups[&ID];
        let started = cgroup.started.map(|started| crate::unix_time::since_epoch(started).as_secs());
        (started, cgroup.values.get(Metric::Uptime).and_then(Result::ok))
    }

    fn alive(millis: u64, uptime: u64) -> Snapshot {
        reading(millis, Duration::ZERO, &[(Metric::Uptime, uptime), (Metric::ProcessCount, 1)], Status::Running)
    }

    #[test]
    fn it_stands_still_at_every_phase_of_the_reading_and_when_the_wall_clock_is_set() {
        let mut source = StartTimes::default();
        for millis in (20_000..30_000).step_by(700) {
            // Started 10 s after boot; both clocks are cut to seconds, not at the same moments.
            let (started, uptime) = told(&mut source, alive(millis, millis / 1000 - 10));
            assert_eq!((started, uptime), (Some(1_010), Some(millis / 1000 - 10)));
        }
        let values = [(Metric::Uptime, 25), (Metric::ProcessCount, 1)];
        let later = reading(35_000, Duration::from_secs(3_600), &values, Status::Running);
        assert_eq!(told(&mut source, later), (Some(1_010), Some(25)));
    }

    #[test]
    fn a_first_process_that_ends_before_others_does_not_begin_a_new_life() {
        let mut source = StartTimes::default();
        told(&mut source, alive(20_000, 10));
        assert_eq!(told(&mut source, alive(30_000, 5)), (Some(1_010), Some(20)));
    }

    #[test]
    fn a_group_that_was_empty_begins_anew_with_its_next_process() {
        let mut source = StartTimes::default();
        told(&mut source, alive(20_000, 10));
        let empty = reading(30_000, Duration::ZERO, &[(Metric::ProcessCount, 0)], Status::Running);
        assert_eq!(told(&mut source, empty), (Some(1_010), None));
        assert_eq!(told(&mut source, alive(40_000, 5)), (Some(1_035), Some(5)));
    }

    #[test]
    fn what_has_exited_has_lived_until_now_and_is_forgotten_with_the_next_reading_of_all() {
        let mut source = StartTimes::default();
        told(&mut source, alive(20_000, 10));
        let gone = Snapshot { coverage: Coverage::Exited, ..reading(22_000, Duration::ZERO, &[], Status::Exited) };
        assert_eq!(told(&mut source, gone.clone()), (Some(1_010), Some(12)));
        assert_eq!(told(&mut source, Snapshot { taken: alive(29_000, 0).taken, ..gone }), (Some(1_010), Some(12)));
        source.sample(&mut Snapshot::new(alive(25_000, 0).taken)).unwrap();
        assert!(source.known.is_empty());
    }
}
