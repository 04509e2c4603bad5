//! Processes that the out-of-memory killer chooses.

use aya_ebpf::macros::{btf_tracepoint, map};
use aya_ebpf::maps::ProgramArray;
use aya_ebpf::programs::BtfTracePointContext;
use monitor_ebpf::{Constant, go_on};

use crate::{COUNTERS, VICTIMS};

/// `offsetof(struct task_struct, tgid)`.
#[unsafe(no_mangle)]
static TASK_TGID: Constant<u64> = Constant::new(0);

/// The program that counts now.
#[map]
static MARK_VICTIM: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// What is attached.
#[btf_tracepoint(function = "mark_victim")]
fn mark_victim(ctx: BtfTracePointContext) -> i32 {
    go_on(&MARK_VICTIM, &ctx)
}

/// Runs in the task that needed memory, which may be in another cgroup than the victim: the victim is remembered, and
/// counted where it is when it ends.
#[btf_tracepoint(function = "mark_victim")]
fn count_mark_victim(ctx: BtfTracePointContext) -> i32 {
    let victim: *const u8 = ctx.arg(0);
    // SAFETY: the verifier knows the pointer's type, and allows loads within it.
    let tgid = unsafe { core::ptr::read_volatile(victim.add(TASK_TGID.get() as usize).cast::<u32>()) };
    if VICTIMS.insert(tgid, 1, 0).is_err() {
        _ = COUNTERS.lose();
    }
    0
}
