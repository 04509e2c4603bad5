//! Code that targets with sockets share.

use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

/// Makes writing to a closed socket an error: what a Rust program's start does, which the fuzzer's takes the place of.
pub fn outlive_closed_sockets() {
    let runtime = Builder::new_current_thread().enable_io().build().expect("a runtime");
    // The handler stays for as long as the process lives.
    runtime.block_on(async { drop(signal(SignalKind::pipe()).expect("a handler")) });
}
