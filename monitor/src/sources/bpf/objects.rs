//! Objects with the programs that count and report events.

use monitor_common::objects;

use super::facts::{Constant, Fact};
use crate::programs::{self, Program};

/// An ELF object.
#[derive(Debug)]
pub(super) struct Object {
    /// Its name, under which it is pinned.
    pub(super) name: &'static str,
    /// The map of its counters, or its ring buffer.
    pub(super) counters: &'static str,
    /// The kernel facts that it needs, besides those of every object.
    pub(super) constants: &'static [Constant],
    /// Its programs.
    pub(super) programs: &'static [Program],
}

/// All objects of this kind.
pub(super) const OBJECTS: &[&Object] = &[&NETWORK, &PROCESS, &LIFECYCLE];

/// Counts packets.
pub(super) const NETWORK: Object =
    Object { name: objects::NETWORK, counters: "NETWORK", constants: &[], programs: programs::NETWORK };

/// Counts process events and descriptors.
pub(super) const PROCESS: Object = Object {
    name: objects::PROCESS,
    counters: "PROCESSES",
    constants: &[
        ("FILES", Fact::Castable("files_struct", "fdt")),
        ("FILES_FDT", Fact::Field("files_struct", "fdt")),
        ("FDTABLE_MAX", Fact::Field("fdtable", "max_fds")),
        ("FDTABLE_OPEN", Fact::Field("fdtable", "open_fds")),
        ("LONG", Fact::Castable("cpumask", "bits")),
    ],
    programs: programs::PROCESS,
};

/// Reports cgroups that are created and removed.
pub(super) const LIFECYCLE: Object =
    Object { name: objects::LIFECYCLE, counters: "CGROUP_EVENTS", constants: &[], programs: programs::LIFECYCLE };
