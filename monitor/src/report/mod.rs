//! Reports: the numbers of one sample, and those that are derived from it and the sample before. Pure, and total.

mod container;
mod view;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub use self::container::{Container, LIMITS, Number};
use self::container::{container, known, number};
use self::view::{CgroupView, SharedCauses};
use crate::metrics::Metric;
use crate::snapshot::{Cgroup, CgroupId, Coverage, Scope, Snapshot, Stamp, Status};

#[cfg(test)]
mod tests;

/// The report of one sample.
#[derive(Clone, Debug)]
pub struct Report {
    /// The time at which the sample began.
    pub taken: Stamp,
    /// The containers that it covers.
    pub coverage: Coverage,
    /// True if the agent stops: no report follows.
    pub is_last: bool,
    /// The measured time between the two samples behind the rates; `None` in a report without rates.
    pub interval: Option<Duration>,
    /// The time that the sample took.
    pub cost: Duration,
    /// The scope of the agent.
    pub scope: Scope,
    /// The time since which eBPF has counted, if it does.
    pub counting_since: Option<SystemTime>,
    /// Events that the eBPF programs have not counted: a map was full, or a task was preempted in a program.
    pub lost_events: u64,
    /// The number of times that cgroup events were lost, so that the tree was walked again.
    pub walked_again: u64,
    /// The machine's name.
    pub host: String,
    /// The state of the delivery of earlier reports; `None` without a sink that delivers.
    pub delivery: Option<Delivery>,
    /// One entry per container, by cgroup id.
    pub containers: Vec<Container>,
}

/// The state of the delivery of reports when the sample was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delivery {
    /// The time since which the server has been connected; `None` while it is not.
    pub connected_since: Option<SystemTime>,
    /// The duration of the latest round trip.
    pub round_trip: Option<Duration>,
    /// Entries of history and log that are queued.
    pub backlog: u64,
    /// Entries that were dropped: too old, too many, or refused for good.
    pub dropped: u64,
    /// Entries that were sent more than once, because a reply was lost.
    pub resent: u64,
    /// Bytes that were sent in commands.
    pub bytes: u64,
}

impl Report {
    /// True for the entry of the machine itself: the root cgroup, in scope `host`.
    pub fn is_machine(&self, container: &Container) -> bool {
        self.scope == Scope::Host && container.identity.path == "/"
    }

    /// The report of a sample and the one before it. `cost` is the time that the later one took.
    pub fn new(prev: Option<&Snapshot>, now: &Snapshot, cost: Duration) -> Self {
        Self::after(None, prev, now, cost)
    }

    /// The report that follows `last`, the latest one about all containers: one that has exited keeps the numbers that
    /// it had there where this sample has none, since its files are gone.
    pub fn after(last: Option<&Self>, prev: Option<&Snapshot>, now: &Snapshot, cost: Duration) -> Self {
        let interval = prev.map(|prev| now.taken.mono.saturating_sub(prev.taken.mono)).filter(|d| !d.is_zero());
        let reported = || now.cgroups.iter().filter(|(_, cgroup)| !cgroup.withheld);
        let last_of = |id, cgroup: &Cgroup| last.filter(|_| cgroup.status == Status::Exited)?.find(id);
        let causes = SharedCauses::new();
        let mut numbers = Vec::with_capacity(now.cgroups.len() * Metric::COUNT);
        for (id, cgroup) in reported() {
            let before = prev.and_then(|prev| prev.cgroups.get(id));
            let prev = before.map(|cgroup| &cgroup.values);
            let view = CgroupView { now: &cgroup.values, host: &now.host, prev, interval, causes: &causes };
            let last = last_of(*id, cgroup);
            numbers.extend(
                Metric::ALL.iter().map(|&metric| number(metric, &view).or_else(|cause| known(last, metric, cause))),
            );
        }
        let numbers = Arc::new(numbers);
        let firsts = (0..).step_by(Metric::COUNT);
        let containers = reported().zip(firsts);
        let containers = containers
            .map(|((id, cgroup), first)| {
                let made = container(*id, cgroup, Arc::clone(&numbers), first);
                match last_of(*id, cgroup) {
                    Some(last) => made.completed_by(last),
                    None => made,
                }
            })
            .collect();
        Self {
            taken: now.taken,
            coverage: now.coverage,
            is_last: false,
            interval,
            cost,
            scope: now.scope,
            counting_since: now.counting_since,
            lost_events: now.lost_events,
            walked_again: now.walked_again,
            host: now.host.name.clone(),
            delivery: None,
            containers,
        }
    }

    /// The container of a cgroup.
    pub fn find(&self, id: CgroupId) -> Option<&Container> {
        let at = self.containers.binary_search_by_key(&id, |container| container.id).ok()?;
        self.containers.get(at)
    }

    /// This report as the last one. The agent's own container exits with it, as readers have relied on from the first
    /// version; the containers of a machine go on without it.
    #[must_use]
    pub fn as_last(mut self) -> Self {
        self.is_last = true;
        if self.scope == Scope::SelfContainer {
            self.containers.iter_mut().for_each(|container| container.status = Status::Exited);
        }
        self
    }

    /// True if this report tells readers of `container` that the agent stops: in its own log, or in that of the
    /// machine.
    pub fn tells_stop(&self, container: &Container) -> bool {
        self.is_last && (self.scope == Scope::SelfContainer || container.identity.is_root)
    }

    /// Splits off the containers that have exited, as a report of its own if there are any. A sink may miss a report
    /// about all containers, because the next one covers them again; no later report covers those that have exited.
    pub fn take_exited(&mut self) -> Option<Self> {
        let (exited, others) =
            std::mem::take(&mut self.containers).into_iter().partition(|container| container.status == Status::Exited);
        self.containers = others;
        let exited: Vec<Container> = exited;
        (!exited.is_empty()).then(|| Self {
            coverage: Coverage::Exited,
            is_last: false,
            containers: exited,
            host: self.host.clone(),
            delivery: self.delivery.clone(),
            ..*self
        })
    }
}
