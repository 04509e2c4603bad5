//! Network bytes and packets per cgroup: of the cgroup that created the socket, in any network namespace.
#![no_std]
#![no_main]

mod egress;
mod ingress;
mod wire;

use aya_ebpf::helpers::generated::{bpf_skb_ancestor_cgroup_id, bpf_skb_cgroup_id};
use aya_ebpf::macros::{btf_map, map};
use aya_ebpf::maps::{Array, PerCpuArray};
use aya_ebpf::programs::SkBuffContext;
use monitor_common::{Meta, Network};
use monitor_ebpf::{Counters, Counts, Growing, Lineages};

monitor_ebpf::object!();

/// The number of words in [`Network`].
const WORDS: usize = size_of::<Network>() / size_of::<u64>();

/// Counters by cgroup id.
#[btf_map]
static NETWORK: Growing<Counts<WORDS>> = Growing::new();

/// Places of the cgroups.
#[btf_map]
static LINEAGE: Growing<Lineages> = Growing::new();

/// Description of the pinned maps, written by the agent.
#[map]
static META: Array<Meta> = Array::with_max_entries(1, 0);

/// Packets not counted because the map was full.
#[map]
static LOST: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

static ZERO: [u64; WORDS] = [0; WORDS];

const COUNTERS: Counters<WORDS> = Counters { counts: &NETWORK, lineage: &LINEAGE, lost: &LOST, zero: &ZERO };

/// The verdict that lets a packet pass.
const PASS: i32 = 1;

/// Hides a place from the compiler. It would join branches that differ only in the place that they add to, and compute
/// the place, which the verifier refuses without `CAP_PERFMON` (`retrieve_ptr_limit()` in `kernel/bpf/verifier.c`).
#[inline(always)]
fn own_place(place: *mut u64) -> *mut u64 {
    core::hint::black_box(place)
}

#[inline(always)]
fn charge(ctx: &SkBuffContext, update: impl FnOnce(*mut Network)) -> i32 {
    let packet = ctx.skb.skb;
    // SAFETY: `packet` is the `struct __sk_buff` of the program's own context.
    let cgroup = unsafe { bpf_skb_cgroup_id(packet) };
    // SAFETY: `packet` is the `struct __sk_buff` of the program's own context, which outlives this closure.
    let ancestor = |level| unsafe { bpf_skb_ancestor_cgroup_id(packet, level) };
    // No message if the map is full: it needs bounds that Linux before 6.17 accepts only with CAP_PERFMON. The agent
    // reads the number of lost packets instead.
    _ = COUNTERS.count(cgroup, ancestor, update);
    PASS
}
