//! What the sources that are not cgroup files read in one go: plain structs, named by the table's rows.

use crate::cause::Cause;

/// One number, or why it is not there.
pub type Read = Result<u64, Cause>;

/// CPU time of one cgroup, from a pass over all of them: what its `cpu.stat` would say, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuTime {
    /// All of it.
    pub total: u64,
    /// In user mode.
    pub user: u64,
    /// In the kernel.
    pub system: u64,
}

/// What the controllers know of one cgroup, from a pass over all of a tree: what its files would say. `None` is left to the
/// files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Controllers {
    /// Periods in which a CPU quota was enforced.
    pub periods: Option<u64>,
    /// Those in which it ran out.
    pub throttled: Option<u64>,
    /// Bytes of memory that are charged.
    pub memory: Option<u64>,
    /// The most that ever were.
    pub memory_peak: Option<u64>,
    /// Bytes in swap.
    pub swap: Option<u64>,
    /// Processes killed for want of memory.
    pub oom_kills: Option<u64>,
    /// Tasks.
    pub tasks: Option<u64>,
    /// Whether it is frozen by the v2 freezer.
    pub frozen: Option<u64>,
    /// Whether it is frozen by the v1 freezer.
    pub frozen_v1: Option<u64>,
    /// Whether it has a process.
    pub populated: Option<u64>,
    /// The average of pressure of any kind, where that is zero and stays so.
    pub pressure: Option<u64>,
}

/// The processes of one cgroup, from `/proc/PID` (`Documentation/filesystems/proc.rst`).
#[derive(Clone, Debug, PartialEq)]
pub struct Tasks {
    /// Processes.
    pub processes: Read,
    /// Tasks: every thread of every process.
    pub threads: Read,
    /// Open descriptors of all processes.
    pub descriptors: Read,
    /// Descriptors in use of the process nearest its own `RLIMIT_NOFILE`, in hundredths of a percent of that limit.
    pub nearest_limit: Read,
    /// Whole seconds since the first process started.
    pub uptime: Read,
}

/// The interfaces of a network namespace but loopback, summed, from `/proc/PID/net/dev`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interfaces {
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets received.
    pub rx_packets: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets sent.
    pub tx_packets: u64,
}

/// The machine, from `/proc/meminfo`, `/proc/loadavg` and `/sys/devices/system/cpu/online`.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    /// `MemTotal`, bytes.
    pub memory_total: Read,
    /// `MemTotal` less `MemAvailable`, bytes.
    pub memory_used: Read,
    /// CPUs online.
    pub cpus: Read,
    /// Load averages over 1, 5 and 15 minutes, in hundredths.
    pub load: [Read; 3],
}

/// The filesystem that the container's root lies on, from `statfs(2)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filesystem {
    /// Its size in bytes.
    pub total_bytes: u64,
    /// Inodes in use.
    pub inodes_used: u64,
    /// Inodes it can hold.
    pub inodes_total: u64,
}

/// What the root filesystem of a container holds, from a walk of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Disk {
    /// Allocated bytes, mounts excluded, hard links once.
    pub used_bytes: Read,
    /// Allocated bytes of the layer that takes the container's own writes, over its image.
    pub writable_bytes: Read,
}
