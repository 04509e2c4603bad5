//! Starting the binary.

use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use tests::agent::command;

pub(crate) const TIMEOUT: Duration = Duration::from_secs(15);
pub(crate) const QUICK: &[&str] =
    &["once", "--json", "--wait", "100ms", "--disk-interval", "0s", "--valkey-url", "none"];

pub(crate) fn output(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    command(arguments, environment).stdin(Stdio::null()).output().unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs `prepare` in the child before the binary is started.
pub(crate) fn prepared(command: &mut Command, prepare: impl Fn() -> bool + Send + Sync + 'static) {
    let check = move || if prepare() { Ok(()) } else { Err(std::io::Error::last_os_error()) };
    // SAFETY: the closures below make system calls alone.
    unsafe { command.pre_exec(check) };
}
