//! Traffic of a block device: I/O, page cache, swap, and I/O pressure.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use monitor::metrics::Metric;
use tests::cgroup::Group;
use tests::kinds::{agreed, is_v2};
use tests::watched::{Load, Outside, TIMEOUT};
use tests::{eventually, skip};

const MIB: u64 = 1 << 20;

/// Makes a group and a block device that may be overwritten, or skips the test.
macro_rules! block_device {
    ($name:literal) => {{
        let Ok(disk) = std::env::var("SYSTEM_MONITOR_DISK") else {
            skip!("SYSTEM_MONITOR_DISK names no block device that may be overwritten")
        };
        let Some(group) = Group::new($name) else { skip!("no control group can be made here") };
        count_without_limit(&group, &disk);
        // The kernel lists no device before its first operation.
        Load::start(&group, &["write-around", &disk, "4096"]).done();
        Load::start(&group, &["read-around", &disk, "4096"]).done();
        (group, disk)
    }};
}

/// Adds a throttling rule that is never reached: newer kernels account to v1 groups only I/O that a rule covers
/// (`Documentation/admin-guide/cgroup-v1/blkio-controller.rst`).
fn count_without_limit(group: &Group, disk: &str) {
    let device = fs::metadata(disk).unwrap().rdev();
    let rule = format!("{}:{} {}", libc::major(device), libc::minor(device), u64::from(u32::MAX));
    for file in ["blkio.throttle.read_bps_device", "blkio.throttle.write_bps_device"] {
        let file = group.dir("blkio").unwrap().join(file);
        if file.exists() {
            fs::write(file, &rule).unwrap();
        }
    }
}

/// Reads and writes in the v2 tree's line about the device. Linux 5.10 counts each operation of a device with several
/// paths twice.
fn operations(group: &Group, disk: &str) -> Option<[u64; 2]> {
    let text = fs::read_to_string(group.dir("blkio")?.join("io.stat")).ok()?;
    let device = fs::metadata(disk).unwrap().rdev();
    let name = format!("{}:{} ", libc::major(device), libc::minor(device));
    let line = text.lines().find(|line| line.starts_with(&name))?;
    let of = |key: &str| line.split(' ').find_map(|word| word.strip_prefix(key)).unwrap().parse().unwrap();
    Some([of("rios="), of("wios=")])
}

const IO: [Metric; 4] = [Metric::DiskReadBytes, Metric::DiskWriteBytes, Metric::IoReads, Metric::IoWrites];

#[test]
fn what_goes_around_the_page_cache_is_counted_to_the_byte_and_to_the_operation() {
    let (group, disk) = block_device!("around");
    let mut files = Outside::files(&group);
    let mut counters = || IO.map(|metric| files.counter(metric));
    let (before, kernel_before) = (counters(), operations(&group, &disk));
    Load::start(&group, &["write-around", &disk, "409600"]).done();
    Load::start(&group, &["read-around", &disk, "819200"]).done();
    let (after, kernel_after) = (counters(), operations(&group, &disk));
    let [read, written, reads, writes] = std::array::from_fn(|at| after[at] - before[at]);
    assert_eq!([read, written], [819_200, 409_600]);
    match kernel_before.zip(kernel_after) {
        Some((before, after)) => assert_eq!([reads, writes], std::array::from_fn(|at| after[at] - before[at])),
        None => assert_eq!([reads, writes], [200, 100]),
    }
}

#[test]
fn rates_of_a_device_are_to_each_other_as_what_grew() {
    let (group, disk) = block_device!("rates");
    let mut files = Outside::files(&group);
    files.look();
    Load::start(&group, &["write-around", &disk, "819200"]).done();
    Load::start(&group, &["read-around", &disk, "204800"]).done();
    let looked = files.look();
    let [written, read] = [Metric::IoWriteRate, Metric::IoReadRate].map(|metric| looked.real(metric).unwrap());
    assert!(read > 0.0 && (written / read - 4.0).abs() < 1e-6, "{written} {read}");
}

#[test]
fn what_was_read_of_a_device_is_page_cache_and_not_working_set() {
    let (group, disk) = block_device!("cache");
    let mut files = Outside::files(&group);
    let mut now =
        || [Metric::MemoryFile, Metric::MemoryInactiveFile, Metric::DiskReadBytes].map(|metric| files.counter(metric));
    let before = now();
    let mut load = Load::start(&group, &["read", &disk, "33554432"]);
    load.done();
    let after = now();
    let grown: [u64; 3] = std::array::from_fn(|at| after[at] - before[at]);
    // Readahead of the kernel adds some bytes.
    assert!(grown.iter().all(|bytes| (32 * MIB..36 * MIB).contains(bytes)), "{grown:?}");
}

#[test]
fn pages_that_are_used_again_are_active() {
    let (group, disk) = block_device!("active");
    let mut files = Outside::files(&group);
    let mut load = Load::start(&group, &["map", &disk, "8388608"]);
    load.done();
    let active = agreed(&group, &mut files)[&Metric::MemoryActiveFile];
    let has_generations = fs::read_to_string("/sys/kernel/mm/lru_gen/enabled").is_ok_and(|set| set.trim() != "0x0000");
    if active == 0 && has_generations {
        skip!("this kernel sorts pages by generations, and takes none of these for an active one");
    }
    assert!((MIB..16 * MIB).contains(&active), "{active}");
}

#[test]
fn what_was_written_is_dirty_until_the_disk_has_it_and_on_the_way_to_it_in_between() {
    let (group, disk) = block_device!("dirty");
    let mut files = Outside::files(&group);
    let mut load = Load::start(&group, &["write-behind", &disk, "4194304"]);
    load.done();
    let dirty = agreed(&group, &mut files)[&Metric::MemoryDirty];
    assert!((3 * MIB..6 * MIB).contains(&dirty), "{dirty}");
    let _writer = Load::start(&group, &["write-out", &disk, "8388608", "600000"]);
    let written = || Some(files.counter(Metric::MemoryWriteback)).filter(|bytes| *bytes > 0);
    let written = eventually(TIMEOUT, written).expect("nothing is ever on its way to the disk");
    assert!(written < 12 * MIB, "{written}");
}

#[test]
fn what_does_not_fit_is_scanned_and_read_again() {
    let (group, disk) = block_device!("again");
    group.reclaim_above(16 * MIB);
    let mut files = Outside::files(&group);
    let before = agreed(&group, &mut files);
    Load::start(&group, &["read", &disk, "33554432", "3"]).done();
    let after = agreed(&group, &mut files);
    let grown = |metric| Some(after.get(&metric)? - before.get(&metric)?);
    let pages = 32 * MIB / 4096;
    match (grown(Metric::MemoryRefaults), is_v2(&group)) {
        // Older kernels do not tell it in v1.
        (None, false) => {}
        (refaults, _) => {
            assert!(refaults.is_some_and(|refaults| (pages / 2..6 * pages).contains(&refaults)), "{refaults:?}")
        }
    }
    if is_v2(&group) {
        assert!(grown(Metric::MemoryScanned) >= Some(pages), "{after:?}");
        assert!(grown(Metric::MemoryHighHits) > Some(0), "{after:?}");
    }
}

/// The device as swap space of the machine.
struct Swap(String);

impl Swap {
    fn on(disk: &str) -> Self {
        for program in ["mkswap", "swapon"] {
            assert!(Command::new(program).arg(disk).output().unwrap().status.success(), "{program} {disk}");
        }
        Self(disk.to_owned())
    }
}

impl Drop for Swap {
    fn drop(&mut self) {
        _ = Command::new("swapoff").arg(&self.0).status();
    }
}

#[test]
fn swap_in_use_is_what_the_limit_leaves_no_room_for_and_waiting_for_it_is_pressure() {
    let (group, disk) = block_device!("swap");
    let mut files = Outside::files(&group);
    let _swap = Swap::on(&disk);
    group.limit_memory(16 * MIB);
    if let Some(Err(cause)) = files.look().values.get(Metric::MemorySwap) {
        skip!("{cause}");
    }
    let mut load = Load::start(&group, &["sweep", "33554432", "4000"]);
    load.done();
    let swapped = files.counter(Metric::MemorySwap);
    assert!((16 * MIB..33 * MIB).contains(&swapped), "{swapped}");
    let Some(v2) = group.v2().filter(|dir| dir.join("memory.pressure").exists()) else { return };
    let file = |name: &str| fs::read_to_string(v2.join(name)).unwrap();
    // The kernel may still be reclaiming pages.
    let same = || (files.counter(Metric::MemorySwap).to_string() == file("memory.swap.current").trim()).then_some(());
    eventually(TIMEOUT, same).expect("the file says something else");
    let _sweep = Load::start(&group, &["sweep", "33554432", "120000"]);
    let pressure = [Metric::MemoryPressureSome, Metric::MemoryPressureFull, Metric::IoPressure];
    let waits = || {
        let looked = files.look();
        pressure.iter().all(|metric| looked.real(*metric).is_some_and(|percent| percent > 0.0)).then_some(())
    };
    assert!(eventually(TIMEOUT, waits).is_some(), "{} {}", file("memory.pressure"), file("io.pressure"));
}
