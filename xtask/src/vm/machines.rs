//! The machines: their kernels, how they boot, and the features that an agent finds there.

use crate::architecture::{ARCHITECTURES, Architecture};

/// The layout of the cgroup hierarchies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// One v2 tree.
    V2,
    /// A v1 hierarchy per controller.
    V1,
    /// v1 hierarchies, and the v2 tree beside them.
    Hybrid,
}

impl Layout {
    /// The word that the machine's start script knows.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::V2 => "v2",
            Self::V1 => "v1",
            Self::Hybrid => "hybrid",
        }
    }
}

/// A machine.
pub(super) struct Machine {
    pub(super) name: &'static str,
    pub(super) architecture: &'static Architecture,
    /// The beginning of the kernel's version; empty for the newest of all.
    pub(super) series: &'static str,
    pub(super) layout: Layout,
    /// More words for the kernel's command line.
    pub(super) boot: &'static str,
    /// Hides the kernel's BTF.
    pub(super) hides_types: bool,
    /// Runs the agent as an ordinary user without any capability.
    pub(super) is_unprivileged: bool,
    /// The test programs that run in it: for a machine that differs from another in one respect, those that the
    /// difference affects.
    pub(super) suites: &'static [&'static str],
    /// Runs only if it is named, because it takes long.
    pub(super) is_apart: bool,
}

impl Machine {
    /// True for a machine of this architecture.
    pub(super) fn is_of(&self, architecture: &Architecture) -> bool {
        self.architecture.name == architecture.name
    }
}

/// The test programs that make sense in a machine with nothing but a kernel.
pub(super) const TESTS: &[&str] = &["kernel", "block", "network", "passes", "descriptors", "privilege", "preempted"];

/// The test programs for every kernel.
const USUAL: &[&str] = &["kernel", "block", "network", "passes", "descriptors", "privilege"];

/// The test programs of sources that read cgroup hierarchies or are attached to them.
const TREES: &[&str] = &["kernel", "block", "network", "passes"];

/// The test programs that check eBPF counters: of network, iterators and descriptors.
const PROGRAMS: &[&str] = &["network", "passes", "descriptors"];

/// The test programs that lockdown affects: those of eBPF programs that read kernel memory.
const TRACING: &[&str] = &["passes", "descriptors"];

const PLAIN: Machine = Machine {
    name: "",
    architecture: ARCHITECTURES[0],
    series: "",
    layout: Layout::V2,
    boot: "",
    hides_types: false,
    is_unprivileged: false,
    suites: USUAL,
    is_apart: false,
};

/// Every machine. The first ones are common systems; each of the others lacks one feature.
pub(super) const MACHINES: &[Machine] = &[
    Machine { name: "newest", ..PLAIN },
    Machine { name: "6.12", series: "6.12.", ..PLAIN },
    Machine { name: "6.1", series: "6.1.", ..PLAIN },
    Machine { name: "5.10", series: "5.10.", ..PLAIN },
    Machine { name: "6.12-hybrid", series: "6.12.", layout: Layout::Hybrid, suites: TREES, ..PLAIN },
    Machine { name: "6.1-v1", series: "6.1.", layout: Layout::V1, suites: TREES, ..PLAIN },
    Machine {
        name: "6.12-integrity",
        series: "6.12.",
        boot: "lsm=lockdown,capability,landlock,bpf lockdown=integrity",
        // It forbids to write kernel memory, which no program does: `doctor` lists what loads.
        suites: &["descriptors"],
        ..PLAIN
    },
    Machine {
        name: "6.12-confidentiality",
        series: "6.12.",
        boot: "lsm=lockdown,capability,landlock,bpf lockdown=confidentiality",
        suites: TRACING,
        ..PLAIN
    },
    Machine { name: "6.12-preemptible", series: "6.12.", boot: "preempt=full", suites: &["preempted"], ..PLAIN },
    Machine { name: "6.12-without-types", series: "6.12.", hides_types: true, suites: PROGRAMS, ..PLAIN },
    Machine { name: "6.12-unprivileged", series: "6.12.", is_unprivileged: true, suites: &["kernel"], ..PLAIN },
    Machine { name: ARCHITECTURES[1].name, architecture: ARCHITECTURES[1], series: "6.12.", is_apart: true, ..PLAIN },
];
