//! The mount table, and containers in cgroup paths.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use monitor::containers::{mounts, runtime_path};

fuzz_target!(|table: &[u8]| {
    for mount in mounts::parse(table) {
        let _total = (mount.is_v2(), mount.has_controller("cpu"), mount.locate(Path::new("/a/b")));
    }
    let text = String::from_utf8_lossy(table);
    let _total = (runtime_path::container(&text), runtime_path::innermost(&text), runtime_path::by_mounts(&text));
});
