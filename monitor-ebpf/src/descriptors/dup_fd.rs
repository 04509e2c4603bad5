//! Tables of descriptors that are copied: `fork`, `unshare`.

use aya_ebpf::macros::fexit;
use aya_ebpf::programs::FExitContext;
use monitor_ebpf::files;

use crate::{opened, returned};

/// `dup_fd` returns the new table or an error.
#[fexit]
fn dup_fd(ctx: FExitContext) -> i32 {
    match returned(&ctx) {
        Some(table) if !(-4095..=0).contains(&table) => opened(&ctx, files::open_untyped(table as u64)),
        _ => 0,
    }
}
