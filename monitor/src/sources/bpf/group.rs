//! Groups of counters. The programs of one object count values of one type, by cgroup, in one map.

use bytemuck::Pod;
use monitor_common::{Network, Processes};

use super::objects::{NETWORK, Object, PROCESS};
use crate::metrics::Origin;

/// The programs that a metric needs, and its field of the value.
pub(super) type FieldOf<V> = (&'static [&'static str], fn(&V) -> u64);

/// The value that the programs of one object count for each cgroup.
pub(super) trait CounterGroup: Pod + Default + PartialEq + Send {
    /// The object.
    const OBJECT: &'static Object;

    /// Returns the field that feeds a metric of this origin; `None` if the group does not feed it.
    fn field(origin: &Origin) -> Option<FieldOf<Self>>;
}

impl CounterGroup for Network {
    const OBJECT: &'static Object = &NETWORK;

    fn field(origin: &Origin) -> Option<FieldOf<Self>> {
        if let Origin::Network(programs, field) = origin { Some((programs, *field)) } else { None }
    }
}

impl CounterGroup for Processes {
    const OBJECT: &'static Object = &PROCESS;

    fn field(origin: &Origin) -> Option<FieldOf<Self>> {
        if let Origin::Processes(programs, field) = origin { Some((programs, *field)) } else { None }
    }
}
