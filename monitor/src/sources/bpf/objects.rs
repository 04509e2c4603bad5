//! The objects with the programs that count and report.

use monitor_common::objects;

use super::facts::{Constant, Fact};
use crate::programs::{self, Program};

/// An ELF object.
#[derive(Debug)]
pub(super) struct Object {
    /// Its name, under which it is pinned.
    pub(super) name: &'static str,
    /// The map that holds its counters, or its messages.
    pub(super) counters: &'static str,
    /// The constants of the kernel that it needs, besides those of every object.
    pub(super) constants: &'static [Constant],
    /// Its programs.
    pub(super) programs: &'static [Program],
}

/// All of them.
pub(super) const OBJECTS: &[&Object] = &[&NETWORK, &PROCESS, &LIFECYCLE];

/// Counts packets.
pub(super) const NETWORK: Object =
    Object { name: objects::NETWORK, counters: "NETWORK", constants: &[], programs: programs::NETWORK };

/// Counts process events, and descriptors.
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

/// Tells of cgroups that come and go.
pub(super) const LIFECYCLE: Object =
    Object { name: objects::LIFECYCLE, counters: "CGROUP_EVENTS", constants: &[], programs: programs::LIFECYCLE };
