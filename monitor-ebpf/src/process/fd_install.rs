//! Descriptors opened by `open`, `socket`, `accept`, `dup`, by receiving one, and by all other calls except `dup2` and
//! `fork`.

use aya_ebpf::macros::{fentry, map};
use aya_ebpf::maps::ProgramArray;
use aya_ebpf::programs::FEntryContext;
use monitor_ebpf::tail_call;

use crate::count_descriptors;

/// The counting program.
#[map]
static FD_INSTALL: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// Trampoline.
#[fentry]
fn fd_install(ctx: FEntryContext) -> i32 {
    tail_call(&FD_INSTALL, &ctx)
}

/// `fd_install(unsigned int fd, struct file *file)`.
#[fentry]
fn count_fd_install(_: FEntryContext) -> i32 {
    count_descriptors(1, 0)
}
