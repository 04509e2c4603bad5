//! eBPF programs: their names, their needs and their states. Plain data.

use crate::metrics::{CONTROLLER_ITERATOR, CPU_ITERATOR, MEMORY_ITERATOR, TASK_ITERATOR};
use crate::refusal::{BPF, Capability, Decision, NET_ADMIN, PERFMON, Refusal};

/// The beginning of each cause that is about a program.
pub const PREFIX: &str = "eBPF ";

/// A program and its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramState {
    /// Its name: that of its hook.
    pub name: &'static str,
    /// Its state.
    pub state: State,
}

/// The state of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It counts.
    Attached,
    /// It is not wanted, for this reason.
    Off(String),
    /// The host refused it.
    Refused(Refusal),
}

impl State {
    /// True if it counts.
    pub fn is_attached(&self) -> bool {
        *self == Self::Attached
    }

    /// The state that follows from a decision alone; `None` if the program is to be tried.
    pub(crate) fn of(decision: &Decision) -> Option<Self> {
        match decision {
            Decision::Take => None,
            Decision::Off(why) => Some(Self::Off(why.clone())),
            Decision::Refused(refusal) => Some(Self::Refused(refusal.clone())),
        }
    }

    pub(crate) fn why(&self) -> Option<String> {
        match self {
            Self::Attached => None,
            Self::Off(why) => Some(why.clone()),
            Self::Refused(refusal) => Some(refusal.cause.clone()),
        }
    }
}

/// A program: its name, which is that of its hook, and how it is attached.
pub(crate) type Program = (&'static str, Hook);

/// The way in which a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hook {
    /// To the packets that come into a cgroup.
    Ingress,
    /// To the packets that leave a cgroup.
    Egress,
    /// To the tracepoint of the program's name, by number of argument alone.
    RawTracepoint,
    /// To the tracepoint of the program's name, with the types of the kernel.
    BtfTracepoint,
    /// To the tracepoint of the program's name for events of cgroups; never pinned, so it ends with this agent.
    Messages,
    /// To the entry of the first of these functions that the kernel has.
    Entry(&'static [&'static str]),
    /// To the exit of the first of these functions that the kernel has.
    Exit(&'static [&'static str]),
}

impl Hook {
    /// The capabilities that loading and attaching need.
    pub(crate) fn takes(self) -> &'static [Capability] {
        match self {
            Self::Ingress | Self::Egress => &[BPF, NET_ADMIN],
            Self::RawTracepoint | Self::BtfTracepoint | Self::Messages | Self::Entry(_) | Self::Exit(_) => {
                &[BPF, PERFMON]
            }
        }
    }

    /// True if it runs for each descriptor that is opened or closed.
    pub(crate) fn is_of_descriptors(self) -> bool {
        matches!(self, Self::Entry(_) | Self::Exit(_))
    }

    /// True if it needs the kernel's BTF.
    pub(crate) fn takes_types(self) -> bool {
        matches!(self, Self::BtfTracepoint | Self::Messages | Self::Entry(_) | Self::Exit(_))
    }
}

/// The programs that count packets.
pub(crate) const NETWORK: &[Program] = &[("ingress", Hook::Ingress), ("egress", Hook::Egress)];

/// The programs that count process events and descriptors.
pub(crate) const PROCESS: &[Program] = &[
    ("task_newtask", Hook::RawTracepoint),
    ("sched_process_exec", Hook::RawTracepoint),
    ("sched_process_exit", Hook::BtfTracepoint),
    ("fd_install", Hook::Entry(&["fd_install"])),
    ("do_dup2", Hook::Exit(&["do_dup2"])),
    ("dup_fd", Hook::Exit(&["dup_fd"])),
    // Since Linux 6.6 some paths of closing bypass the second.
    ("filp_close", Hook::Entry(&["filp_flush", "filp_close"])),
];

/// The programs that report cgroups that come and go.
pub(crate) const LIFECYCLE: &[Program] =
    &[("cgroup_rmdir", Hook::Messages), ("cgroup_mkdir", Hook::Messages), ("cgroup_notify_populated", Hook::Messages)];

/// The iterator programs.
pub(crate) const ITERATORS: [&str; 4] = [CPU_ITERATOR, CONTROLLER_ITERATOR, MEMORY_ITERATOR, TASK_ITERATOR];

/// The capabilities that loading and attaching an iterator need.
const ITERATORS_TAKE: &[Capability] = &[BPF, PERFMON];

/// The needs of a program.
#[derive(Clone, Copy, Debug)]
pub struct Needs {
    /// The program's name.
    pub name: &'static str,
    /// True if it is for scope `host` alone.
    pub of_a_machine: bool,
    /// True if it runs for each descriptor, which is opt-in.
    pub of_descriptors: bool,
    /// True if it needs the kernel's BTF.
    pub types: bool,
    pub(crate) capabilities: &'static [Capability],
}

/// All programs.
pub fn catalog() -> impl Iterator<Item = Needs> {
    let needs = |&(name, hook): &Program| Needs {
        name,
        of_a_machine: hook == Hook::Messages,
        of_descriptors: hook.is_of_descriptors(),
        types: hook.takes_types(),
        capabilities: hook.takes(),
    };
    let iterator =
        |name| Needs { name, of_a_machine: false, of_descriptors: false, types: true, capabilities: ITERATORS_TAKE };
    [NETWORK, PROCESS, LIFECYCLE].into_iter().flatten().map(needs).chain(ITERATORS.map(iterator))
}

/// True if this binary was built with the eBPF objects.
pub fn are_built() -> bool {
    env!("EBPF_OBJECTS") == "built"
}
