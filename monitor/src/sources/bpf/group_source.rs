//! One group of counters, read into snapshots.

use std::io;
use std::time::SystemTime;

use super::counters::Counters;
use super::feeds::MetricFeed;
use super::group::CounterGroup;
use crate::programs::ProgramState;
use crate::snapshot::{Scope, Snapshot};

/// Reads the counters of one group into a snapshot.
pub(super) trait CounterSource: Send {
    /// When counting began; `None` if nothing is attached.
    fn since(&self) -> Option<SystemTime>;

    /// The total number of events that were not counted.
    fn lost(&self) -> u64;

    /// Fills in the group's metrics of each cgroup.
    ///
    /// # Errors
    /// An error of the maps. The metrics that it affects are absent with a cause.
    fn sample(&mut self, into: &mut Snapshot) -> io::Result<()>;
}

/// One group: its counters, if they are attached, and the metrics that they feed.
pub(super) struct Group<V: CounterGroup> {
    pub(super) counters: Option<Counters<V>>,
    feed: MetricFeed<V>,
}

impl<V: CounterGroup> Group<V> {
    /// Combines the counters with the metrics that the states of the programs allow.
    pub(super) fn new(counters: Option<Counters<V>>, programs: &[ProgramState]) -> Self {
        Self { counters, feed: MetricFeed::new(programs) }
    }
}

impl<V: CounterGroup> CounterSource for Group<V> {
    fn since(&self) -> Option<SystemTime> {
        self.counters.as_ref().map(|counters| counters.since)
    }

    fn lost(&self) -> u64 {
        self.counters.as_ref().map_or(0, Counters::lost)
    }

    fn sample(&mut self, into: &mut Snapshot) -> io::Result<()> {
        let counted = self.counters.as_mut().map(|counters| counters.read(into)).transpose();
        let read = counted.as_ref().ok().and_then(Option::as_ref);
        for (id, cgroup) in &mut into.cgroups {
            let is_all = into.scope == Scope::SelfContainer || cgroup.identity.is_root;
            self.feed.fill(read, *id, is_all, &mut cgroup.values);
        }
        counted?.map_or(Ok(()), |counted| counted.failure)
    }
}
