//! Readings of sources other than cgroup files: plain structs, from which the rows of the table take their values.

use crate::cause::Cause;

/// A number, or why it is absent.
pub type Read = Result<u64, Cause>;

/// CPU time of one cgroup from an iterator over all of them, in nanoseconds: the same as in its `cpu.stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuTime {
    /// User and system time.
    pub total: u64,
    /// Time in user mode.
    pub user: u64,
    /// Time in the kernel.
    pub system: u64,
}

/// The state of the controllers of one cgroup from an iterator over a hierarchy: the same as in its files. A field that
/// is `None` is read from its file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Controllers {
    /// Periods in which a CPU quota was enforced.
    pub periods: Option<u64>,
    /// Periods in which the quota ran out.
    pub throttled: Option<u64>,
    /// Nanoseconds for which it was throttled, summed over the CPUs.
    pub throttled_time: Option<u64>,
    /// Bytes of memory that are charged.
    pub memory: Option<u64>,
    /// The most bytes of memory that were ever charged.
    pub memory_peak: Option<u64>,
    /// Bytes in swap.
    pub swap: Option<u64>,
    /// Processes that the kernel killed because memory ran out (OOM).
    pub oom_kills: Option<u64>,
    /// Tasks.
    pub tasks: Option<u64>,
    /// 1 if it is frozen by the v2 freezer.
    pub frozen: Option<u64>,
    /// 1 if it is frozen by the v1 freezer.
    pub frozen_v1: Option<u64>,
    /// 1 if it has a process.
    pub populated: Option<u64>,
    /// The pressure averages of any kind while PSI is idle: they are zero, and nothing happens that could change them.
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
    /// The highest share of its own `RLIMIT_NOFILE` that a process uses, in hundredths of a percent.
    pub nearest_limit: Read,
    /// Whole seconds since the first process started.
    pub uptime: Read,
}

/// The traffic of a network namespace but loopback, from `/proc/PID/net`.
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

impl From<&Interface> for Interfaces {
    fn from(Interface { received, sent, .. }: &Interface) -> Self {
        Self { rx_bytes: received.bytes, rx_packets: received.packets, tx_bytes: sent.bytes, tx_packets: sent.packets }
    }
}

impl Interfaces {
    const FIELDS: [fn(&mut Self) -> &mut u64; 4] =
        [|all| &mut all.rx_bytes, |all| &mut all.rx_packets, |all| &mut all.tx_bytes, |all| &mut all.tx_packets];

    /// Applies an operation to each field, with those of two others.
    fn combine(&mut self, mut a: Self, mut b: Self, with: impl Fn(u64, u64, u64) -> u64) {
        for field in Self::FIELDS {
            *field(self) = with(*field(self), *field(&mut a), *field(&mut b));
        }
    }

    /// Returns the rest without a part.
    #[must_use]
    pub fn without(mut self, part: &Self) -> Self {
        self.combine(*part, *part, |all, part, _| all.saturating_sub(part));
        self
    }

    /// Returns the larger one of each field.
    #[must_use]
    pub fn at_least(mut self, other: &Self) -> Self {
        self.combine(*other, *other, |one, other, _| one.max(other));
        self
    }

    /// Adds the growth of counters, which begin anew if they fell.
    pub fn grow(&mut self, before: &Self, now: &Self) {
        self.combine(*before, *now, |sum, before, now| sum.saturating_add(now.checked_sub(before).unwrap_or(now)));
    }
}

/// An interface of a network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Received since the interface was created.
    pub received: InterfaceCounters,
    /// Sent since then.
    pub sent: InterfaceCounters,
}

/// The counters of one direction of an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InterfaceCounters {
    /// Bytes, with the headers of the link.
    pub bytes: u64,
    /// Packets.
    pub packets: u64,
    /// Packets with errors.
    pub errors: u64,
    /// Packets dropped.
    pub dropped: u64,
}

/// The machine, from `/proc/meminfo`, `/proc/loadavg` and `/sys/devices/system/cpu/online`.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    /// `MemTotal`, bytes.
    pub memory_total: Read,
    /// CPUs online.
    pub cpus: Read,
    /// Load averages over 1, 5 and 15 minutes, in hundredths.
    pub load: [Read; 3],
}

/// The memory of the whole machine, from `/proc/meminfo` and `/proc/vmstat`: the same on v1, hybrid and v2 trees.
#[derive(Clone, Debug, PartialEq)]
pub struct MachineMemory {
    /// `MemTotal` less `MemAvailable`, bytes.
    pub used: Read,
    /// `AnonPages`, bytes.
    pub anon: Read,
    /// All page cache: `Cached`, `Buffers` and `SwapCached`, bytes.
    pub file: Read,
    /// `SwapTotal` less `SwapFree`, bytes.
    pub swap: Read,
    /// Processes that the kernel has killed for want of memory since the start (`oom_kill` of `/proc/vmstat`).
    pub oom_kills: Read,
    /// `Mapped`, bytes.
    pub mapped: Read,
    /// `Active(file)`, bytes.
    pub active_file: Read,
    /// `SReclaimable`, bytes.
    pub slab_reclaimable: Read,
    /// `SUnreclaim`, bytes.
    pub slab_unreclaimable: Read,
    /// `Shmem`, bytes.
    pub shmem: Read,
    /// `Dirty`, bytes.
    pub dirty: Read,
    /// `Writeback`, bytes.
    pub writeback: Read,
    /// Page faults since the start (`pgfault` of `/proc/vmstat`).
    pub faults: Read,
    /// Those that had to wait for a disk (`pgmajfault`).
    pub major_faults: Read,
    /// Pages that were read again soon after reclaim had taken them (`workingset_refault_anon` and `_file`).
    pub refaults: Read,
    /// Pages that reclaim looked at, for the machine or a cgroup (`pgscan_anon` and `pgscan_file`).
    pub scanned: Read,
}

/// The filesystem under the container's root, from `statfs(2)`. Of one without a bound it says zero: that is unknown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filesystem {
    /// Its size in bytes.
    pub total_bytes: Read,
    /// Bytes that processes without privileges can still take.
    pub available_bytes: Read,
    /// Bytes in use, in hundredths of a percent of those and the available ones.
    pub used_percent: Read,
    /// Inodes in use.
    pub inodes_used: Read,
    /// Inodes that it can hold.
    pub inodes_total: Read,
}

/// The size of a container's root filesystem, from a walk of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Disk {
    /// Allocated bytes, mounts excluded, hard links once.
    pub used_bytes: Read,
    /// Allocated bytes of the writable layer over the container's image.
    pub writable_bytes: Read,
}
