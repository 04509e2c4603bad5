//! Programs that a cgroup's tasks start.

use aya_ebpf::macros::{map, raw_tracepoint};
use aya_ebpf::maps::ProgramArray;
use aya_ebpf::programs::RawTracePointContext;
use monitor_ebpf::{add, tail_call};

use crate::charge;

/// The program that counts now.
#[map]
static SCHED_PROCESS_EXEC: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// The trampoline.
#[raw_tracepoint(tracepoint = "sched_process_exec")]
fn sched_process_exec(ctx: RawTracePointContext) -> i32 {
    tail_call(&SCHED_PROCESS_EXEC, &ctx)
}

/// Runs in the task that has just become another program.
#[raw_tracepoint(tracepoint = "sched_process_exec")]
fn count_sched_process_exec(ctx: RawTracePointContext) -> i32 {
    charge(&ctx, |processes| {
        // SAFETY: the pointer is into a map value.
        unsafe { add(&raw mut (*processes).execs, 1) }
    })
}
