//! Network bytes and packets per cgroup: of the cgroup that created the socket, in whichever network namespace.
#![no_std]
#![no_main]

mod egress;
mod ingress;
mod wire;

use aya_ebpf::helpers::generated::bpf_skb_cgroup_id;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{PerCpuArray, PerCpuHashMap};
use aya_ebpf::programs::SkBuffContext;
use aya_log_ebpf::warn;
use monitor_common::Network;
use monitor_ebpf::count;

monitor_ebpf::object!();

/// By cgroup id.
#[map]
static NETWORK: PerCpuHashMap<u64, Network> = PerCpuHashMap::with_max_entries(4096, 0);

/// Packets that had no room.
#[map]
static LOST: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// The verdict that lets a packet pass.
const PASS: i32 = 1;

#[inline(always)]
fn charge(ctx: &SkBuffContext, update: impl FnOnce(*mut Network)) -> i32 {
    // SAFETY: the context's pointer is the kernel's.
    let cgroup = unsafe { bpf_skb_cgroup_id(ctx.skb.skb) };
    if count(&NETWORK, &LOST, cgroup, update).is_err() {
        warn!(ctx, "packets of cgroup {} are not counted: the map NETWORK is full", cgroup);
    }
    PASS
}
