//! The last numbers of containers. Pure.
//!
//! When a container's directory is gone, its files are gone. But after the end of its last process they change no more: what
//! was read from then on is what it came to in the end.

use std::collections::BTreeMap;

use crate::metrics::Metric;
use crate::snapshot::{CgroupId, Extent, Snapshot, Status, Values};

/// What was read of containers without processes.
#[derive(Debug, Default)]
pub struct Lives {
    empty: BTreeMap<CgroupId, Values>,
}

impl Lives {
    /// Takes note of a reading, and completes in it the numbers of who has ended.
    pub fn follow(&mut self, now: &mut Snapshot) {
        for (id, cgroup) in &mut now.cgroups {
            let last = self.empty.remove(id);
            if cgroup.status == Status::Exited {
                last.iter().for_each(|last| cgroup.values.complete(last));
            } else if cgroup.values.get(Metric::Populated) == Some(Ok(0)) {
                self.empty.insert(*id, cgroup.values.clone());
            }
        }
        if now.extent == Extent::Whole {
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

    fn snapshot(extent: Extent, status: Status, values: &[(Metric, u64)]) -> Snapshot {
        let now = Snapshot::new(Stamp { mono: Duration::ZERO, wall: SystemTime::UNIX_EPOCH });
        let mut now = Snapshot { extent, ..now };
        let cgroup = now.cgroups.entry(CgroupId(1)).or_default();
        cgroup.status = status;
        cgroup.values.miss(Metric::MemoryPeak, 0, Cause::new(CauseKind::Exited, "memory.peak: the cgroup has ended"));
        for &(metric, value) in values {
            cgroup.values.put(metric, 0, value);
        }
        now
    }

    fn peak(lives: &mut Lives, mut now: Snapshot) -> Option<u64> {
        lives.follow(&mut now);
        now.cgroups[&CgroupId(1)].values.get(Metric::MemoryPeak).and_then(Result::ok)
    }

    fn gone() -> Snapshot {
        snapshot(Extent::Ended, Status::Exited, &[])
    }

    #[test]
    fn what_was_read_after_the_last_process_ended_is_in_the_last_report() {
        let mut lives = Lives::default();
        let empty = snapshot(Extent::Ended, Status::Running, &[(Metric::Populated, 0), (Metric::MemoryPeak, 7)]);
        lives.follow(&mut empty.clone());
        assert_eq!(peak(&mut lives, gone()), Some(7));
        assert_eq!(peak(&mut lives, gone()), None, "and forgotten");
    }

    #[test]
    fn what_was_read_while_it_lived_is_not() {
        let mut lives = Lives::default();
        let values = [(Metric::Populated, 1), (Metric::MemoryPeak, 7)];
        peak(&mut lives, snapshot(Extent::Whole, Status::Running, &values));
        assert_eq!(peak(&mut lives, gone()), None);
        peak(&mut lives, snapshot(Extent::Whole, Status::Running, &[(Metric::Populated, 0), (Metric::MemoryPeak, 7)]));
        peak(&mut lives, snapshot(Extent::Whole, Status::Running, &values));
        assert_eq!(peak(&mut lives, gone()), None, "it has begun anew");
    }

    #[test]
    fn nothing_is_kept_of_who_is_not_there_any_more() {
        let mut lives = Lives::default();
        lives.follow(&mut snapshot(Extent::Ended, Status::Running, &[(Metric::Populated, 0)]));
        lives.follow(&mut Snapshot::new(Stamp { mono: Duration::ZERO, wall: SystemTime::UNIX_EPOCH }));
        assert!(lives.empty.is_empty());
    }
}
