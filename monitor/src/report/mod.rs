//! What people see: the numbers of one reading, and what they say together with the one before. Pure, and total.

mod container;
mod view;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub use self::container::{Container, Number};
use self::container::{container, number};
use self::view::CgroupView;
use crate::metrics::Metric;
use crate::snapshot::{Coverage, Scope, Snapshot, Stamp, Status};

#[cfg(test)]
mod tests;

/// Everything that one reading tells.
#[derive(Clone, Debug)]
pub struct Report {
    /// When its reading began.
    pub taken: Stamp,
    /// The containers that it covers.
    pub coverage: Coverage,
    /// The real time between the two readings behind the rates; `None` in a report without rates.
    pub interval: Option<Duration>,
    /// What the reading cost.
    pub cost: Duration,
    /// What is watched.
    pub scope: Scope,
    /// Since when eBPF has counted, if it does.
    pub counting_since: Option<SystemTime>,
    /// Events that the kernel's programs have not counted: a map was full, or a task was preempted in a program.
    pub lost_events: u64,
    /// How often cgroups came and went faster than could be told, so that the tree was walked again.
    pub walked_again: u64,
    /// The machine's name.
    pub host: String,
    /// How the reports before have got out; `None` where nothing is written anywhere.
    pub delivery: Option<Delivery>,
    /// One entry per container, by cgroup id.
    pub containers: Vec<Container>,
}

/// How reports have got out so far: the state of the sink when the reading was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delivery {
    /// Since when the server has been connected; `None` while it is away.
    pub connected_since: Option<SystemTime>,
    /// What the latest round trip took.
    pub round_trip: Option<Duration>,
    /// Entries of history and log that wait to be written.
    pub backlog: u64,
    /// Entries that were given up: too old, too many, or refused for good.
    pub dropped: u64,
    /// Entries that were sent more than once, because an answer was lost.
    pub resent: u64,
    /// Bytes that were sent in commands.
    pub bytes: u64,
}

impl Report {
    /// Puts two readings together. `cost` is what the later one took.
    pub fn new(prev: Option<&Snapshot>, now: &Snapshot, cost: Duration) -> Self {
        let interval = prev.map(|prev| now.taken.mono.saturating_sub(prev.taken.mono)).filter(|d| !d.is_zero());
        let mut numbers = Vec::with_capacity(now.cgroups.len() * Metric::COUNT);
        for (id, cgroup) in &now.cgroups {
            let before = prev.and_then(|prev| prev.cgroups.get(id));
            let view = CgroupView { now: &cgroup.values, host: &now.host, prev: before.map(|c| &c.values), interval };
            numbers.extend(Metric::ALL.iter().map(|&metric| number(metric, &view)));
        }
        let numbers = Arc::new(numbers);
        let firsts = (0..).step_by(Metric::COUNT);
        let containers = now.cgroups.iter().zip(firsts);
        let containers =
            containers.map(|((id, cgroup), first)| container(*id, cgroup, Arc::clone(&numbers), first)).collect();
        Self {
            taken: now.taken,
            coverage: now.coverage,
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

    /// True if everything has exited: the agent stops. The machine itself never exits.
    pub fn is_goodbye(&self) -> bool {
        self.containers.iter().all(|container| container.status == Status::Exited)
    }

    /// Splits off the containers that have exited, as a report of its own if there are any. A sink may miss a report about all
    /// containers, because the next one covers them again; no later report covers those that have exited.
    pub fn take_exited(&mut self) -> Option<Self> {
        let (exited, others) =
            std::mem::take(&mut self.containers).into_iter().partition(|container| container.status == Status::Exited);
        self.containers = others;
        let exited: Vec<Container> = exited;
        (!exited.is_empty()).then(|| Self {
            coverage: Coverage::Exited,
            containers: exited,
            host: self.host.clone(),
            delivery: self.delivery.clone(),
            ..*self
        })
    }
}
