//! The values that the kernel programs and the agent exchange through maps, and their arithmetic.
//!
//! Knows nothing of maps, files or time. Every type is `repr(C)` and `Pod`: its bytes are its meaning, on both
//! sides. Fields are only ever added with a change of [`LAYOUT`].
#![no_std]
#![forbid(unsafe_code)]

use bytemuck::{Pod, Zeroable};

/// Version of every layout in this file; stored beside pinned maps so that an agent never misreads another's.
pub const LAYOUT: u64 = 1;

/// Flag of `clone(2)` that makes the new task a thread of its creator (`include/uapi/linux/sched.h`).
pub const CLONE_THREAD: u64 = 0x0001_0000;

/// What one cgroup's sockets sent and received, in IP bytes and packets as on the wire.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Network {
    /// Bytes received, IP headers included.
    pub rx_bytes: u64,
    /// Packets received.
    pub rx_packets: u64,
    /// Bytes sent, IP headers included.
    pub tx_bytes: u64,
    /// Packets sent.
    pub tx_packets: u64,
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
    /// Processes that ended: the last thread of each.
    pub exits: u64,
    /// Processes that the out-of-memory killer chose.
    pub oom_kills: u64,
}

impl Network {
    /// Adds another reading: another CPU's share, or another cgroup's of the same container.
    pub fn add(&mut self, other: &Self) {
        self.rx_bytes = self.rx_bytes.saturating_add(other.rx_bytes);
        self.rx_packets = self.rx_packets.saturating_add(other.rx_packets);
        self.tx_bytes = self.tx_bytes.saturating_add(other.tx_bytes);
        self.tx_packets = self.tx_packets.saturating_add(other.tx_packets);
    }
}

impl Processes {
    /// Adds another reading: another CPU's share, or another cgroup's of the same container.
    pub fn add(&mut self, other: &Self) {
        self.forks = self.forks.saturating_add(other.forks);
        self.threads = self.threads.saturating_add(other.threads);
        self.execs = self.execs.saturating_add(other.execs);
        self.exits = self.exits.saturating_add(other.exits);
        self.oom_kills = self.oom_kills.saturating_add(other.oom_kills);
    }
}
