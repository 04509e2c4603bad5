//! The compiled objects inside this binary, and what each program of theirs is attached to.

use aya::include_bytes_aligned;

use super::facts::{Constant, Fact};
use crate::refusal::{BPF, Capability, NET_ADMIN, PERFMON};

/// How a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hook {
    /// To the packets that come into a cgroup.
    Ingress,
    /// To the packets that leave a cgroup.
    Egress,
    /// To the tracepoint of the program's name, by number of argument alone.
    RawTracepoint,
    /// To the tracepoint of the program's name, with the types of the kernel.
    BtfTracepoint,
    /// The same, for as long as this agent lives.
    Messages,
    /// To where the first of these functions begins that the kernel has.
    Entry(&'static [&'static str]),
    /// To where the first of them ends.
    Exit(&'static [&'static str]),
}

impl Hook {
    /// The capabilities that loading and attaching take.
    pub(super) fn takes(self) -> &'static [Capability] {
        match self {
            Self::Ingress | Self::Egress => &[BPF, NET_ADMIN],
            Self::RawTracepoint | Self::BtfTracepoint | Self::Messages | Self::Entry(_) | Self::Exit(_) => {
                &[BPF, PERFMON]
            }
        }
    }

    /// Whether it is at a function through which each descriptor goes that is opened or closed.
    pub(super) fn is_of_descriptors(self) -> bool {
        matches!(self, Self::Entry(_) | Self::Exit(_))
    }

    /// Whether it takes the kernel's types.
    pub(super) fn takes_types(self) -> bool {
        matches!(self, Self::BtfTracepoint | Self::Messages | Self::Entry(_) | Self::Exit(_))
    }
}

/// An ELF object.
#[derive(Debug)]
pub(super) struct Object {
    /// Its name, under which it is pinned.
    pub(super) name: &'static str,
    /// Empty when the objects were not there as this binary was built.
    pub(super) elf: &'static [u8],
    /// The map that holds its counters, or its messages.
    pub(super) counters: &'static str,
    /// What it must be told of the kernel, besides what every object is told.
    pub(super) constants: &'static [Constant],
    /// Its programs.
    pub(super) programs: &'static [(&'static str, Hook)],
}

/// All of them.
pub(super) const OBJECTS: &[&Object] = &[&NETWORK, &PROCESS, &LIFECYCLE];

/// Counts packets.
pub(super) const NETWORK: Object = Object {
    name: "network",
    elf: include_bytes_aligned!(concat!(env!("OUT_DIR"), "/network.o")),
    counters: "NETWORK",
    constants: &[],
    programs: &[("ingress", Hook::Ingress), ("egress", Hook::Egress)],
};

/// Counts process events, and descriptors.
pub(super) const PROCESS: Object = Object {
    name: "process",
    elf: include_bytes_aligned!(concat!(env!("OUT_DIR"), "/process.o")),
    counters: "PROCESSES",
    constants: &[
        ("FILES", Fact::Castable("files_struct", "fdt")),
        ("FILES_FDT", Fact::Field("files_struct", "fdt")),
        ("FDTABLE_MAX", Fact::Field("fdtable", "max_fds")),
        ("FDTABLE_OPEN", Fact::Field("fdtable", "open_fds")),
        ("LONG", Fact::Castable("cpumask", "bits")),
    ],
    programs: &[
        ("task_newtask", Hook::RawTracepoint),
        ("sched_process_exec", Hook::RawTracepoint),
        ("sched_process_exit", Hook::BtfTracepoint),
        ("fd_install", Hook::Entry(&["fd_install"])),
        ("do_dup2", Hook::Exit(&["do_dup2"])),
        ("dup_fd", Hook::Exit(&["dup_fd"])),
        // Since Linux 6.6 not every way of closing takes the second.
        ("filp_close", Hook::Entry(&["filp_flush", "filp_close"])),
    ],
};

/// Tells of cgroups that come and go.
pub(super) const LIFECYCLE: Object = Object {
    name: "lifecycle",
    elf: include_bytes_aligned!(concat!(env!("OUT_DIR"), "/lifecycle.o")),
    counters: "LIVES",
    constants: &[],
    programs: &[
        ("cgroup_rmdir", Hook::Messages),
        ("cgroup_mkdir", Hook::Messages),
        ("cgroup_notify_populated", Hook::Messages),
    ],
};
