//! Process events per cgroup: of the cgroup that the acting task is in.
//!
//! Four of the programs, which are loaded only when asked for, count descriptors: each entry of a table of descriptors
//! when it comes and when it goes, whichever system call does it. So the difference of both is what is open, but for
//! processes that change their cgroup.
#![no_std]
#![no_main]

mod do_dup2;
mod dup_fd;
mod fd_install;
mod filp_close;
mod sched_process_exec;
mod sched_process_exit;
mod task_newtask;

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::bpf_get_func_ret;
use aya_ebpf::macros::{btf_map, map};
use aya_ebpf::maps::{Array, PerCpuArray};
use aya_ebpf::programs::FExitContext;
use aya_log_ebpf::warn;
use monitor_common::{Meta, Processes};
use monitor_ebpf::{Constant, Counters, Counts, Growing, Lineages, add, current_ancestor, current_cgroup};

monitor_ebpf::object!();

/// As many as [`Processes`] has.
const WORDS: usize = size_of::<Processes>() / size_of::<u64>();

/// By cgroup id.
#[btf_map]
static PROCESSES: Growing<Counts<WORDS>> = Growing::new();

/// Where the cgroups lie.
#[btf_map]
static LINEAGE: Growing<Lineages> = Growing::new();

/// The description of the pinned maps, which the agent writes.
#[map]
static META: Array<Meta> = Array::with_max_entries(1, 0);

/// Events that had no room.
#[map]
static LOST: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

static ZERO: [u64; WORDS] = [0; WORDS];

const COUNTERS: Counters<WORDS> = Counters { counts: &PROCESSES, lineage: &LINEAGE, lost: &LOST, zero: &ZERO };

/// The cgroup whose events are counted, with those below it; 0 counts all.
#[unsafe(no_mangle)]
static SCOPE: Constant<u64> = Constant::new(0);

/// Counts an event of the current task, if it is in the scope.
#[inline(always)]
fn charge(ctx: &impl EbpfContext, update: impl FnOnce(*mut Processes)) -> i32 {
    if let Some(cgroup) = current_cgroup(SCOPE.get())
        && COUNTERS.count(cgroup, current_ancestor, update).is_err()
    {
        warn!(ctx, "Process events not counted: map PROCESSES is full cgroup={}", cgroup);
    }
    0
}

/// Counts descriptors that came and went, of the current task, if that is in the scope. One function for all programs,
/// not a copy in each. That a map is full, the agent finds in `LOST`.
#[inline(never)]
fn count_descriptors(opened: u64, closed: u64) -> i32 {
    let Some(cgroup) = current_cgroup(SCOPE.get()) else { return 0 };
    _ = COUNTERS.count(cgroup, current_ancestor, |processes: *mut Processes| {
        // SAFETY: the pointer is into a map value.
        unsafe {
            add(&raw mut (*processes).opened, opened);
            add(&raw mut (*processes).closed, closed);
        }
    });
    0
}

/// The return value of a function, whatever number of arguments it takes on this kernel.
#[inline(always)]
fn returned(ctx: &FExitContext) -> Option<i64> {
    let mut value = 0;
    // SAFETY: the context is the kernel's, and the value outlives the call.
    let result = unsafe { bpf_get_func_ret(ctx.as_ptr(), &raw mut value) };
    (result == 0).then_some(value as i64)
}
