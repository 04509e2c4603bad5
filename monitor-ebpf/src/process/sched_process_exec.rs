//! Programs executed by a cgroup's tasks.

use aya_ebpf::macros::{map, raw_tracepoint};
use aya_ebpf::maps::ProgramArray;
use aya_ebpf::programs::RawTracePointContext;
use monitor_ebpf::{add, tail_call};

use crate::charge;

/// The counting program.
#[map]
static SCHED_PROCESS_EXEC: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// Trampoline.
#[raw_tracepoint(tracepoint = "sched_process_exec")]
fn sched_process_exec(ctx: RawTracePointContext) -> i32 {
    tail_call(&SCHED_PROCESS_EXEC, &ctx)
}

/// Counts a successful `execve`; runs in the task after the switch to the new program.
#[raw_tracepoint(tracepoint = "sched_process_exec")]
fn count_sched_process_exec(ctx: RawTracePointContext) -> i32 {
    charge(&ctx, |processes| {
        // SAFETY: `processes` points to a map value of this type: `charge` passes nothing else.
        unsafe { add(&raw mut (*processes).execs, 1) }
    })
}
