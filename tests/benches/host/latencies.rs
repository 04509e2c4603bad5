//! The time from the creation of a container until the agent knows it.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use monitor::preflight::EbpfMode;
use monitor::snapshot::CgroupId;
use tests::cgroup::Group;

use crate::machine::containers;
use crate::table::Row;

/// Measures the time from the creation of a cgroup until it is known.
pub fn latencies() -> Vec<Row> {
    let mut rows = Vec::new();
    for (mode, by) in [(EbpfMode::Auto, "eBPF"), (EbpfMode::Off, "inotify")] {
        let ended = Arc::default();
        let (containers, _bpf) = containers(&ended, mode);
        let mut found: Vec<Duration> = (0..50)
            .map(|_| {
                let (group, _) = Group::docker().unwrap();
                let dir = group.v2().unwrap().to_owned();
                drop(group);
                // Only the directory of the v2 tree is timed.
                let began = Instant::now();
                fs::create_dir(&dir).unwrap();
                let took = began.elapsed();
                let id = CgroupId(std::os::unix::fs::MetadataExt::ino(&fs::metadata(&dir).unwrap()));
                while !containers.knows(id) {
                    std::hint::spin_loop();
                }
                let known = began.elapsed() - took;
                fs::remove_dir(&dir).unwrap();
                known
            })
            .collect();
        found.sort();
        let (median, most) = (found[found.len() / 2], found[found.len() - 1]);
        rows.push(Row::new(
            format!("a new container is known ({by}): median, most of {}", found.len()),
            format!("{:.2} ms, {:.2} ms", median.as_secs_f64() * 1e3, most.as_secs_f64() * 1e3),
            Some(("10 ms", median < Duration::from_millis(10))),
        ));
    }
    rows
}
