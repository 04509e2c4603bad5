//! Descriptors that a file is given: `open`, `socket`, `accept`, `dup`, one that is received, and all others but
//! `dup2` and `fork`.

use aya_ebpf::macros::fentry;
use aya_ebpf::programs::FEntryContext;

use crate::opened;

/// `fd_install(unsigned int fd, struct file *file)`.
#[fentry]
fn fd_install(ctx: FEntryContext) -> i32 {
    opened(&ctx, 1)
}
