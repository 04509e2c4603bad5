//! The mount table, and containers in cgroup paths.
#![no_main]

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use monitor::containers::{mounts, runtime_path};

/// The longest line that is handed over whole.
const LONGEST: usize = 64 << 10;
/// Lines after which a reader has found what it looks for.
const ENOUGH: usize = 3;

static TABLE: LazyLock<PathBuf> =
    LazyLock::new(|| std::env::temp_dir().join(format!("system-monitor-mounts-{}", std::process::id())));

fuzz_target!(|table: &[u8]| {
    let parsed = mounts::parse(table);
    for mount in &parsed {
        let _total = (mount.is_v2(), mount.has_controller("cpu"), mount.upper(), mount.locate(Path::new("/a/b")));
    }
    let text = String::from_utf8_lossy(table);
    let _total = (runtime_path::container(&text), runtime_path::innermost(&text), runtime_path::by_mounts(&text));
    // A table in a file is read in pieces, with the same result.
    fs::write(&*TABLE, table).expect("a file");
    let read = mounts::read(&TABLE, |_| true);
    if table.split(|&byte| byte == b'\n').all(|line| line.len() < LONGEST) {
        assert_eq!(read, parsed);
    }
    let mut lines = 0;
    mounts::lines(&TABLE, |line| {
        let _total = mounts::id_and_device(line);
        assert!(line.len() <= LONGEST && lines < ENOUGH);
        lines += 1;
        if lines == ENOUGH { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
});
