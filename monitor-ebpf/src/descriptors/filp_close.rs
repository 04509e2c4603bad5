//! Descriptors that go: by `close`, `dup2`, `exec`, or with the last process that has the table.
//!
//! Both functions are also called for files that were never in a table; then the second argument, the table's owner, is
//! null.

use aya_ebpf::macros::fentry;
use aya_ebpf::programs::FEntryContext;

use crate::closed;

/// `filp_flush(struct file *filp, fl_owner_t id)`, which every way of closing takes since Linux 6.6.
#[fentry]
fn filp_flush(ctx: FEntryContext) -> i32 {
    goes(&ctx)
}

/// `filp_close(struct file *filp, fl_owner_t id)`, which every way of closing took before.
#[fentry]
fn filp_close(ctx: FEntryContext) -> i32 {
    goes(&ctx)
}

#[inline(always)]
fn goes(ctx: &FEntryContext) -> i32 {
    if ctx.arg::<u64>(1) == 0 { 0 } else { closed(ctx) }
}
