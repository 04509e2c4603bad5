//! Descriptors that a file is given: by `open`, `socket`, `accept`, `dup`, receiving one, and all others but `dup2` and
//! `fork`.

use aya_ebpf::macros::{fentry, map};
use aya_ebpf::maps::ProgramArray;
use aya_ebpf::programs::FEntryContext;
use monitor_ebpf::tail_call;

use crate::count_descriptors;

/// The program that counts now.
#[map]
static FD_INSTALL: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// The trampoline.
#[fentry]
fn fd_install(ctx: FEntryContext) -> i32 {
    tail_call(&FD_INSTALL, &ctx)
}

/// `fd_install(unsigned int fd, struct file *file)`.
#[fentry]
fn count_fd_install(_: FEntryContext) -> i32 {
    count_descriptors(1, 0)
}
