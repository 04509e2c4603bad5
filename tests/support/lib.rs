//! Support of the integration tests: the binary, a real Valkey, an oracle, and visible skips.
#![allow(
    missing_docs,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests: what goes wrong shall be seen at once, and clocks and environment are theirs"
)]

pub mod agent;
pub mod browser;
pub mod certificates;
pub mod cgroup;
pub mod chain;
pub mod cluster;
pub mod collector;
pub mod containers;
pub mod dns;
pub mod docker;
pub mod fleet;
pub mod http;
pub mod kinds;
pub mod leftovers;
pub mod mounts;
pub mod offload;
pub mod oracle;
pub mod page;
pub mod prometheus;
pub mod proxy;
pub mod schema;
pub mod tmux;
pub mod valkey;
pub mod watched;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The binary under test: the one that `SYSTEM_MONITOR_BIN` names, else the one that cargo has built beside the tests.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("SYSTEM_MONITOR_BIN") {
        return path.into();
    }
    let here = std::env::current_exe().unwrap();
    let built = here.ancestors().nth(2).unwrap().join("system-monitor");
    assert!(built.exists(), "{} is not there; run: cargo build --package monitor", built.display());
    built
}

/// True for root. A test that needs root returns by [`skip!`] otherwise.
pub fn is_root() -> bool {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// The kernel's version: its first two numbers (`/proc/sys/kernel/osrelease`).
pub fn kernel() -> (u32, u32) {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split('.').map(|number| number.parse().unwrap());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

/// True if a program is in the path.
pub fn has(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths)
        .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")])
        .any(|dir| dir.join(program).exists())
}

/// Reports that a test is skipped, and why: on the terminal, and in the file that the summary is made from.
#[macro_export]
macro_rules! skip {
    ($($reason:tt)*) => {{
        $crate::skipped(module_path!(), line!(), &format!($($reason)*));
        return;
    }};
}

#[doc(hidden)]
pub fn skipped(module: &str, line: u32, reason: &str) {
    let test = std::thread::current().name().unwrap_or("?").to_owned();
    let text = format!("{module}::{test} (line {line}): {reason}");
    eprintln!("SKIPPED: {text}");
    if let Some(path) = std::env::var_os("SYSTEM_MONITOR_SKIPS") {
        append_line(&path, &text);
    }
}

/// A file `password` that only its owner can read.
pub fn secret_file(dir: &Path, text: &str) -> String {
    let path = dir.join("password");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A TCP port on loopback that is free, and that no other test of this program has: with dozens of servers at once, one
/// of ten runs would give two of them the same port.
pub fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    std::iter::repeat_with(free).find(|port| given.insert(*port)).unwrap()
}

/// Waits until `ready` returns something; `None` if it has not within `timeout`, which `SYSTEM_MONITOR_TIMEOUT_FACTOR`
/// multiplies on a slow machine.
pub fn eventually<T>(timeout: Duration, mut ready: impl FnMut() -> Option<T>) -> Option<T> {
    let factor =
        std::env::var("SYSTEM_MONITOR_TIMEOUT_FACTOR").ok().and_then(|factor| factor.parse().ok()).unwrap_or(1);
    let end = Instant::now() + timeout * factor;
    loop {
        if let Some(found) = ready() {
            return Some(found);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Records a number that was not zero, in the file from which a run over many machines finds the numbers that no test
/// ever changed.
pub fn seen(number: &str) {
    if let Some(path) = std::env::var_os("SYSTEM_MONITOR_SEEN") {
        append_line(&path, number);
    }
}

/// Appends a line in one write, because tests of other processes append to the same file at the same time.
fn append_line(path: &OsStr, line: &str) {
    let mut file = OpenOptions::new().append(true).create(true).open(path).unwrap();
    file.write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// CPU time of this thread, which does not depend on other load.
pub fn spent() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` outlives the call.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap())
}
