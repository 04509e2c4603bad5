//! Origins of numbers, and short constructors of them for the rows of the table.

use std::fmt;
use std::time::Duration;

use monitor_common::{Memory, Network, Processes};

use super::file::{AVERAGES, ChangeToken, File, Format, LIMITS, Upwards};
use crate::readings::{Controllers, CpuTime, Disk, Filesystem, Interfaces, Machine, MachineMemory, Read, Tasks};

/// An origin of a number.
#[derive(Clone, Copy, Debug)]
pub enum Origin {
    /// A file of the cgroup v2 directory.
    V2(File),
    /// A file of the cgroup's directory in the hierarchy of one v1 controller.
    V1(&'static str, File),
    /// eBPF: the programs that must be attached, and a field of their packet counters.
    Network(&'static [&'static str], fn(&Network) -> u64),
    /// eBPF: the programs that must be attached, and a field of their process counters.
    Processes(&'static [&'static str], fn(&Processes) -> u64),
    /// eBPF: an iterator over cgroups that reads their CPU time.
    CpuIterator(fn(&CpuTime) -> u64),
    /// eBPF: an iterator over cgroups that reads the state of their controllers.
    ControllerIterator(fn(&Controllers) -> Option<u64>),
    /// eBPF: an iterator over cgroups that reads their memory statistics.
    MemoryIterator(fn(&Memory) -> u64),
    /// eBPF: an iterator over tasks.
    TaskIterator(fn(&Tasks) -> Read),
    /// The processes of the cgroup, in `/proc`.
    Tasks(fn(&Tasks) -> Read),
    /// The interfaces of the container's network namespace.
    Interfaces(fn(&Interfaces) -> u64),
    /// The network namespaces of all containers, compared.
    Namespace,
    /// The level whose limit binds, in trees of this version, with all that it holds.
    BindingLevel(TreeVersion),
    /// The machine; shared by all cgroups.
    Machine(fn(&Machine) -> Read),
    /// The machine, for the root cgroup alone: its files do not exist in v2, and mean something else in v1.
    Root(fn(&MachineMemory) -> Read),
    /// The filesystem under the container's root.
    Filesystem(fn(&Filesystem) -> Read),
    /// A walk of the container's root filesystem.
    Disk(fn(&Disk) -> Read),
}

/// The version of a cgroup tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TreeVersion {
    /// A hierarchy of v1 controllers.
    V1,
    /// The unified hierarchy.
    V2,
}

/// The program of [`Origin::CpuIterator`].
pub const CPU_ITERATOR: &str = "cgroup_cpu";
/// The program of [`Origin::ControllerIterator`].
pub const CONTROLLER_ITERATOR: &str = "cgroup_controllers";
/// The program of [`Origin::MemoryIterator`].
pub const MEMORY_ITERATOR: &str = "cgroup_memory";
/// The program of [`Origin::TaskIterator`].
pub const TASK_ITERATOR: &str = "task";

impl Origin {
    /// The eBPF programs that it needs.
    pub fn programs(&self) -> &'static [&'static str] {
        match self {
            Self::Network(programs, _) | Self::Processes(programs, _) => programs,
            Self::CpuIterator(_) => &[CPU_ITERATOR],
            Self::ControllerIterator(_) => &[CONTROLLER_ITERATOR],
            Self::MemoryIterator(_) => &[MEMORY_ITERATOR],
            Self::TaskIterator(_) => &[TASK_ITERATOR],
            _ => &[],
        }
    }

    /// The name of its backend, as readers see it in `sources`.
    pub fn backend(&self) -> &'static str {
        match self {
            Self::V2(_) | Self::BindingLevel(TreeVersion::V2) => "cgroup2",
            Self::V1(..) | Self::BindingLevel(TreeVersion::V1) => "cgroup1",
            Self::Network(..)
            | Self::Processes(..)
            | Self::CpuIterator(_)
            | Self::ControllerIterator(_)
            | Self::MemoryIterator(_)
            | Self::TaskIterator(_) => "ebpf",
            Self::Tasks(_) | Self::Namespace | Self::Interfaces(_) | Self::Machine(_) | Self::Root(_) => "procfs",
            Self::Filesystem(_) | Self::Disk(_) => "statfs",
        }
    }

    /// The file of a cgroup's directory, if it is one.
    pub(super) const fn file(&self) -> Option<&File> {
        match self {
            Self::V2(file) | Self::V1(_, file) => Some(file),
            _ => None,
        }
    }

    /// True for eBPF iterators over cgroups.
    pub(super) const fn iterates(&self) -> bool {
        matches!(self, Self::CpuIterator(_) | Self::ControllerIterator(_) | Self::MemoryIterator(_))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V2(file) => write!(f, "{} (cgroup v2)", file.name),
            Self::V1(_, file) => write!(f, "{} (cgroup v1)", file.name),
            Self::Tasks(_) => f.write_str("/proc/PID"),
            Self::Interfaces(_) => f.write_str("/proc/PID/net"),
            Self::Namespace => f.write_str("/proc/PID/ns/net"),
            Self::BindingLevel(TreeVersion::V2) => f.write_str("the level that binds (cgroup v2)"),
            Self::BindingLevel(TreeVersion::V1) => f.write_str("the level that binds (cgroup v1)"),
            Self::Machine(_) => f.write_str("/proc"),
            Self::Root(_) => f.write_str("/proc/meminfo and vmstat (machine)"),
            Self::Filesystem(_) => f.write_str("statfs"),
            Self::Disk(_) => f.write_str("walk of the root filesystem"),
            ebpf => write!(f, "eBPF {}", ebpf.programs().join(", ")),
        }
    }
}

/// A file of the cgroup v2 directory.
pub(super) const fn v2(name: &'static str, format: Format) -> Origin {
    Origin::V2(File::new(name, format))
}

/// A file in the hierarchy of a v1 controller.
pub(super) const fn v1(controller: &'static str, name: &'static str, format: Format) -> Origin {
    Origin::V1(controller, File::new(name, format))
}

/// Keys of the v2 `memory.stat`.
pub(super) const fn memory_stat_v2(keys: Format) -> Origin {
    v2("memory.stat", keys).unchanged_with(ChangeToken::Memory)
}

/// Keys of the v1 `memory.stat`.
pub(super) const fn memory_stat_v1(keys: Format) -> Origin {
    v1("memory", "memory.stat", keys).unchanged_with(ChangeToken::Memory)
}

/// A key of `io.stat`, summed over devices.
pub(super) const fn io_stat(key: &'static str) -> Origin {
    v2("io.stat", Format::Nested("*", key)).unchanged_with(ChangeToken::Io).costs_read()
}

/// An operation in a file of the v1 blkio controller, summed over devices.
pub(super) const fn blkio(name: &'static str, operation: &'static str) -> Origin {
    v1("blkio", name, Format::Operation(operation)).unchanged_with(ChangeToken::Io).costs_read()
}

/// The average over ten seconds in a pressure file.
pub(super) const fn pressure(name: &'static str, line: &'static str) -> Origin {
    v2(name, Format::Nested(line, "avg10")).valid_for(AVERAGES)
}

impl Origin {
    /// The same with another property of its file.
    const fn with(self, file: File) -> Self {
        match self {
            Self::V2(_) => Self::V2(file),
            Self::V1(controller, _) => Self::V1(controller, file),
            _ => panic!("a property of files"),
        }
    }

    const fn of_file(&self) -> File {
        match self.file() {
            Some(file) => *file,
            None => panic!("a property of files"),
        }
    }

    /// A value that was read is valid for this time.
    pub(super) const fn valid_for(self, holds: Duration) -> Self {
        self.with(File { holds, ..self.of_file() })
    }

    /// The file changes only if this token does.
    pub(super) const fn unchanged_with(self, token: ChangeToken) -> Self {
        self.with(File { token: Some(token), ..self.of_file() })
    }

    /// The agent reads the file for each container, in each reading, although every eBPF program runs.
    pub(super) const fn costs_read(self) -> Self {
        self.with(File { costs_read: true, ..self.of_file() })
    }

    /// Older kernels have the file under this name alone.
    pub(super) const fn formerly(self, older: &'static str) -> Self {
        self.with(File { older: Some(older), ..self.of_file() })
    }

    /// The number is multiplied by this.
    pub(super) const fn times(self, scale: u64) -> Self {
        self.with(File { scale, ..self.of_file() })
    }

    /// A limit: the smallest value on the way to the root counts.
    pub(super) const fn limit(self, token: ChangeToken) -> Self {
        let limit = self.valid_for(LIMITS).unchanged_with(token).costs_read();
        limit.with(File { upwards: Upwards::Smallest, ..limit.of_file() })
    }

    /// The first level on the way to the root that has the file counts.
    pub(super) const fn nearest(self) -> Self {
        self.with(File { upwards: Upwards::Nearest, ..self.of_file() })
    }

    /// The values of all groups below are added.
    pub(super) const fn summed_downwards(self) -> Self {
        self.with(File { sums_downwards: true, ..self.of_file() })
    }

    /// The text of this file is appended before parsing.
    pub(super) const fn followed_by(self, companion: &'static str) -> Self {
        self.with(File { companion: Some(companion), ..self.of_file() })
    }
}
