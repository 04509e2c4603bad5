//! Descriptors duplicated by `dup2` and `dup3`. An open target is closed on the way, and counted as closed there.

use aya_ebpf::macros::{fexit, map};
use aya_ebpf::maps::ProgramArray;
use aya_ebpf::programs::FExitContext;
use monitor_ebpf::tail_call;

use crate::{count_descriptors, returned};

/// The counting program.
#[map]
static DO_DUP2: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// Trampoline.
#[fexit]
fn do_dup2(ctx: FExitContext) -> i32 {
    tail_call(&DO_DUP2, &ctx)
}

/// Counts a successful call. The return value is a descriptor or an error, as an `int`: the upper half of the register
/// is undefined.
#[fexit]
fn count_do_dup2(ctx: FExitContext) -> i32 {
    if returned(&ctx).is_some_and(|descriptor| descriptor as i32 >= 0) { count_descriptors(1, 0) } else { 0 }
}
