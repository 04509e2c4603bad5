//! Groups of counters. The programs of one object count values of one type, by cgroup, in one map.

use std::io;
use std::time::SystemTime;

use bytemuck::Pod;
use monitor_common::{Network, Processes};

use super::counters::Counters;
use super::feeds::MetricFeed;
use super::objects::{NETWORK, Object, PROCESS};
use crate::metrics::Origin;
use crate::programs::ProgramState;
use crate::snapshot::{Scope, Snapshot};

/// The programs that a metric needs, and its field of the value.
pub(super) type FieldOf<V> = (&'static [&'static str], fn(&V) -> u64);

/// A value that the programs of one object count for each cgroup.
pub(super) trait CounterGroup: Pod + Default + PartialEq + Send {
    /// The object.
    const OBJECT: &'static Object;

    /// Adds another value: that of another CPU, or of another cgroup of the same container.
    fn add_to(&mut self, other: &Self);

    /// The field that a metric of this origin takes; `None` if the group does not feed it.
    fn field(origin: &Origin) -> Option<FieldOf<Self>>;
}

impl CounterGroup for Network {
    const OBJECT: &'static Object = &NETWORK;

    fn add_to(&mut self, other: &Self) {
        self.add(other);
    }

    fn field(origin: &Origin) -> Option<FieldOf<Self>> {
        if let Origin::Network(programs, field) = origin { Some((programs, *field)) } else { None }
    }
}

impl CounterGroup for Processes {
    const OBJECT: &'static Object = &PROCESS;

    fn add_to(&mut self, other: &Self) {
        self.add(other);
    }

    fn field(origin: &Origin) -> Option<FieldOf<Self>> {
        if let Origin::Processes(programs, field) = origin { Some((programs, *field)) } else { None }
    }
}

/// Reads the counters of one group into a snapshot.
pub(super) trait CounterSource: Send {
    /// When counting began; `None` if nothing is attached.
    fn since(&self) -> Option<SystemTime>;

    /// The events that were not counted, in all.
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
    /// The counters, with the metrics that the states of the programs allow.
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
        counted?.map_or(Ok(()), |counted| counted.trouble)
    }
}
