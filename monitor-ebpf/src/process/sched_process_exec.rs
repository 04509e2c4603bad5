//! Programs that a cgroup's tasks start.

use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;
use monitor_ebpf::add;

use crate::charge;

/// Runs in the task that has just become another program.
#[raw_tracepoint(tracepoint = "sched_process_exec")]
fn sched_process_exec(ctx: RawTracePointContext) -> i32 {
    charge(&ctx, |processes| {
        // SAFETY: the pointer is into a map value.
        unsafe { add(&raw mut (*processes).execs, 1) }
    })
}
