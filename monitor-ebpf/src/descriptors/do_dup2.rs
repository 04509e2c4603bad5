//! Descriptors that are made to be another's copy: `dup2`, `dup3`. One that was open before is closed on the way, and
//! counted there.

use aya_ebpf::macros::fexit;
use aya_ebpf::programs::FExitContext;

use crate::{opened, returned};

/// `do_dup2` returns the descriptor or an error.
#[fexit]
fn do_dup2(ctx: FExitContext) -> i32 {
    // An `int` leaves the upper half of the register as it was.
    if returned(&ctx).is_some_and(|descriptor| descriptor as i32 >= 0) { opened(&ctx, 1) } else { 0 }
}
