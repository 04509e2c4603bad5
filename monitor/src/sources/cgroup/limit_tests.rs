//! Limits of levels above, numbers of groups below, and devices on others.

use super::tests::{Fake, cause, fake};
use super::*;
use crate::metrics::Origin;

/// Writes files into a tree of plain files, and the directories around them.
fn write(fake: &Fake, files: &[(&str, &str)]) {
    for (path, text) in files {
        let path = fake.dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

fn numbers<const N: usize>(values: &Values, metrics: [Metric; N]) -> [Option<u64>; N] {
    metrics.map(|metric| values.get(metric).and_then(Result::ok))
}

const CPU: [Metric; 6] = [
    Metric::CpuLevel,
    Metric::CpuPeriod,
    Metric::CpuPeriods,
    Metric::CpuThrottled,
    Metric::CpuThrottledTime,
    Metric::CpuLevelUsage,
];

#[test]
fn a_quota_above_comes_with_the_throttling_and_the_use_of_that_level() {
    let mut fake = fake(&["v2"], &[]);
    let stat = "usage_usec 7\nnr_periods 5\nnr_throttled 4\nthrottled_usec 3\n";
    write(
        &fake,
        &[
            ("v2/top/cpu.max", "20000 50000\n"),
            ("v2/top/cpu.stat", stat),
            ("v2/top/own/cpu.max", "max 100000\n"),
            ("v2/top/own/cpu.stat", "usage_usec 1\nnr_periods 0\nnr_throttled 0\nthrottled_usec 0\n"),
        ],
    );
    let above = [Some(1), Some(50_000_000), Some(5), Some(4), Some(3_000), Some(7_000)];
    assert_eq!(numbers(&fake.sample(), CPU), above);
    write(&fake, &[("v2/top/own/cpu.max", "10000 100000\n")]);
    let changed = fake.sample();
    assert!(cause(&changed, Metric::CpuPeriod).contains("another level"), "its counters are others");
    assert_eq!(numbers(&fake.sample(), CPU), [Some(0), Some(100_000_000), Some(0), Some(0), Some(0), None]);
}

#[test]
fn a_v1_quota_above_is_read_from_the_trees_of_its_controllers() {
    let mut fake = fake(&["cpu", "cpuacct"], &[]);
    write(
        &fake,
        &[
            ("cpu/top/cpu.cfs_quota_us", "20000\n"),
            ("cpu/top/cpu.cfs_period_us", "100000\n"),
            ("cpu/top/cpu.stat", "nr_periods 5\nnr_throttled 4\nthrottled_time 3\n"),
            ("cpu/top/own/cpu.cfs_quota_us", "-1\n"),
            ("cpu/top/own/cpu.cfs_period_us", "100000\n"),
            ("cpuacct/top/cpuacct.usage", "9\n"),
        ],
    );
    let values = fake.sample();
    assert_eq!(numbers(&values, CPU), [Some(1), Some(100_000_000), Some(5), Some(4), Some(3), Some(9)]);
    assert_eq!(values.origins().of(Metric::CpuThrottled).map(Origin::backend), Some("cgroup1"));
}

#[test]
fn the_cpuset_is_that_of_the_nearest_level_and_binds_where_it_was_set() {
    let mut fake = fake(&["v2"], &[]);
    // A partition of its own has CPUs that the root does not have any more.
    write(&fake, &[("v2/cpuset.cpus.effective", "0\n"), ("v2/top/cpuset.cpus.effective", "1-2\n")]);
    let read = |values: &Values| numbers(values, [Metric::CpusetCount, Metric::CpuLevel]);
    assert_eq!(read(&fake.sample()), [Some(2), Some(1)]);
    write(&fake, &[("v2/top/own/cpuset.cpus.effective", "1-2\n")]);
    fake.source = CgroupFiles::new(9, Path::new("/nonexistent"));
    assert_eq!(read(&fake.sample()), [Some(2), Some(1)], "passed down");
    write(&fake, &[("v2/top/own/cpuset.cpus.effective", "2\n")]);
    assert_eq!(read(&fake.sample()), [Some(1), Some(0)]);
}

#[test]
fn a_limit_that_siblings_share_is_as_full_as_all_of_them_make_it() {
    let mut fake = fake(&["v2"], &[]);
    write(
        &fake,
        &[
            ("v2/top/memory.max", "1000\n"),
            ("v2/top/memory.current", "900\n"),
            ("v2/top/memory.stat", "inactive_file 100\n"),
            ("v2/top/own/memory.max", "max\n"),
            ("v2/top/pids.max", "50\n"),
            ("v2/top/pids.current", "40\n"),
        ],
    );
    let rows = [Metric::MemoryLimitLevel, Metric::MemoryLevelUsage, Metric::PidsLimitLevel, Metric::PidsLevelUsage];
    assert_eq!(numbers(&fake.sample(), rows), [Some(1), Some(800), Some(1), Some(40)]);
    write(&fake, &[("v2/top/own/memory.max", "500\n"), ("v2/top/own/pids.max", "50\n")]);
    fake.source = CgroupFiles::new(9, Path::new("/nonexistent"));
    assert_eq!(numbers(&fake.sample(), rows), [Some(0), None, Some(0), None], "at the same limit its own level binds");
}

#[test]
fn where_the_top_is_not_the_root_of_the_tree_a_limit_above_may_be_set() {
    let rows = [Metric::CpuLimit, Metric::MemoryLimit, Metric::PidsLimit];
    let mut v2 = fake(&["v2"], &[]);
    write(&v2, &[("v2/cgroup.events", "populated 1\n"), ("v2/top/own/memory.max", "max\n")]);
    assert_eq!(numbers(&v2.sample(), rows), [Some(NOT_VISIBLE); 3], "whether it has a file or not");
    let mut v1 = fake(&["memory"], &[]);
    write(&v1, &[("memory/top/own/memory.limit_in_bytes", "9223372036854771712\n")]);
    assert_eq!(v1.sample().get(Metric::MemoryLimit), Some(Ok(NOT_VISIBLE)));
    write(&v1, &[("memory/cgroup.sane_behavior", "0\n")]);
    v1.source = CgroupFiles::new(9, Path::new("/nonexistent"));
    assert_eq!(v1.sample().get(Metric::MemoryLimit), Some(Ok(NO_LIMIT)));
}

#[test]
fn in_v1_the_kernel_knows_the_limits_above_what_is_visible() {
    let mut fake = fake(&["memory"], &[]);
    let mut read = |hierarchical: u64| {
        let stat = format!("hierarchical_memory_limit {hierarchical}\n");
        write(&fake, &[("memory/top/own/memory.limit_in_bytes", "2000\n"), ("memory/top/own/memory.stat", &stat)]);
        numbers(&fake.sample(), [Metric::MemoryLimit, Metric::MemoryLimitLevel])
    };
    assert_eq!([read(1000), read(2000)], [[Some(1000), None], [Some(2000), Some(0)]]);
    assert_eq!(read(9_223_372_036_854_771_712), [Some(2000), Some(0)]);
}

#[test]
fn oom_kills_in_groups_below_are_added_also_of_those_that_were_removed() {
    let control = |kills: u64| format!("oom_kill_disable 0\nunder_oom 0\noom_kill {kills}\n");
    let mut fake = fake(&["memory"], &[]);
    let file = |group: &str| format!("memory/top/own{group}/memory.oom_control");
    write(&fake, &[(&file(""), &control(1)), (&file("/a"), &control(2)), (&file("/a/b"), &control(4))]);
    assert_eq!(fake.sample().get(Metric::OomKills), Some(Ok(7)));
    std::fs::remove_dir_all(fake.dir.path().join("memory/top/own/a")).unwrap();
    write(&fake, &[(&file("/c"), &control(8))]);
    assert_eq!(fake.sample().get(Metric::OomKills), Some(Ok(15)));
}

#[test]
fn what_passes_a_device_on_another_is_counted_once() {
    let sys = tempfile::tempdir().unwrap();
    for dir in ["253:0/slaves/sda", "8:0/slaves", "7:0/loop"] {
        std::fs::create_dir_all(sys.path().join("dev/block").join(dir)).unwrap();
    }
    std::fs::write(sys.path().join("dev/block/7:0/loop/backing_file"), "/image\n").unwrap();
    let line = |device: &str, bytes: u64| format!("{device} rbytes={bytes} wbytes=0 rios=1 wios=0\n");
    let read = |devices: &[(&str, u64)]| {
        let text: String = devices.iter().map(|(device, bytes)| line(device, *bytes)).collect();
        let mut fake = fake(&["v2"], &[("v2/top/own/io.stat", &text)]);
        fake.source = CgroupFiles::new(9, sys.path());
        fake.sample().get(Metric::DiskReadBytes).unwrap().unwrap()
    };
    assert_eq!(read(&[("253:0", 5), ("8:0", 5)]), 5);
    assert_eq!(read(&[("7:0", 3), ("253:0", 5), ("8:0", 5), ("8:16", 2)]), 7);
    assert_eq!(read(&[("253:0", 5)]), 5, "the device below counts nothing");
    let v1 = "253:0 Read 5\n253:0 Write 1\n8:0 Read 5\n8:0 Write 1\nTotal 12\n";
    let mut fake = fake(&["blkio"], &[("blkio/top/own/blkio.throttle.io_service_bytes_recursive", v1)]);
    fake.source = CgroupFiles::new(9, sys.path());
    assert_eq!(numbers(&fake.sample(), [Metric::DiskReadBytes, Metric::DiskWriteBytes]), [Some(5), Some(1)]);
}
