//! The final readings of containers. Pure.
//!
//! The files of a container go with its directory. But after its last process has exited its counters do not change any
//! more: a reading from then on is the final one, which its last report takes over.

use std::collections::BTreeMap;

use crate::metrics::Metric;
use crate::snapshot::{CgroupId, Coverage, Snapshot, Status, Values};

/// Numbers of what only processes have. A cgroup cannot be removed while it has a process
/// (`Documentation/admin-guide/cgroup-v2.rst`, "Organizing Processes and Threads"), so they are 0 of one that has
/// exited. A reading before the removal may still find the last process on its way out.
const OF_PROCESSES: [Metric; 3] = [Metric::ProcessCount, Metric::Threads, Metric::FileDescriptors];

/// Readings of containers without processes.
#[derive(Debug, Default)]
pub(super) struct FinalReadings {
    empty: BTreeMap<CgroupId, Values>,
}

impl FinalReadings {
    /// Remembers the readings of containers without processes, and completes with them the numbers of those that have
    /// exited.
    pub(super) fn follow(&mut self, now: &mut Snapshot) {
        for (id, cgroup) in &mut now.cgroups {
            let last = self.empty.remove(id);
            if cgroup.status == Status::Exited {
                last.iter().for_each(|last| cgroup.values.complete(last));
                OF_PROCESSES.iter().for_each(|metric| cgroup.values.settle(*metric, 0));
            } else if cgroup.values.get(Metric::Populated) == Some(Ok(0)) {
                self.empty.insert(*id, cgroup.values.clone());
            }
        }
        if now.coverage == Coverage::All {
            self.empty.retain(|id, _| now.cgroups.contains_key(id));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::cause::{Cause, CauseKind};
    use crate::snapshot::Stamp;

    fn snapshot(coverage: Coverage, status: Status, values: &[(Metric, u64)]) -> Snapshot {
        let now = Snapshot::new(Stamp { mono: Duration::ZERO, wall: SystemTime::UNIX_EPOCH });
        let mut now = Snapshot { coverage, ..now };
        let cgroup = now.cgroups.entry(CgroupId(1)).or_default();
        cgroup.status = status;
        cgroup.values.miss(Metric::MemoryPeak, 0, Cause::new(CauseKind::Exited, "memory.peak: the cgroup has ended"));
        for &(metric, value) in values {
            cgroup.values.put(metric, 0, value);
        }
        now
    }

    fn peak(readings: &mut FinalReadings, mut now: Snapshot) -> Option<u64> {
        readings.follow(&mut now);
        now.cgroups[&CgroupId(1)].values.get(Metric::MemoryPeak).and_then(Result::ok)
    }

    fn gone() -> Snapshot {
        snapshot(Coverage::Exited, Status::Exited, &[])
    }

    #[test]
    fn what_was_read_after_the_last_process_ended_is_in_the_last_report() {
        let mut readings = FinalReadings::default();
        let empty = snapshot(Coverage::Exited, Status::Running, &[(Metric::Populated, 0), (Metric::MemoryPeak, 7)]);
        readings.follow(&mut empty.clone());
        assert_eq!(peak(&mut readings, gone()), Some(7));
        assert_eq!(peak(&mut readings, gone()), None, "and forgotten");
    }

    #[test]
    fn nothing_runs_in_a_container_that_has_exited_whatever_was_read_before() {
        let mut readings = FinalReadings::default();
        let dying = [(Metric::Populated, 0), (Metric::ProcessCount, 1), (Metric::Threads, 1)];
        readings.follow(&mut snapshot(Coverage::Exited, Status::Running, &dying));
        for mut now in [gone(), gone()] {
            readings.follow(&mut now);
            for metric in OF_PROCESSES {
                assert_eq!(now.cgroups[&CgroupId(1)].values.get(metric), Some(Ok(0)));
            }
        }
    }

    #[test]
    fn what_was_read_while_it_lived_is_not() {
        let mut readings = FinalReadings::default();
        let values = [(Metric::Populated, 1), (Metric::MemoryPeak, 7)];
        peak(&mut readings, snapshot(Coverage::All, Status::Running, &values));
        assert_eq!(peak(&mut readings, gone()), None);
        peak(
            &mut readings,
            snapshot(Coverage::All, Status::Running, &[(Metric::Populated, 0), (Metric::MemoryPeak, 7)]),
        );
        peak(&mut readings, snapshot(Coverage::All, Status::Running, &values));
        assert_eq!(peak(&mut readings, gone()), None, "it has begun anew");
    }

    #[test]
    fn nothing_is_kept_of_who_is_not_there_any_more() {
        let mut readings = FinalReadings::default();
        readings.follow(&mut snapshot(Coverage::Exited, Status::Running, &[(Metric::Populated, 0)]));
        readings.follow(&mut Snapshot::new(Stamp { mono: Duration::ZERO, wall: SystemTime::UNIX_EPOCH }));
        assert!(readings.empty.is_empty());
    }
}
