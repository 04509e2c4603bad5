//! Descriptors that are opened and closed, per cgroup: of the cgroup that the acting task is in.
//!
//! Each entry of a table of descriptors is counted when it comes and when it goes, whichever system call does it; so the
//! difference of both is what is open, but for processes that change their cgroup.
#![no_std]
#![no_main]

mod do_dup2;
mod dup_fd;
mod fd_install;
mod filp_close;

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::bpf_get_func_ret;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, PerCpuArray, PerCpuHashMap};
use aya_log_ebpf::warn;
use monitor_common::{Descriptors, Lineage, Meta, Retired};
use monitor_ebpf::{Constant, Counters, add, current_ancestor, current_cgroup};

monitor_ebpf::object!();

/// By cgroup id.
#[map]
static DESCRIPTORS: PerCpuHashMap<u64, Descriptors> = PerCpuHashMap::with_max_entries(4096, 0);

/// Where the cgroups lie.
#[map]
static LINEAGE: HashMap<u64, Lineage> = HashMap::with_max_entries(4096, 0);

/// What those counted that are gone, by container; the agent's.
#[map]
static RETIRED: HashMap<u64, Retired<Descriptors>> = HashMap::with_max_entries(4096, 0);

/// What these maps are; the agent's.
#[map]
static META: Array<Meta> = Array::with_max_entries(1, 0);

/// Events that had no room.
#[map]
static LOST: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

const COUNTERS: Counters<Descriptors> = Counters { counts: &DESCRIPTORS, lineage: &LINEAGE, lost: &LOST };

/// The cgroup whose events are counted, with those below it; 0 counts all.
#[unsafe(no_mangle)]
static SCOPE: Constant<u64> = Constant::new(0);

#[inline(always)]
fn opened(ctx: &impl EbpfContext, descriptors: u64) -> i32 {
    // SAFETY: the pointer is into a map value.
    charge(ctx, |counted| unsafe { add(&raw mut (*counted).opened, descriptors) })
}

#[inline(always)]
fn closed(ctx: &impl EbpfContext) -> i32 {
    // SAFETY: the pointer is into a map value.
    charge(ctx, |counted| unsafe { add(&raw mut (*counted).closed, 1) })
}

/// Counts an event of the current task, if it is in the scope.
#[inline(always)]
fn charge(ctx: &impl EbpfContext, update: impl FnOnce(*mut Descriptors)) -> i32 {
    if let Some(cgroup) = current_cgroup(SCOPE.get())
        && COUNTERS.count(cgroup, current_ancestor, update).is_err()
    {
        warn!(ctx, "descriptors of cgroup {} are not counted: the map DESCRIPTORS is full", cgroup);
    }
    0
}

/// What the function returned, whatever number of arguments it takes on this kernel; negative values are errors.
#[inline(always)]
fn returned(ctx: &impl EbpfContext) -> Option<i64> {
    let mut value = 0;
    // SAFETY: the context is the kernel's, and the value outlives the call.
    let result = unsafe { bpf_get_func_ret(ctx.as_ptr(), &raw mut value) };
    Some(value as i64).filter(|_| result == 0)
}
