use std::time::SystemTime;

use super::*;
use crate::snapshot::{CgroupId, Stamp};

fn proc(files: &[(&str, &str)]) -> (tempfile::TempDir, Roots) {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let roots = Roots { cgroup: None, proc: dir.path().join("proc"), sys: dir.path().join("sys") };
    (dir, roots)
}

fn sample(roots: &Roots, identity: Identity) -> Snapshot {
    let mut into = Snapshot::new(Stamp { mono: Duration::from_secs(100), wall: SystemTime::UNIX_EPOCH });
    into.cgroups.entry(CgroupId(1)).or_default().identity = identity.into();
    Procfs::new(roots).sample(&mut into).unwrap();
    into
}

fn stat(comm: &str, threads: u64, seconds: u64) -> String {
    format!(
        "7 ({comm}) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 {threads} 0 {} 0 0",
        seconds * rustix::param::clock_ticks_per_second()
    )
}

#[test]
fn the_members_of_a_cgroup_and_of_those_below_are_counted_once() {
    let (dir, roots) = proc(&[
        ("cg/cgroup.procs", "7\n8\n"),
        ("cg/inner/cgroup.procs", "8\n9\n0\n"),
        ("proc/7/stat", &stat("a b) S (", 2, 40)),
        ("proc/8/stat", &stat("x", 3, 50)),
        (
            "proc/7/limits",
            "Limit Soft Limit Hard Limit Units\nMax open files            4                    8                    files\n",
        ),
        ("proc/7/fd/0", ""),
        ("proc/8/fd/0", ""),
        ("proc/10/stat", &stat("other", 9, 1)),
    ]);
    let into = sample(&roots, Identity { v2: Some(dir.path().join("cg")), ..Identity::default() });
    let values = &into.cgroups[&CgroupId(1)].values;
    assert_eq!(values.get(Metric::ProcessCount), Some(Ok(2)), "9 has ended, 10 is another's");
    assert_eq!(values.get(Metric::Threads), Some(Ok(5)));
    assert_eq!(values.get(Metric::Uptime), Some(Ok(60)));
    assert_eq!(values.get(Metric::FileDescriptors), Some(Ok(2)));
    assert_eq!(values.get(Metric::DescriptorsNearest), Some(Ok(2_500)));
}

#[test]
fn where_no_process_is_visible_nothing_is_counted_as_zero() {
    let (dir, roots) = proc(&[("cg/cgroup.procs", "7\n")]);
    let into = sample(&roots, Identity { v2: Some(dir.path().join("cg")), ..Identity::default() });
    let values = &into.cgroups[&CgroupId(1)].values;
    for metric in [Metric::ProcessCount, Metric::FileDescriptors, Metric::Uptime] {
        assert!(values.get(metric).unwrap().unwrap_err().as_str().contains("hidepid"));
    }
}

#[test]
fn the_machine_is_read_and_its_missing_files_are_named() {
    let (_dir, roots) =
        proc(&[("proc/meminfo", "MemTotal: 4 kB\nMemAvailable: 1 kB\n"), ("sys/devices/system/cpu/online", "0-3\n")]);
    let host = sample(&roots, Identity::default()).host.values;
    assert_eq!(host.get(Metric::MachineMemory), Some(Ok(4096)));
    assert_eq!(host.get(Metric::MachineCpus), Some(Ok(4)));
    assert!(host.get(Metric::Load1).unwrap().unwrap_err().as_str().contains("loadavg"));
}

#[test]
fn without_proc_everything_is_absent_with_a_cause() {
    let roots = Roots { cgroup: None, proc: "/nonexistent".into(), sys: "/nonexistent".into() };
    let into = sample(&roots, Identity::default());
    let values = &into.cgroups[&CgroupId(1)].values;
    assert!(values.get(Metric::ProcessCount).unwrap().is_err());
    assert!(values.get(Metric::NetworkRxBytes).unwrap().is_err());
}

#[test]
fn this_process_is_seen_as_the_kernel_sees_it() {
    let roots = Roots::default();
    let mut procfs = Procfs::new(&roots);
    procfs.own_pid_namespace = true;
    let tasks =
        procfs.tasks(CgroupId(1), &mut Cgroup::default(), Scope::SelfContainer, Duration::from_secs(u32::MAX.into()));
    assert!(tasks.processes.unwrap() >= 1);
    let open = procfs.descriptors(Path::new("/proc/self")).unwrap();
    let listed = fs::read_dir("/proc/self/fd").unwrap().count() as u64;
    assert!(open.abs_diff(listed) <= 8, "{open} {listed}: other tests open files meanwhile");
}

#[test]
fn the_machines_memory_is_the_same_whatever_tree_it_has() {
    let text = "MemTotal: 100 kB\nMemAvailable: 60 kB\nBuffers: 1 kB\nCached: 30 kB\nSwapCached: 2 kB\nAnonPages: 25 kB\n\
                SwapTotal: 9 kB\nSwapFree: 4 kB\n";
    let (dir, roots) = proc(&[("proc/meminfo", text), ("proc/vmstat", "nr_free_pages 9\noom_kill 3\n")]);
    for (v2, v1) in [(true, false), (false, true), (true, true)] {
        let v2 = v2.then(|| dir.path().join("v2"));
        let v1 = v1.then(|| ("memory".to_owned(), dir.path().join("memory"))).into_iter().collect();
        let into = sample(&roots, Identity { v2, v1, is_root: true, ..Identity::default() });
        let values = &into.cgroups[&CgroupId(1)].values;
        for (metric, kib) in [
            (Metric::MemoryUsage, 40),
            (Metric::MemoryInactiveFile, 0),
            (Metric::MemoryAnon, 25),
            (Metric::MemoryFile, 33),
            (Metric::MemorySwap, 5),
        ] {
            assert_eq!(values.get(metric), Some(Ok(kib * 1024)), "{metric:?}");
        }
        assert_eq!(values.get(Metric::OomKills), Some(Ok(3)));
        assert!(values.get(Metric::MemoryPeak).unwrap().is_err());
    }
}
