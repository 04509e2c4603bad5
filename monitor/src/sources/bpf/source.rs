//! Source of the metrics that eBPF programs count.

use super::cgroup_events::CgroupEvents;
use super::group_source::CounterSource;
use super::iterators::Iterators;
use crate::containers::change::ChangeFeed;
use crate::snapshot::Snapshot;
use crate::sources::source::{Source, SourceError};

/// Reads the counters and runs the iterators.
pub struct Bpf {
    pub(super) groups: Vec<Box<dyn CounterSource>>,
    pub(super) cgroup_events: Option<CgroupEvents>,
    pub(super) iterators: Iterators,
}

impl Bpf {
    /// Hands over the reader of cgroup events, if their programs are attached.
    pub fn take_change_feed(&mut self) -> Option<Box<dyn ChangeFeed>> {
        self.cgroup_events.take().map(|events| Box::new(events) as Box<dyn ChangeFeed>)
    }
}

impl Source for Bpf {
    fn name(&self) -> &'static str {
        "eBPF maps"
    }

    fn sample(&mut self, into: &mut Snapshot) -> Result<(), SourceError> {
        let mut counted = Ok(());
        for group in &mut self.groups {
            // One that fails does not stop the others.
            counted = counted.and(group.sample(into));
        }
        into.counting_since = self.groups.iter().find_map(|group| group.since());
        into.lost_events = self.groups.iter().map(|group| group.lost()).sum();
        let iterated = self.iterators.sample(into);
        counted.and(iterated).map_err(|error| SourceError(error.to_string()))
    }
}
