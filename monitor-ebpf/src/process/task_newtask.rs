//! Processes and threads created by a cgroup's tasks.

use aya_ebpf::macros::{map, raw_tracepoint};
use aya_ebpf::maps::ProgramArray;
use aya_ebpf::programs::RawTracePointContext;
use monitor_common::CLONE_THREAD;
use monitor_ebpf::{add, tail_call};

use crate::charge;

/// The counting program.
#[map]
static TASK_NEWTASK: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// Trampoline.
#[raw_tracepoint(tracepoint = "task_newtask")]
fn task_newtask(ctx: RawTracePointContext) -> i32 {
    tail_call(&TASK_NEWTASK, &ctx)
}

/// Runs in the creator: `task_newtask(struct task_struct *task, u64 clone_flags)`.
#[raw_tracepoint(tracepoint = "task_newtask")]
fn count_task_newtask(ctx: RawTracePointContext) -> i32 {
    let flags: u64 = ctx.arg(1);
    charge(&ctx, |processes| {
        // SAFETY: `processes` points to a map value of this type: `charge` passes nothing else.
        unsafe {
            if flags & CLONE_THREAD == 0 {
                add(&raw mut (*processes).forks, 1);
            } else {
                add(&raw mut (*processes).threads, 1);
            }
        }
    })
}
