//! Tables of descriptors that `fork` and `unshare` copy.

use aya_ebpf::macros::{fexit, map};
use aya_ebpf::maps::ProgramArray;
use aya_ebpf::programs::FExitContext;
use monitor_ebpf::{files, tail_call};

use crate::{count_descriptors, returned};

/// Pointers from here on are errors (`MAX_ERRNO` in `include/linux/err.h`).
const FIRST_ERROR: i64 = -4095;

/// The counting program.
#[map]
static DUP_FD: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// Trampoline.
#[fexit]
fn dup_fd(ctx: FExitContext) -> i32 {
    tail_call(&DUP_FD, &ctx)
}

/// Counts the descriptors of the new table; the return value is the table or an error.
#[fexit]
fn count_dup_fd(ctx: FExitContext) -> i32 {
    match returned(&ctx) {
        Some(table) if !(FIRST_ERROR..=0).contains(&table) => count_descriptors(files::open_untyped(table as u64), 0),
        _ => 0,
    }
}
