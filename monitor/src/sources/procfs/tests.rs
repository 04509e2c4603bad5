use std::time::SystemTime;

use super::*;
use crate::snapshot::{CgroupId, Stamp, Values};

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
        ("proc/9/stat", &stat("ended", 1, 50).replace(") S", ") Z")),
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
        assert!(values.get(metric).unwrap().unwrap_err().as_str().contains("another pid namespace"));
    }
}

#[test]
fn a_sum_without_hidden_processes_is_none_and_names_the_option_that_hides_them() {
    for (options, told) in
        [("rw,hidepid=2", "hidepid=2"), ("rw,hidepid=invisible", "hidepid=invisible"), ("rw", "another")]
    {
        let (dir, roots) =
            proc(&[("cg/cgroup.procs", "7\n8\n"), ("proc/7/stat", &stat("seen", 1, 40)), ("proc/self/mountinfo", "")]);
        let mount = format!("1 2 0:5 / {} rw - proc proc {options}\n", roots.proc.display());
        fs::write(roots.proc.join("self/mountinfo"), mount).unwrap();
        let into = sample(&roots, Identity { v2: Some(dir.path().join("cg")), ..Identity::default() });
        let values = &into.cgroups[&CgroupId(1)].values;
        for metric in [Metric::ProcessCount, Metric::Threads, Metric::FileDescriptors, Metric::Uptime] {
            let cause = values.get(metric).unwrap().unwrap_err().to_string();
            assert!(cause.contains(told), "{metric:?}: {cause}");
        }
    }
}

#[test]
fn processes_of_another_pid_namespace_are_not_none() {
    let (dir, roots) = proc(&[("cg/cgroup.procs", "0\n0\n")]);
    let into = sample(&roots, Identity { v2: Some(dir.path().join("cg")), ..Identity::default() });
    let cause = into.cgroups[&CgroupId(1)].values.get(Metric::ProcessCount).unwrap().unwrap_err();
    assert!(cause.as_str().contains("pid namespace"), "{cause}");
}

#[test]
fn a_process_whose_first_thread_has_ended_counts_with_its_descriptors() {
    let (dir, roots) = proc(&[
        ("cg/cgroup.procs", "7\n"),
        ("proc/7/stat", &stat("a", 3, 40).replace(") S", ") Z")),
        ("proc/7/task/7/stat", &stat("a", 3, 40).replace(") S", ") Z")),
        ("proc/7/task/8/stat", &stat("a", 3, 40)),
        ("proc/7/task/8/fd/0", ""),
        ("proc/7/task/8/fd/1", ""),
    ]);
    let into = sample(&roots, Identity { v2: Some(dir.path().join("cg")), ..Identity::default() });
    let values = &into.cgroups[&CgroupId(1)].values;
    let read = [Metric::ProcessCount, Metric::Threads, Metric::FileDescriptors].map(|metric| values.get(metric));
    assert_eq!(read, [Some(Ok(1)), Some(Ok(2)), Some(Ok(2))]);
}

const DEVICES: &str = "Inter-| \n face |bytes\n    lo: 100 1 0 0 0 0 0 0 100 1 0 0 0 0 0 0\n";

/// One sample of scope `host`: the machine, and two containers with the processes 42 and 43.
fn traffic(procfs: &mut Procfs, dir: &Path) -> Vec<Result<u64, String>> {
    let mut into = Snapshot::new(Stamp { mono: Duration::from_secs(100), wall: SystemTime::UNIX_EPOCH });
    into.scope = Scope::Host;
    for (id, name) in [(1, "a"), (2, "b")] {
        let identity = Identity { v2: Some(dir.join(name)), ..Identity::default() };
        into.cgroups.entry(CgroupId(id)).or_default().identity = identity.into();
    }
    procfs.sample(&mut into).unwrap();
    let values = &into.cgroups[&CgroupId(1)].values;
    [
        Metric::NetworkRxBytes,
        Metric::NetworkTxBytes,
        Metric::NetworkRxPackets,
        Metric::NetworkTxPackets,
        Metric::NetworkSharers,
    ]
    .map(|metric| values.get(metric).map_or(Err("unset".to_owned()), |read| read.map_err(ToString::to_string)))
    .into()
}

/// Two containers; the namespaces of their processes and of the machine are links to these files.
fn world(files: &[(&str, &str)], namespaces: &[(&str, &str)]) -> (tempfile::TempDir, Roots) {
    let (dir, roots) = proc(files);
    for (file, text) in [("a/cgroup.procs", "42\n"), ("b/cgroup.procs", "43\n")] {
        fs::create_dir_all(dir.path().join(file).parent().unwrap()).unwrap();
        fs::write(dir.path().join(file), text).unwrap();
    }
    for pid in ["42", "43"] {
        fs::create_dir_all(roots.proc.join(pid)).unwrap();
        fs::write(roots.proc.join(pid).join("stat"), stat("a", 1, 1)).unwrap();
    }
    for (pid, namespace) in namespaces {
        let namespace = dir.path().join(namespace);
        fs::write(&namespace, "").unwrap();
        fs::create_dir_all(roots.proc.join(pid).join("ns")).unwrap();
        std::os::unix::fs::symlink(&namespace, roots.proc.join(pid).join("ns/net")).unwrap();
    }
    (dir, roots)
}

#[test]
fn traffic_by_interfaces_never_falls_when_one_of_them_goes() {
    let both = format!("{DEVICES} eth0: 10 1 0 0 0 0 0 0 20 2 0 0 0 0 0 0\n eth1: 5 1 0 0 0 0 0 0 7 1 0 0 0 0 0 0\n");
    let (dir, roots) = world(&[("proc/42/net/dev", &both)], &[("1", "host"), ("42", "own"), ("43", "own")]);
    let mut procfs = Procfs::new(&roots);
    assert_eq!(traffic(&mut procfs, dir.path())[..4], [Ok(15), Ok(27), Ok(2), Ok(3)]);
    let one = format!("{DEVICES} eth0: 11 1 0 0 0 0 0 0 20 2 0 0 0 0 0 0\n");
    fs::write(roots.proc.join("42/net/dev"), one).unwrap();
    assert_eq!(traffic(&mut procfs, dir.path())[..4], [Ok(16), Ok(27), Ok(2), Ok(3)]);
    fs::write(roots.proc.join("42/net/dev"), both.replace("eth0: 10", "eth0: 11")).unwrap();
    assert_eq!(traffic(&mut procfs, dir.path())[..4], [Ok(21), Ok(34), Ok(3), Ok(4)], "created anew");
}

#[test]
fn traffic_is_what_the_protocols_counted_less_loopback_once_whatever_interfaces_it_passed() {
    let devices =
        format!("{DEVICES} eth0: 10 1 0 0 0 0 0 0 20 2 0 0 0 0 0 0\n br0: 10 1 0 0 0 0 0 0 20 2 0 0 0 0 0 0\n");
    let files = [
        ("proc/42/net/dev", devices.as_str()),
        ("proc/42/net/netstat", "IpExt: InOctets OutOctets\nIpExt: 1100 2100\n"),
        ("proc/42/net/snmp", "Ip: InReceives OutRequests OutTransmits\nIp: 11 99 21\n"),
        ("proc/42/net/snmp6", "Ip6InReceives 1\nIp6InOctets 50\nIp6OutRequests 2\nIp6OutOctets 60\n"),
    ];
    let (dir, roots) = world(&files, &[("1", "host"), ("42", "own"), ("43", "own")]);
    let mut procfs = Procfs::new(&roots);
    assert_eq!(traffic(&mut procfs, dir.path()), [Ok(1050), Ok(2060), Ok(11), Ok(22), Ok(1)]);
    fs::write(roots.proc.join("42/net/dev"), devices.replace("lo: 100 1", "lo: 120 2")).unwrap();
    assert_eq!(traffic(&mut procfs, dir.path())[..4], [Ok(1050), Ok(2060), Ok(11), Ok(22)], "loopback was read later");
}

#[test]
fn the_machines_network_is_told_from_others_or_nothing_is_told() {
    let eth0 = format!("{DEVICES} eth0: 10 1 0 0 0 0 0 0 20 2 0 0 0 0 0 0\n");
    let files = [("proc/42/net/dev", eth0.as_str()), ("proc/43/net/dev", eth0.as_str())];
    let first = |namespaces: &[(&str, &str)], is_first: bool| {
        let (dir, roots) = world(&files, namespaces);
        if is_first {
            fs::create_dir_all(roots.proc.join("sys/net/core")).unwrap();
            fs::write(roots.proc.join("sys/net/core/netdev_max_backlog"), "1000\n").unwrap();
        }
        let read = traffic(&mut Procfs::new(&roots), dir.path());
        (read[0].clone(), read[4].clone())
    };
    assert_eq!(first(&[("1", "host"), ("42", "own"), ("43", "other")], false), (Ok(10), Ok(1)));
    assert_eq!(first(&[("1", "host"), ("42", "own"), ("43", "own")], false), (Ok(10), Ok(2)), "a pod");
    let shared = first(&[("1", "host"), ("42", "host"), ("43", "own")], false).0.unwrap_err();
    assert!(shared.contains("shares the machine's network"), "{shared}");
    let unknown = first(&[("42", "own"), ("43", "own")], false).0.unwrap_err();
    assert!(unknown.contains("/1/ns/net") && unknown.contains("CAP_SYS_PTRACE"), "{unknown}");
    assert_eq!(first(&[("self", "host"), ("42", "own")], true).0, Ok(10), "the agent is in the machine's namespace");
}

#[test]
fn an_unknown_number_of_containers_in_a_network_namespace_has_a_cause() {
    let (_dir, roots) = proc(&[("proc/self/net/dev", DEVICES)]);
    let cause = |into: &Snapshot| {
        let shared = into.cgroups[&CgroupId(1)].values.get(Metric::NetworkSharers);
        shared.expect("it has been looked for").unwrap_err().to_string()
    };
    let mut into = sample(&roots, Identity::default());
    assert!(cause(&into).contains("only an agent of scope host"), "{}", cause(&into));
    let values = &mut into.cgroups.get_mut(&CgroupId(1)).unwrap().values;
    *values = Values::default();
    for metric in Metric::ALL.iter().copied().filter(|metric| metric.spec().origins().len() > 1) {
        values.put(metric, 0, 0);
    }
    Procfs::new(&roots).sample(&mut into).unwrap();
    assert!(cause(&into).contains("eBPF counts"), "{}", cause(&into));
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
                SwapTotal: 9 kB\nSwapFree: 4 kB\nActive: 99 kB\nActive(file): 11 kB\nDirty: 12 kB\nWriteback: 13 kB\n\
                Shmem: 14 kB\nSlab: 99 kB\nSReclaimable: 15 kB\nSUnreclaim: 16 kB\nWritebackTmp: 99 kB\n";
    let events = "nr_free_pages 9\noom_kill 3\npgscan_kswapd 900\npgscan_direct 90\npgscan_anon 4\npgscan_file 5\n\
                  workingset_refault_anon 6\nworkingset_refault_file 7\n";
    let (dir, roots) = proc(&[("proc/meminfo", text), ("proc/vmstat", events)]);
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
            (Metric::MemoryActiveFile, 11),
            (Metric::MemoryDirty, 12),
            (Metric::MemoryWriteback, 13),
            (Metric::MemoryShmem, 14),
            (Metric::MemorySlabReclaimable, 15),
            (Metric::MemorySlabUnreclaimable, 16),
        ] {
            assert_eq!(values.get(metric), Some(Ok(kib * 1024)), "{metric:?}");
        }
        for (metric, count) in [(Metric::OomKills, 3), (Metric::MemoryScanned, 9), (Metric::MemoryRefaults, 13)] {
            assert_eq!(values.get(metric), Some(Ok(count)), "{metric:?}");
        }
        for metric in [Metric::MemoryPeak, Metric::MemorySock, Metric::MemoryHighHits] {
            assert!(values.get(metric).unwrap().unwrap_err().as_str().contains("whole machine"), "{metric:?}");
        }
    }
}
