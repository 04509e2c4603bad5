//! Descriptors that go: by `close`, `dup2`, `exec`, or with the last task that has the table.

use aya_ebpf::macros::{fentry, map};
use aya_ebpf::maps::ProgramArray;
use aya_ebpf::programs::FEntryContext;
use monitor_ebpf::tail_call;

use crate::count_descriptors;

/// The program that counts now.
#[map]
static FILP_CLOSE: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// The trampoline. Attached to `filp_flush` where there is one, which then every way of closing takes, and not every one
/// `filp_close`.
#[fentry]
fn filp_close(ctx: FEntryContext) -> i32 {
    tail_call(&FILP_CLOSE, &ctx)
}

/// `filp_close(struct file *filp, fl_owner_t id)`, and `filp_flush` likewise. Of a file that never was in a table, the
/// owner of the table is null.
#[fentry]
fn count_filp_close(ctx: FEntryContext) -> i32 {
    if ctx.arg::<u64>(1) == 0 { 0 } else { count_descriptors(0, 1) }
}
