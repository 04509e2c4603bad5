use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::*;
use crate::metrics::ChangeToken;
use crate::snapshot::Identity;
use crate::snapshot::Stamp;

pub(super) struct Fake {
    pub(super) dir: tempfile::TempDir,
    identity: Arc<Identity>,
    pub(super) source: CgroupFiles,
}

/// A v2 tree `top/own`, or v1 trees `memory/top/own`, …, made of plain files.
pub(super) fn fake(trees: &[&str], files: &[(&str, &str)]) -> Fake {
    let dir = tempfile::tempdir().unwrap();
    let own = |tree: &str| {
        let own = dir.path().join(tree).join("top/own");
        std::fs::create_dir_all(&own).unwrap();
        for level in own.ancestors().take(3) {
            std::fs::write(level.join("cgroup.procs"), "").unwrap();
        }
        own
    };
    let v2 = trees.contains(&"v2").then(|| own("v2"));
    let v1 = trees.iter().filter(|tree| **tree != "v2").map(|tree| ((*tree).to_owned(), own(tree))).collect();
    for (path, text) in files {
        std::fs::write(dir.path().join(path), text).unwrap();
    }
    let identity = Arc::new(Identity { v2, v1, ..Identity::default() });
    Fake { dir, identity, source: CgroupFiles::new(usize::MAX / 2, Path::new("/nonexistent")) }
}

impl Fake {
    pub(super) fn sample(&mut self) -> Values {
        self.sample_at(Duration::ZERO)
    }

    fn sample_at(&mut self, mono: Duration) -> Values {
        self.sample_with(mono, None)
    }

    fn sample_with(&mut self, mono: Duration, token: Option<u64>) -> Values {
        let mut into = Snapshot::new(Stamp { mono, wall: SystemTime::UNIX_EPOCH });
        let cgroup = into.cgroups.entry(CgroupId(1)).or_default();
        cgroup.identity = Arc::clone(&self.identity);
        [ChangeToken::Memory, ChangeToken::Io].into_iter().for_each(|which| cgroup.tokens.set(which, token));
        self.source.sample(&mut into).unwrap();
        into.cgroups.remove(&CgroupId(1)).unwrap().values
    }
}

pub(super) fn cause(values: &Values, metric: Metric) -> String {
    values.get(metric).unwrap().unwrap_err().to_string()
}

#[test]
fn limits_are_read_every_few_seconds_however_often_the_rest_is() {
    let mut fake = fake(&["v2"], &[("v2/top/own/pids.max", "7\n"), ("v2/top/own/pids.current", "1\n")]);
    let path = |name: &str| fake.dir.path().join("v2/top/own").join(name);
    let (limit, current) = (path("pids.max"), path("pids.current"));
    let mut now = |seconds| {
        let values = fake.sample_at(Duration::from_secs(seconds));
        [Metric::PidsLimit, Metric::Threads].map(|metric| values.get(metric).and_then(Result::ok))
    };
    assert_eq!(now(1), [Some(7), Some(1)]);
    std::fs::write(limit, "5\n").unwrap();
    std::fs::write(current, "2\n").unwrap();
    assert_eq!([now(2), now(5)], [[Some(7), Some(2)], [Some(5), Some(2)]]);
}

#[test]
fn averages_are_read_no_more_often_than_the_kernel_makes_them() {
    let mut fake = fake(&["v2"], &[("v2/top/own/io.pressure", "some avg10=1.00 avg60=0 avg300=0 total=0\n")]);
    let file = fake.dir.path().join("v2/top/own/io.pressure");
    let mut now = |millis| fake.sample_at(Duration::from_millis(millis)).get(Metric::IoPressure).unwrap().unwrap();
    assert_eq!(now(1_000), 100);
    std::fs::write(file, "some avg10=2.00 avg60=0 avg300=0 total=0\n").unwrap();
    assert_eq!([now(2_000), now(2_990), now(4_000)], [100, 200, 200]);
}

#[test]
fn a_file_is_read_again_unless_its_token_is_the_same() {
    let mut fake = fake(&["v2"], &[("v2/top/own/memory.stat", "anon 1\n"), ("v2/top/own/io.stat", "")]);
    let mut read = |anon: u64, token| {
        std::fs::write(fake.dir.path().join("v2/top/own/memory.stat"), format!("anon {anon}\n")).unwrap();
        let values = fake.sample_with(Duration::ZERO, token);
        let missing = values.get(Metric::MemoryFile).unwrap().unwrap_err().to_string();
        assert_eq!(missing, "memory.stat has no `file`", "also where it is not read");
        assert_eq!(values.get(Metric::DiskReadBytes), Some(Ok(0)));
        values.get(Metric::MemoryAnon).unwrap().unwrap()
    };
    assert_eq!([read(1, None), read(2, None), read(3, Some(7)), read(4, Some(7))], [1, 2, 3, 3]);
    assert_eq!([read(5, Some(8)), read(6, Some(8)), read(7, None), read(8, Some(8))], [5, 5, 7, 8]);
    let often: Vec<u64> = (0..RETRY).map(|_| read(9, Some(8))).collect();
    assert_eq!((often.first(), often.last()), (Some(&8), Some(&9)), "now and then it is read all the same");
}

#[test]
fn what_older_kernels_call_otherwise_is_found() {
    let file = "blkio/top/own/blkio.throttle.io_service_bytes";
    let mut fake = fake(&["blkio"], &[(file, "8:0 Read 7\n8:0 Write 5\nTotal 12\n")]);
    let values = fake.sample();
    assert_eq!((values.get(Metric::DiskReadBytes), values.get(Metric::DiskWriteBytes)), (Some(Ok(7)), Some(Ok(5))));
}

#[test]
fn without_room_for_descriptors_files_are_read_all_the_same_and_none_stays_open() {
    let mut fake = fake(&["v2"], &[("v2/top/own/memory.current", "7\n"), ("v2/top/own/pids.current", "3\n")]);
    fake.source = CgroupFiles::new(1, Path::new("/nonexistent"));
    for _ in 0..3 {
        let values = fake.sample();
        assert_eq!((values.get(Metric::MemoryUsage), values.get(Metric::Threads)), (Some(Ok(7)), Some(Ok(3))));
        assert_eq!(fake.source.context.room, 0);
    }
    let mut without = Snapshot::new(Stamp { mono: Duration::ZERO, wall: SystemTime::UNIX_EPOCH });
    fake.source.sample(&mut without).unwrap();
    assert_eq!(fake.source.context.room, 1, "a group that is gone gives its descriptors back");
}

#[test]
fn where_descriptors_are_scarce_those_of_the_most_active_stay_open() {
    let mut fake = fake(&["v2"], &[]);
    let identity = |name: &str, used: u64| {
        let dir = fake.dir.path().join("v2/top").join(name);
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("cgroup.procs"), "").unwrap();
        std::fs::write(dir.join("cpu.stat"), format!("usage_usec {used}\n")).unwrap();
        Arc::new(Identity { v2: Some(dir), ..Identity::default() })
    };
    fake.source = CgroupFiles::new(2, Path::new("/nonexistent"));
    for reading in 0..=2 * CHOOSE {
        let mut into = Snapshot::new(Stamp { mono: Duration::ZERO, wall: SystemTime::UNIX_EPOCH });
        for (id, identity) in [(1, identity("a", 7)), (2, identity("b", 7)), (3, identity("c", reading * 1000))] {
            into.cgroups.entry(CgroupId(id)).or_default().identity = identity;
        }
        fake.source.sample(&mut into).unwrap();
        let read = into.cgroups.values().filter(|cgroup| cgroup.values.get(Metric::CpuUsage).unwrap().is_ok());
        assert_eq!(read.count(), 3, "whatever stays open");
    }
    let open: Vec<usize> = (1..=3).map(|id| fake.source.open[&CgroupId(id)].count()).collect();
    assert_eq!((open, fake.source.context.room), (vec![1, 0, 1], 0));
}

#[test]
fn the_limits_around_containers_are_read_once_for_all_of_them() {
    let mut fake = fake(&["v2"], &[("v2/top/memory.max", "1000\n")]);
    let mut into = Snapshot::new(Stamp { mono: Duration::ZERO, wall: SystemTime::UNIX_EPOCH });
    for id in 1..=3 {
        into.cgroups.entry(CgroupId(id)).or_default().identity = Arc::clone(&fake.identity);
    }
    let room = fake.source.context.room;
    fake.source.sample(&mut into).unwrap();
    assert!(into.cgroups.values().all(|cgroup| cgroup.values.get(Metric::MemoryLimit) == Some(Ok(1000))));
    assert_eq!(room - fake.source.context.room, 1, "one file of the three is open");
    std::fs::write(fake.dir.path().join("v2/top/memory.max"), "2000\n").unwrap();
    assert_eq!(fake.sample().get(Metric::MemoryLimit), Some(Ok(2000)));
    fake.source.sample(&mut Snapshot::new(Stamp { mono: Duration::ZERO, wall: SystemTime::UNIX_EPOCH })).unwrap();
    assert_eq!(fake.source.context.room, room, "and closed when they are gone");
}

#[test]
fn a_v2_tree_is_read_and_read_again() {
    let mut fake = fake(
        &["v2"],
        &[("v2/top/own/cpu.stat", "usage_usec 7\nuser_usec 4\n"), ("v2/top/own/memory.current", "4096\n")],
    );
    let values = fake.sample();
    assert_eq!(values.get(Metric::CpuUsage), Some(Ok(7_000)));
    assert_eq!(values.get(Metric::MemoryUsage), Some(Ok(4096)));
    std::fs::write(fake.dir.path().join("v2/top/own/memory.current"), "8192\n").unwrap();
    assert_eq!(fake.sample().get(Metric::MemoryUsage), Some(Ok(8192)));
}

#[test]
fn v1_quota_and_period_are_two_files() {
    let mut fake =
        fake(&["cpu"], &[("cpu/top/own/cpu.cfs_quota_us", "25000\n"), ("cpu/top/own/cpu.cfs_period_us", "100000\n")]);
    assert_eq!(fake.sample().get(Metric::CpuLimit), Some(Ok(250_000)));
}

#[test]
fn the_tightest_limit_on_the_way_up_counts() {
    let files = [
        ("v2/top/own/memory.max", "max\n"),
        ("v2/top/memory.max", "1000\n"),
        ("v2/memory.max", "2000\n"),
        ("v2/top/own/cpu.max", "max 100000\n"),
    ];
    let values = fake(&["v2"], &files).sample();
    assert_eq!(values.get(Metric::MemoryLimit), Some(Ok(1000)));
    assert_eq!(values.get(Metric::CpuLimit), Some(Ok(NO_LIMIT)));
}

#[test]
fn a_hybrid_tree_takes_the_limit_from_v1_and_not_its_absence_from_v2() {
    let mut fake = fake(
        &["v2", "memory"],
        &[("memory/top/own/memory.limit_in_bytes", "1000\n"), ("memory/top/own/memory.usage_in_bytes", "10\n")],
    );
    let values = fake.sample();
    assert_eq!(values.get(Metric::MemoryLimit), Some(Ok(1000)));
    assert_eq!(values.get(Metric::MemoryUsage), Some(Ok(10)));
    assert_eq!(values.origins().of(Metric::MemoryUsage).unwrap().backend(), "cgroup1");
}

#[test]
fn where_no_tree_has_a_file_for_it_no_limit_is_set() {
    assert_eq!(fake(&["v2"], &[]).sample().get(Metric::MemoryLimit), Some(Ok(NO_LIMIT)));
    assert_eq!(fake(&[], &[]).sample().get(Metric::MemoryLimit), None);
}

#[test]
fn a_missing_file_is_absent_with_its_name_and_found_when_it_comes() {
    let mut fake = fake(&["v2"], &[]);
    let first = fake.sample();
    assert!(cause(&first, Metric::MemoryUsage).starts_with("memory.current: not there"));
    std::fs::write(fake.dir.path().join("v2/top/own/memory.current"), "1\n").unwrap();
    let found = (0..=RETRY).map(|_| fake.sample()).find(|values| values.get(Metric::MemoryUsage) == Some(Ok(1)));
    assert!(found.is_some());
}

#[test]
fn garbage_costs_its_own_number_alone() {
    let mut fake =
        fake(&["v2"], &[("v2/top/own/cpu.stat", "usage_usec soon\nuser_usec 4\n"), ("v2/top/own/memory.current", "")]);
    std::fs::write(fake.dir.path().join("v2/top/own/memory.stat"), b"\xff\xfe\0").unwrap();
    let values = fake.sample();
    assert_eq!(cause(&values, Metric::CpuUsage), "cpu.stat has something else where a number should be");
    assert_eq!(values.get(Metric::CpuUser), Some(Ok(4_000)));
    assert_eq!(cause(&values, Metric::MemoryUsage), "memory.current is empty");
    assert_eq!(cause(&values, Metric::MemoryAnon), "memory.stat has no `anon`");
}

#[test]
fn a_file_whose_other_numbers_a_better_origin_gave_is_not_read_for_one_that_it_lacks() {
    let mut fake = fake(&["v2"], &[("v2/top/own/cpu.stat", "usage_usec 7\nuser_usec 4\nsystem_usec 3\n")]);
    let served = |fake: &mut Fake| {
        let mut into = Snapshot::new(Stamp { mono: Duration::ZERO, wall: SystemTime::UNIX_EPOCH });
        let cgroup = into.cgroups.entry(CgroupId(1)).or_default();
        cgroup.identity = Arc::clone(&fake.identity);
        for metric in [Metric::CpuUsage, Metric::CpuUser, Metric::CpuSystem] {
            cgroup.values.put(metric, 0, 9);
        }
        fake.source.sample(&mut into).unwrap();
        into.cgroups.remove(&CgroupId(1)).unwrap().values
    };
    let lacking = |values: &Values| cause(values, Metric::CpuThrottled);
    assert_eq!(lacking(&served(&mut fake)), "cpu.stat has no `nr_throttled`");
    std::fs::write(fake.dir.path().join("v2/top/own/cpu.stat"), "nr_throttled 5\n").unwrap();
    assert_eq!(lacking(&served(&mut fake)), "cpu.stat has no `nr_throttled`", "it was read again");
    let found = (0..=RETRY).find_map(|_| served(&mut fake).get(Metric::CpuThrottled)?.ok());
    assert_eq!(found, Some(5), "the controller was switched on");
}

#[test]
fn a_huge_file_is_refused() {
    let mut fake = fake(&["v2"], &[]);
    std::fs::write(fake.dir.path().join("v2/top/own/memory.current"), vec![b'1'; file::LONGEST * 2]).unwrap();
    assert!(cause(&fake.sample(), Metric::MemoryUsage).contains("memory.current"));
}

#[test]
fn a_directory_that_is_found_later_is_read() {
    let mut fake = fake(&["v2", "memory"], &[("memory/top/own/memory.usage_in_bytes", "7\n")]);
    let whole = Arc::clone(&fake.identity);
    fake.identity = Arc::new(Identity { v1: Default::default(), ..Identity::clone(&whole) });
    assert!(fake.sample().get(Metric::MemoryUsage).unwrap().is_err());
    fake.identity = whole;
    assert_eq!(fake.sample().get(Metric::MemoryUsage), Some(Ok(7)));
    fake.identity = Arc::new(Identity { name: "other".into(), ..Identity::clone(&fake.identity) });
    let room = fake.source.context.room;
    assert_eq!(fake.sample().get(Metric::MemoryUsage), Some(Ok(7)));
    assert_eq!(fake.source.context.room, room, "a new name opens nothing anew");
}

#[test]
fn a_lasting_cause_is_made_once() {
    let mut fake = fake(&["v2"], &[]);
    let address = |values: &Values| {
        std::ptr::from_ref(values.get(Metric::MemoryUsage).unwrap().unwrap_err().as_str()).cast::<u8>()
    };
    let (first, second) = (fake.sample(), fake.sample());
    assert_eq!(address(&first), address(&second));
}

#[test]
fn descriptors_of_a_cgroup_that_left_are_closed() {
    let mut fake = fake(&["v2"], &[("v2/top/own/memory.current", "1\n")]);
    fake.sample();
    assert_eq!(fake.source.open.len(), 1);
    fake.source.sample(&mut Snapshot::new(Stamp { mono: Duration::ZERO, wall: SystemTime::UNIX_EPOCH })).unwrap();
    assert!(fake.source.open.is_empty());
}

/// Kinds of memory with their values in the files of both versions below; the last four are in v2 alone.
const KINDS: [(Metric, u64); 9] = [
    (Metric::MemoryActiveFile, 101),
    (Metric::MemoryShmem, 102),
    (Metric::MemoryDirty, 103),
    (Metric::MemoryWriteback, 104),
    (Metric::MemoryRefaults, 110),
    (Metric::MemorySlabReclaimable, 106),
    (Metric::MemorySlabUnreclaimable, 107),
    (Metric::MemorySock, 108),
    (Metric::MemoryScanned, 109),
];

#[test]
fn the_kinds_of_memory_are_in_one_file_of_either_tree() {
    let v2 = "active_file 101\nshmem 102\nfile_dirty 103\nfile_writeback 104\nworkingset_refault_anon 50\n\
              workingset_refault_file 60\nslab_reclaimable 106\nslab_unreclaimable 107\nsock 108\npgscan 109\n\
              slab 99\nshmem_thp 99\npgscan_kswapd 99\nactive_anon 99\n";
    let values = fake(&["v2"], &[("v2/top/own/memory.stat", v2)]).sample();
    for (metric, value) in KINDS {
        assert_eq!(values.get(metric), Some(Ok(value)), "{metric:?}");
    }
    let v1 = "active_file 9\nshmem 9\ndirty 9\nwriteback 9\nworkingset_refault_anon 9\nworkingset_refault_file 9\n\
              total_active_file 101\ntotal_shmem 102\ntotal_dirty 103\ntotal_writeback 104\n\
              total_workingset_refault_anon 50\ntotal_workingset_refault_file 60\n";
    let values = fake(&["memory"], &[("memory/top/own/memory.stat", v1)]).sample();
    for (at, (metric, value)) in KINDS.into_iter().enumerate() {
        assert_eq!(values.get(metric), (at < 5).then_some(Ok(value)), "{metric:?}");
    }
}

#[test]
fn a_kernel_that_counts_a_part_of_the_refaults_alone_tells_none() {
    let stat = ("memory/top/own/memory.stat", "total_workingset_refault_file 60\n");
    let values = fake(&["memory"], &[stat]).sample();
    assert_eq!(cause(&values, Metric::MemoryRefaults), "memory.stat has no `total_workingset_refault_anon`");
}

#[test]
fn what_exceeded_a_limit_and_what_exceeded_the_mark_below_it_are_two_numbers() {
    let events = [("v2/top/own/memory.events", "low 1\nhigh 2\nmax 3\noom 4\noom_kill 5\n")];
    let values = fake(&["v2"], &events).sample();
    let read = [Metric::MemoryHighHits, Metric::MemoryLimitHits, Metric::OomKills].map(|metric| values.get(metric));
    assert_eq!(read, [2, 3, 5].map(|count| Some(Ok(count))));
    let values = fake(&["memory"], &[("memory/top/own/memory.failcnt", "7\n")]).sample();
    assert_eq!((values.get(Metric::MemoryLimitHits), values.get(Metric::MemoryHighHits)), (Some(Ok(7)), None));
}

#[test]
fn the_root_of_a_v1_tree_is_not_asked_for_the_machines_memory() {
    let files = [
        ("memory/top/own/memory.usage_in_bytes", "9000\n"),
        ("memory/top/own/memory.stat", "total_cache 8000\ntotal_inactive_file 7000\n"),
    ];
    let mut fake = fake(&["memory"], &files);
    fake.identity = Arc::new(Identity { is_root: true, ..Identity::clone(&fake.identity) });
    let values = fake.sample();
    for metric in [Metric::MemoryUsage, Metric::MemoryFile, Metric::MemoryInactiveFile, Metric::OomKills] {
        assert_eq!(values.get(metric), None, "{metric:?}");
    }
}

#[test]
fn at_the_root_of_a_tree_the_numbers_are_the_machines_and_not_the_containers() {
    let usage = [("memory/top/own/memory.usage_in_bytes", "7\n"), ("memory/top/own/release_agent", "\n")];
    let values = fake(&["memory"], &usage).sample();
    assert!(cause(&values, Metric::MemoryUsage).contains("at the root of this cgroup tree"));
    assert_eq!(fake(&["memory"], &usage[..1]).sample().get(Metric::MemoryUsage), Some(Ok(7)));
}

#[test]
fn a_controller_that_is_switched_off_and_on_again_is_read_at_once() {
    let mut fake = fake(&["v2"], &[("v2/top/own/pids.current", "7\n")]);
    fake.source = CgroupFiles::new(0, Path::new("/nonexistent"));
    let file = fake.dir.path().join("v2/top/own/pids.current");
    let mut threads = || fake.sample().get(Metric::Threads).and_then(Result::ok);
    assert_eq!(threads(), Some(7));
    std::fs::remove_file(&file).unwrap();
    assert_eq!([threads(), threads()], [None, None]);
    std::fs::write(&file, "8\n").unwrap();
    assert_eq!(threads(), Some(8));
}
