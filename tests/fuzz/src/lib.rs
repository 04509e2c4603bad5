//! Code that targets with sockets share.

use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

/// Makes writing to a closed socket an error, as the start of a Rust program does; the fuzzer's start does not.
pub fn outlive_closed_sockets() {
    let runtime = Builder::new_current_thread().enable_io().build().expect("a runtime");
    // The handler stays for as long as the process lives.
    runtime.block_on(async { drop(signal(SignalKind::pipe()).expect("a handler")) });
}
