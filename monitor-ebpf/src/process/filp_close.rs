//! Descriptors closed by `close`, `dup2`, `exec`, or with the last task that uses the table.

use aya_ebpf::macros::{fentry, map};
use aya_ebpf::maps::ProgramArray;
use aya_ebpf::programs::FEntryContext;
use monitor_ebpf::tail_call;

use crate::count_descriptors;

/// The counting program.
#[map]
static FILP_CLOSE: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// Trampoline. Attached to `filp_flush` if it exists: then every close calls it, and not every close calls
/// `filp_close`.
#[fentry]
fn filp_close(ctx: FEntryContext) -> i32 {
    tail_call(&FILP_CLOSE, &ctx)
}

/// `filp_close(struct file *filp, fl_owner_t id)`, and `filp_flush` likewise. The owner of the table is null for a file
/// that never was in a table.
#[fentry]
fn count_filp_close(ctx: FEntryContext) -> i32 {
    if ctx.arg::<u64>(1) == 0 { 0 } else { count_descriptors(0, 1) }
}
