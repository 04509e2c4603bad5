//! Process events per cgroup, attributed to the cgroup of the current task.
//!
//! Four of the programs, loaded only on request, count descriptors: each entry added to and removed from a table,
//! whichever system call does it. The difference is the number of open descriptors, except for processes that have
//! moved to another cgroup.
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

/// The number of words in [`Processes`].
const WORDS: usize = size_of::<Processes>() / size_of::<u64>();

/// Counters by cgroup id.
#[btf_map]
static PROCESSES: Growing<Counts<WORDS>> = Growing::new();

/// Places of the cgroups.
#[btf_map]
static LINEAGE: Growing<Lineages> = Growing::new();

/// Description of the pinned maps, written by the agent.
#[map]
static META: Array<Meta> = Array::with_max_entries(1, 0);

/// Events not counted because the map was full.
#[map]
static LOST: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

static ZERO: [u64; WORDS] = [0; WORDS];

const COUNTERS: Counters<WORDS> = Counters { counts: &PROCESSES, lineage: &LINEAGE, lost: &LOST, zero: &ZERO };

/// The cgroup that is counted, with its descendants; 0 counts all.
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

/// Counts opened and closed descriptors of the current task, if it is in the scope. One function shared by all
/// programs, to keep them small. The agent sees a full map in `LOST`.
#[inline(never)]
fn count_descriptors(opened: u64, closed: u64) -> i32 {
    let Some(cgroup) = current_cgroup(SCOPE.get()) else { return 0 };
    _ = COUNTERS.count(cgroup, current_ancestor, |processes: *mut Processes| {
        // SAFETY: `processes` points to a map value of this type: `COUNTERS` passes nothing else.
        unsafe {
            add(&raw mut (*processes).opened, opened);
            add(&raw mut (*processes).closed, closed);
        }
    });
    0
}

/// Reads the return value of a function, independent of its number of arguments on this kernel.
#[inline(always)]
fn returned(ctx: &FExitContext) -> Option<i64> {
    let mut value = 0;
    // SAFETY: `ctx` is the context of this program, which is of the kind that the helper serves; `value` outlives the
    // call.
    let result = unsafe { bpf_get_func_ret(ctx.as_ptr(), &raw mut value) };
    (result == 0).then_some(value as i64)
}
