//! Values that the kernel programs and the agent exchange through maps, and their arithmetic.
//!
//! Independent of maps, files and time. Every type is `repr(C)` and `Pod`: both sides read the same bytes. Each change
//! of a field also changes [`LAYOUT`].
#![no_std]
#![forbid(unsafe_code)]

pub mod kernel;
pub mod objects;

use bytemuck::{Pod, Zeroable};

/// Version of every layout in this file and of every map; stored beside pinned maps so that an agent never misreads
/// another's.
pub const LAYOUT: u64 = 6;

/// Levels of the tree below its root that a [`Lineage`] stores.
pub const LEVELS: usize = 16;

/// Flag of `clone(2)` that makes the new task a thread of its creator (`include/uapi/linux/sched.h`).
pub const CLONE_THREAD: u64 = 0x0001_0000;

/// Traffic of one cgroup's sockets, in IP bytes and packets as on the wire.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Network {
    /// Bytes received, IP headers included, over loopback not.
    pub rx_bytes: u64,
    /// Packets received, likewise.
    pub rx_packets: u64,
    /// Bytes sent, likewise.
    pub tx_bytes: u64,
    /// Packets sent, likewise.
    pub tx_packets: u64,
    /// Bytes received over loopback, IP headers included.
    pub loopback_rx_bytes: u64,
    /// Packets received over loopback.
    pub loopback_rx_packets: u64,
    /// Bytes sent over loopback.
    pub loopback_tx_bytes: u64,
    /// Packets sent over loopback.
    pub loopback_tx_packets: u64,
}

/// Process events of one cgroup.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Processes {
    /// Processes created by a task of the cgroup.
    pub forks: u64,
    /// Threads created by a task of the cgroup.
    pub threads: u64,
    /// Successful `execve`s.
    pub execs: u64,
    /// Processes that exited, counted at their last thread.
    pub exits: u64,
    /// Processes that the out-of-memory killer chose.
    pub oom_kills: u64,
    /// Entries added to a table of descriptors.
    pub opened: u64,
    /// Entries removed from it.
    pub closed: u64,
}

/// The place of a cgroup: the ids of its ancestors from below the root, then its own, then zeros.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Lineage(pub [u64; LEVELS]);

/// Counters of removed cgroups, stored under the container that they were in. Only the agent writes them, one atomic
/// write at a time: if it is killed, the next agent finds either the sum without a cgroup, or the sum with it together
/// with that cgroup's id.
#[repr(C, packed)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Retired<V> {
    /// The sum of all cgroups added so far.
    pub sum: V,
    /// The sum before the cgroup that is being added.
    pub before: V,
    /// The cgroup that is being added, whose own counters are to be removed; 0 for none.
    pub pending: u64,
    /// 1 if they are to be removed from the previous, smaller map.
    pub of_previous: u64,
    /// The removed container whose retired counters were added and are to be removed; 0 for none.
    pub inherits: u64,
    /// The place of the container.
    pub lineage: Lineage,
}

/// The description of pinned maps. It is written last: if it is missing, the agent was killed before the pins were
/// complete.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Meta {
    /// [`LAYOUT`] of the agent that created the maps. The first field of every layout.
    pub layout: u64,
    /// The cgroup that is counted, with its descendants; 0 for the machine.
    pub scope: u64,
    /// The start of counting, in nanoseconds of Unix time.
    pub since: u64,
}

impl Lineage {
    /// Returns the ids, from below the root down.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = u64> {
        self.0.into_iter().filter(|id| *id != 0)
    }

    /// Returns the ids down to `id`; empty if they do not contain it.
    pub fn up_to(&self, id: u64) -> Self {
        let mut upper = *self;
        match self.0.iter().position(|level| *level == id) {
            Some(last) => upper.0[last + 1..].fill(0),
            None => upper = Self::default(),
        }
        upper
    }
}

/// A lifecycle event of a cgroup, as the ring buffer carries it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct CgroupEvent {
    /// The cgroup.
    pub id: u64,
    /// Its parent.
    pub parent: u64,
    /// The kind of event, a [`CgroupEventKind`].
    pub kind: u64,
}

/// The kinds of a [`CgroupEvent`].
#[repr(u64)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CgroupEventKind {
    /// Its directory was created.
    Created = 1,
    /// It or a descendant has got the first process.
    Populated = 2,
    /// It and its descendants have lost the last process.
    Emptied = 3,
    /// Its directory was removed.
    Removed = 4,
}

impl CgroupEvent {
    /// Returns the kind of event; `None` if this version does not know it.
    pub fn kind(&self) -> Option<CgroupEventKind> {
        use CgroupEventKind::{Created, Emptied, Populated, Removed};
        [Created, Populated, Emptied, Removed].into_iter().find(|kind| *kind as u64 == self.kind)
    }
}

/// The latest run of an iterator over cgroups.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Pass {
    /// The kernel's session number of the run, which is unique.
    pub session: u64,
    /// The number of visited cgroups, including those that did not fit into the table.
    pub found: u64,
}

/// CPU time of one cgroup including its descendants, as the iterator read it (`struct cgroup_base_stat`), in
/// nanoseconds.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Cpu {
    /// The cgroup.
    pub cgroup: u64,
    /// The exact CPU time.
    pub total: u64,
    /// Its part in user mode, sampled by timer ticks.
    pub user: u64,
    /// Its part in the kernel, sampled by timer ticks.
    pub system: u64,
    /// The user time last shown in `cpu.stat`.
    pub shown_user: u64,
    /// The system time last shown in `cpu.stat`.
    pub shown_system: u64,
}

/// Stands for an unknown value: the controller is off for the cgroup, or the kernel does not show it.
pub const UNKNOWN: u64 = u64::MAX;

/// State of the controllers of one cgroup including its descendants, as the iterator read it; [`UNKNOWN`] where it has
/// none.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Controllers {
    /// The cgroup.
    pub cgroup: u64,
    /// 1 if it or a descendant has a process.
    pub populated: u64,
    /// 1 if it is frozen by the v2 freezer.
    pub frozen: u64,
    /// 1 if PSI is idle: all averages of pressure are zero, and nothing has happened that could change them.
    pub psi_idle: u64,
    /// Periods in which a CPU quota was enforced.
    pub periods: u64,
    /// Periods in which the group was throttled.
    pub throttled: u64,
    /// Nanoseconds for which it was throttled, summed over the CPUs.
    pub throttled_time: u64,
    /// Charged pages.
    pub pages: u64,
    /// Highest number of charged pages (watermark).
    pub peak_pages: u64,
    /// Pages in swap; in a v1 tree, pages in memory and swap.
    pub swapped_pages: u64,
    /// Processes killed by the out-of-memory killer.
    pub oom_kills: u64,
    /// Change token of `memory.stat`: differs if any of its values may differ.
    pub statistics: u64,
    /// Limit of charged pages.
    pub pages_limit: u64,
    /// Number of tasks.
    pub tasks: u64,
    /// Limit of tasks.
    pub tasks_limit: u64,
    /// CPU time allowed per period, and the period, in nanoseconds.
    pub quota: u64,
    /// See `quota`.
    pub period: u64,
    /// 1 if it is frozen by the v1 freezer, else 0.
    pub frozen_v1: u64,
    /// 0 if there was no I/O on any device.
    pub first_device: u64,
}

/// Memory of one cgroup including its descendants, in bytes, as the iterator read it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Memory {
    /// The cgroup.
    pub cgroup: u64,
    /// 1 if the other fields are known: the controller is on for the cgroup.
    pub has_memory: u64,
    /// All charged memory.
    pub usage: u64,
    /// Anonymous memory.
    pub anon: u64,
    /// Page cache.
    pub file: u64,
    /// Inactive page cache.
    pub inactive_file: u64,
    /// Processes killed by the out-of-memory killer.
    pub oom_kills: u64,
}

/// One process, as the iterator over tasks read it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Process {
    /// Its cgroup.
    pub cgroup: u64,
    /// Its start, in nanoseconds since boot.
    pub started: u64,
    /// The number of its open descriptors.
    pub descriptors: u64,
    /// Its limit of descriptors.
    pub limit: u64,
    /// Its pid in the machine's first pid namespace.
    pub pid: u32,
    /// The number of its threads.
    pub threads: u32,
}

/// Adds counters, field by field: of another CPU, or of another cgroup of the same container. `V` has fields of type
/// `u64` only.
pub fn add_counters<V: Pod>(sum: &mut V, other: &V) {
    const { assert!(size_of::<V>().is_multiple_of(size_of::<u64>()) && align_of::<V>() == align_of::<u64>()) };
    let sums: &mut [u64] = bytemuck::cast_slice_mut(core::slice::from_mut(sum));
    let others: &[u64] = bytemuck::cast_slice(core::slice::from_ref(other));
    for (sum, other) in sums.iter_mut().zip(others) {
        *sum = sum.saturating_add(*other);
    }
}

impl Cpu {
    /// Returns user and system time, in nanoseconds, like the kernel: `total` divided in the proportion of the ticks,
    /// so that both add up exactly (`cputime_adjust()` in `kernel/sched/cputime.c`). `told` is the previous result,
    /// below which neither value falls. The times last shown in the file are an estimate of their own, followed as far
    /// as that allows.
    pub fn divided(&self, told: (u64, u64)) -> (u64, u64) {
        let total = self.total;
        if told.0.saturating_add(told.1) >= total {
            return told;
        }
        let system = match (self.user, self.system) {
            (_, 0) => 0,
            (0, _) => total,
            (user, system) => {
                let part = u128::from(total) * u128::from(system) / (u128::from(user) + u128::from(system));
                u64::try_from(part).unwrap_or(total)
            }
        };
        let user = total.saturating_sub(system.max(self.shown_system)).max(self.shown_user);
        let system = total.saturating_sub(user).clamp(told.1, total - told.0);
        (total - system, system)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lineage_is_cut_behind_a_cgroup_on_it() {
        let mut lineage = Lineage::default();
        lineage.0[..3].copy_from_slice(&[5, 6, 7]);
        assert!(lineage.up_to(6).ids().eq([5, 6]));
        assert!(lineage.up_to(7).ids().eq([5, 6, 7]));
        assert_eq!(lineage.up_to(1).ids().count(), 0);
    }

    #[test]
    fn every_counter_is_added_and_none_wraps() {
        let mut network = Network { rx_bytes: 1, loopback_tx_packets: u64::MAX, ..Network::default() };
        add_counters(&mut network, &Network { rx_bytes: 2, tx_bytes: 3, loopback_tx_packets: 4, ..Network::default() });
        let sum = Network { rx_bytes: 3, tx_bytes: 3, loopback_tx_packets: u64::MAX, ..Network::default() };
        assert_eq!(network, sum);
        let mut processes = Processes { forks: 1, closed: 2, ..Processes::default() };
        add_counters(&mut processes, &Processes { forks: 1, closed: 1, ..Processes::default() });
        assert_eq!(processes, Processes { forks: 2, closed: 3, ..Processes::default() });
    }

    fn cpu(total: u64, user: u64, system: u64) -> Cpu {
        Cpu { total, user, system, ..Cpu::default() }
    }

    #[test]
    fn cpu_time_is_divided_as_the_ticks_are() {
        assert_eq!(cpu(1000, 3, 1).divided((0, 0)), (750, 250));
        assert_eq!((cpu(1000, 3, 0).divided((0, 0)), cpu(1000, 0, 3).divided((0, 0))), ((1000, 0), (0, 1000)));
        assert_eq!(cpu(u64::MAX, u64::MAX, u64::MAX).divided((0, 0)), (u64::MAX - u64::MAX / 2, u64::MAX / 2));
    }

    #[test]
    fn neither_part_goes_back_behind_what_was_told_here_or_in_the_file() {
        let (mut told, mut shown) = ((0, 0), (0, 0));
        for (total, user, system) in [(100, 1, 0), (200, 1, 3), (210, 9, 3), (210, 0, 9), (5000, 1, 1), (5001, 0, 0)] {
            let found = Cpu { shown_user: shown.0, shown_system: shown.1, ..cpu(total, user, system) };
            let now = found.divided(told);
            assert!(now.0 >= told.0 && now.1 >= told.1 && now.0 + now.1 == total, "{found:?}: {told:?} {now:?}");
            (told, shown) = (now, told);
        }
        let file = Cpu { shown_user: 50, shown_system: 50, ..cpu(100, 1, 0) };
        assert_eq!(file.divided((10, 10)), (50, 50));
        let apart = Cpu { shown_user: 60, shown_system: 30, ..cpu(100, 1, 1) };
        assert_eq!((apart.divided((10, 10)), apart.divided((40, 45))), ((60, 40), (55, 45)));
    }
}
