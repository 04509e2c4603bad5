//! The processes of a container, summed. Pure.

use std::time::Duration;

use crate::cause::{Cause, CauseKind};
use crate::metrics::NO_LIMIT;
use crate::readings::Tasks;

/// The facts about one process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Process {
    /// Its id.
    pub(super) pid: u32,
    /// True if it is the first of its pid namespace, and so of the container.
    pub(super) is_init: bool,
    /// The time from boot to its start.
    pub(super) started: Duration,
    /// The number of its threads.
    pub(super) threads: u64,
}

/// The sum over the processes of a container.
#[derive(Clone, Debug, Default)]
pub(super) struct Processes {
    /// True if the container is known to have none.
    none: bool,
    /// Cause for which some cannot be seen: the sum of the others is not the container's.
    hidden: Option<Cause>,
    processes: u64,
    threads: u64,
    descriptors: u64,
    nearest: Option<u64>,
    /// The first process, by this order.
    first: Option<(bool, Duration, u32)>,
    refused: Option<Cause>,
}

impl Processes {
    /// The sum of a container without processes.
    pub(super) fn none() -> Self {
        Self { none: true, ..Self::default() }
    }

    /// Adds a process.
    pub(super) fn add(&mut self, process: Process) {
        self.processes += 1;
        self.threads += process.threads;
        self.comes_first(Some((!process.is_init, process.started, process.pid)));
    }

    /// Adds the open descriptors of a process, and its limit, where known.
    pub(super) fn add_descriptors(&mut self, open: u64, limit: Option<u64>) {
        self.descriptors += open;
        if let Some(limit) = limit {
            let share = if limit == NO_LIMIT { 0 } else { open.saturating_mul(10_000) / limit.max(1) };
            self.nearest = self.nearest.max(Some(share.min(10_000)));
        }
    }

    /// Marks the descriptors as unknown: one process could not be read, and a partial sum would be wrong.
    pub(super) fn refuse(&mut self, cause: impl FnOnce() -> Cause) {
        self.refused.get_or_insert_with(cause);
    }

    /// Marks all sums as unknown: some processes cannot be seen.
    pub(super) fn hide(&mut self, cause: Cause) {
        self.hidden.get_or_insert(cause);
    }

    /// Adds another sum.
    pub(super) fn merge(&mut self, other: &Self) {
        self.processes += other.processes;
        self.threads += other.threads;
        self.descriptors += other.descriptors;
        self.nearest = self.nearest.max(other.nearest);
        self.comes_first(other.first);
        self.refused = self.refused.take().or_else(|| other.refused.clone());
    }

    fn comes_first(&mut self, other: Option<(bool, Duration, u32)>) {
        self.first = self.first.into_iter().chain(other).min();
    }

    /// Returns the first process.
    pub(super) fn first(&self) -> Option<u32> {
        self.first.map(|(.., pid)| pid)
    }

    /// Fills in the values, for a time since boot.
    pub(super) fn tasks(&self, now: Duration) -> Tasks {
        let nothing = || {
            let exited = || Cause::new(CauseKind::Exited, "it has no process");
            self.hidden.clone().unwrap_or_else(exited)
        };
        let is_known = self.hidden.is_none() && (self.processes > 0 || self.none);
        let seen = |value: u64| if is_known { Ok(value) } else { Err(nothing()) };
        let descriptors = self.refused.clone().map_or_else(|| seen(self.descriptors), Err);
        let uptime = |(_, started, _): (bool, Duration, u32)| now.as_secs().saturating_sub(started.as_secs());
        Tasks {
            processes: seen(self.processes),
            threads: seen(self.threads),
            nearest_limit: descriptors.clone().and_then(|_| {
                self.nearest.ok_or_else(|| Cause::new(CauseKind::Failed, "/proc/PID/limits cannot be read"))
            }),
            descriptors,
            uptime: self.first.filter(|_| self.hidden.is_none()).map(uptime).ok_or_else(nothing),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sum(processes: &[(u32, u64, u64)]) -> Processes {
        let mut sum = Processes::default();
        for &(pid, started, open) in processes {
            sum.add(Process { pid, is_init: false, started: Duration::from_secs(started), threads: 2 });
            sum.add_descriptors(open, Some(100));
        }
        sum
    }

    #[test]
    fn the_first_process_of_a_pid_namespace_comes_before_an_older_one_that_has_entered_it() {
        let mut all = sum(&[(7, 10, 0)]);
        all.add(Process { pid: 1, is_init: true, started: Duration::from_secs(20), threads: 1 });
        assert_eq!((all.first(), all.tasks(Duration::from_secs(100)).uptime), (Some(1), Ok(80)));
    }

    #[test]
    fn of_nothing_nothing_is_known() {
        assert!(Processes::default().tasks(Duration::ZERO).processes.is_err());
        let none = Processes::none().tasks(Duration::ZERO);
        assert_eq!((none.processes, none.descriptors), (Ok(0), Ok(0)));
        assert!(none.uptime.is_err());
    }

    proptest! {
        #[test]
        fn a_sum_of_sums_is_the_sum_of_all(processes in proptest::collection::vec((1u32..9, 0u64..50, 0u64..200), 1..9), at in 0usize..9) {
            let (some, others) = processes.split_at(at.min(processes.len()));
            let mut merged = sum(some);
            merged.merge(&sum(others));
            let (whole, now) = (sum(&processes), Duration::from_secs(100));
            prop_assert_eq!((merged.first(), merged.tasks(now)), (whole.first(), whole.tasks(now)));
        }
    }
}
