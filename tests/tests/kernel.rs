//! Known loads in real control groups of this machine, and the agent's numbers of them.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::time::{Duration, Instant, SystemTime};

use monitor::metrics::Metric;
use monitor::preflight::EbpfMode;
use monitor::programs::State;
use monitor::report::Container;
use tests::cgroup::Group;
use tests::kinds::{agreed, is_v2};
use tests::oracle::Judged;
use tests::valkey::Valkey;
use tests::watched::{Load, Outside, SOCKET, TIMEOUT, Watched, real, whole};
use tests::{eventually, needs_ebpf, skip, watch};

/// Makes a group without an agent in it, or skips the test.
macro_rules! group {
    ($name:literal) => {{
        if !tests::is_root() {
            skip!("control groups take root");
        }
        let Some(group) = Group::new($name) else { skip!("no control group can be made here") };
        group
    }};
}

#[test]
fn a_burner_at_a_quarter_cpu_reads_100_percent_and_is_throttled() {
    // The quota is refilled every 100 ms: the interval covers many periods, so that one more or less does not matter.
    let watched = watch!("quarter", |group| group.limit_cpu(250), "2s");
    let _load = watched.load(&["burn", "60000"]);
    // On a busy machine it gets its whole quota in some interval.
    let full = |report: &Judged| {
        let [cores, throttled] = ["usage_cores", "throttled_percent"].map(|field| real(report, "cpu", field));
        report.number("cpu_percent") >= Some(97.0) && (0.2425..0.2575).contains(&cores) && throttled > 50.0
    };
    let report = eventually(2 * TIMEOUT, || Some(watched.report()).filter(full)).expect("never the whole allowance");
    assert!((real(&report, "cpu", "limit_cores") - 0.25).abs() < 1e-6);
    assert!(
        eventually(TIMEOUT, || watched
            .entries()
            .iter()
            .any(|entry| entry.level == "WARN" && entry.message.contains("throttled"))
            .then_some(()))
        .is_some()
    );
}

#[test]
fn a_load_at_half_of_its_allowance_reads_50_percent() {
    // The interval covers many of the load's own periods, so that one more or less does not matter.
    let watched = watch!("half", |group| group.limit_cpu(500), "1s");
    let load = watched.load(&["duty", "250", "60000"]);
    // The CPU time that a busy or emulated machine really gives the load.
    let began = Instant::now();
    let mut charged = Vec::new();
    while began.elapsed() < Duration::from_secs(8) {
        charged.push((SystemTime::now(), load.cpu() + watched.cpu_of_the_agent()));
        std::thread::sleep(Duration::from_millis(10));
    }
    let charged_at = |at: SystemTime| charged.iter().rfind(|(then, _)| *then <= at).map(|(_, cpu)| *cpu);
    let taken = |report: &Judged| humantime::parse_rfc3339(&report.timestamp).unwrap();
    let mut reports = watched.history();
    reports.retain(|report| charged_at(taken(report)).is_some() && taken(report) <= charged.last().unwrap().0);
    let [first, others @ ..] = &reports[..] else { panic!("no report") };
    let last = others.last().expect("one report only");
    let interval = |report: &Judged| report.json["interval_seconds"].as_f64().unwrap();
    let seconds: f64 = others.iter().map(interval).sum();
    let used: f64 = others.iter().map(|report| report.number("cpu_percent").unwrap() * interval(report)).sum();
    let given = charged_at(taken(last)).unwrap() - charged_at(taken(first)).unwrap();
    let (percent, given) = (used / seconds, given.as_secs_f64() / seconds / 0.5 * 100.0);
    assert!((percent - given).abs() < 5.0 && given > 10.0, "{percent} of {given}");
    let report = watched.report();
    let of_cores = real(&report, "cpu", "usage_cores") / 0.5 * 100.0;
    assert!((of_cores - report.number("cpu_percent").unwrap()).abs() < 0.1, "{}", report.json);
}

/// CPU time of one load in nanoseconds: by its own account, and by the growth of the group's counters.
struct Charged {
    /// CPU time of the load when its program began, when it was already in the group.
    at_start: u64,
    /// Its total CPU time, before and after the counters were read. It sleeps, or is about to.
    in_all: [u64; 2],
    /// The part of its CPU time in user mode.
    outside_the_kernel: u64,
    usage: u64,
    user: u64,
}

impl Charged {
    fn to(group: &Group, outside: &mut Outside) -> Self {
        let mut counters = || [Metric::CpuUsage, Metric::CpuUser].map(|metric| outside.counter(metric));
        let before = counters();
        let mut load = Load::start(group, &["spend", "400"]);
        let said: Vec<u64> = load.done().iter().map(|line| line.parse().unwrap()).collect();
        let [at_start, outside_the_kernel] = said[..] else { panic!("{said:?}") };
        let asleep = eventually(TIMEOUT, || load.sleeps().then(|| load.cpu())).expect("the load never sleeps");
        let after = counters();
        let in_all = [asleep, load.cpu()].map(|cpu| cpu.as_nanos().try_into().unwrap());
        Self { at_start, in_all, outside_the_kernel, usage: after[0] - before[0], user: after[1] - before[1] }
    }
}

#[test]
fn cpu_time_is_what_the_process_itself_was_charged() {
    // The kernel reports a group's time in whole microseconds.
    const ROUNDING: u64 = 2_000;
    let group = group!("spent");
    let mut outside = Outside::files(&group);
    assert_eq!(outside.counter(Metric::CpuUsage), 0);
    let mut measured = Vec::new();
    // User time is only an estimate, and the estimates differ if an emulated machine was paused in between.
    let estimates_agree = (0..10).any(|_| {
        let charged = Charged::to(&group, &mut outside);
        let Charged { at_start, in_all, outside_the_kernel, usage, user } = charged;
        let range = in_all[0] - at_start - ROUNDING..=in_all[1] + ROUNDING;
        assert!(range.contains(&usage), "{usage} is not in {range:?}");
        measured.push((user, outside_the_kernel));
        user.abs_diff(outside_the_kernel) < 50_000_000 && user > 0
    });
    assert!(estimates_agree, "{measured:?}");
    let user = outside.counter(Metric::CpuUser);
    let usage = outside.counter(Metric::CpuUsage);
    assert!(user <= usage, "{user} {usage}");
}

#[test]
fn processes_threads_programs_and_ends_are_counted_to_the_one() {
    let watched = watch!("processes");
    needs_ebpf!(watched, "processes.forks", "processes.execs", "processes.exits");
    let count =
        |report: &Judged| ["forks", "thread_starts", "execs", "exits"].map(|field| whole(report, "processes", field));
    // Forks, threads, execs and exits of the load itself: it is started from outside, execs once, and does not end.
    for (load, expected) in [
        (vec!["idle"], [0, 0, 1, 0]),
        (vec!["fork", "40"], [40, 0, 1, 40]),
        (vec!["threads", "30"], [0, 30, 1, 0]),
        (vec!["exec", "25"], [25, 0, 26, 25]),
        (vec!["exec-in-thread", "20"], [20, 20, 21, 20]),
        (vec!["exit-together", "50", "8"], [50, 400, 1, 50]),
    ] {
        let before = count(&watched.report());
        let mut running = watched.load(&load);
        running.done();
        let after = count(&watched.report());
        let grown = [0, 1, 2, 3].map(|at| after[at] - before[at]);
        assert_eq!(grown, expected, "{load:?}: forks, threads, execs, exits");
        drop(running);
    }
}

#[test]
fn events_of_child_groups_are_counted_and_those_of_others_are_not() {
    let watched = watch!("family");
    let before = whole(&needs_ebpf!(watched, "processes.execs"), "processes", "execs");
    let child = watched.group.child("inner");
    Load::start(&child, &["exec", "5"]).done();
    let Some(stranger) = Group::new("stranger") else { skip!("no control group can be made here") };
    Load::start(&stranger, &["exec", "50"]).done();
    assert_eq!(whole(&watched.report(), "processes", "execs") - before, 6);
}

#[test]
fn an_oom_kill_is_counted_once_and_logged_as_an_error() {
    let watched = watch!("oom", |group| group.limit_memory(48 << 20));
    watched.spare_the_agent();
    assert_eq!(whole(&watched.report(), "memory", "oom_kills"), 0);
    let _hog = watched.load(&["hog", "268435456"]);
    // One as a rule: if memory is reclaimed slowly, the kernel also kills the next largest process.
    let kills = || Some(watched.group.oom_kills()).filter(|kills| *kills > 0);
    let least = eventually(TIMEOUT, kills).expect("the hog lives");
    let reported = whole(&watched.report(), "memory", "oom_kills");
    assert!((least..=kills().unwrap()).contains(&reported), "{least} or more, not {reported}");
    let error = || watched.entries().into_iter().find(|entry| entry.level == "ERROR");
    let entry = eventually(TIMEOUT, error).expect("no ERROR entry");
    assert!(entry.message.contains("killed 1 process, 1 in all") || reported > 1, "{entry:?}");
}

#[test]
fn the_kernels_programs_count_the_same_kills_as_its_files() {
    let group = group!("kills");
    group.limit_memory(48 << 20);
    let (mut files, mut ebpf) = (Outside::files(&group), Outside::ebpf(&group, EbpfMode::Auto));
    if let Some(program) = ebpf.programs.iter().find(|program| matches!(program.state, State::Refused(_))) {
        skip!("{program:?}");
    }
    for kills in 1..=3 {
        // A process with several threads, all of which are killed.
        Load::start(&group, &["hog", "268435456", "4"]).done();
        assert_eq!((files.counter(Metric::OomKills), ebpf.counter(Metric::OomKills)), (kills, kills));
    }
    // The hogs, and the loads that started them.
    assert_eq!((ebpf.counter(Metric::Forks), ebpf.counter(Metric::ThreadStarts)), (3, 12));
}

#[test]
fn processes_and_descriptors_are_counted_to_the_one() {
    let watched = watch!("descriptors");
    let before = watched.report();
    let mut load = watched.load(&["open", "100"]);
    load.done();
    let after = watched.report();
    let grown = |field: &str| after.number(field).unwrap() - before.number(field).unwrap();
    let open = std::fs::read_dir(format!("/proc/{}/fd", load.pid())).unwrap().count() as f64;
    assert!(open >= 103.0, "standard input, output and error besides the hundred: {open}");
    assert_eq!((grown("process_count"), grown("file_descriptors")), (1.0, open));
}

#[test]
fn the_smallest_memory_limit_on_the_way_up_counts() {
    if !tests::is_root() {
        skip!("control groups take root");
    }
    let Some(outer) = Group::new("limits") else { skip!("no control group can be made here") };
    let Some(valkey) = Valkey::start(SOCKET) else { skip!("valkey-server is not installed") };
    outer.limit_memory(200 << 20);
    let inner = outer.child("inner");
    inner.limit_memory(300 << 20);
    let watched = Watched::start("limits", inner, valkey, "200ms");
    let report = watched.report();
    assert_eq!(whole(&report, "memory", "limit_bytes"), 200 << 20);
    let (used, percent) = (report.number("memory_usage_bytes").unwrap(), report.number("memory_percent").unwrap());
    assert!((used / f64::from(200 << 20) * 100.0 - percent).abs() < 0.01, "{used} {percent}");
    drop(watched);
    drop(outer);
}

#[test]
fn limits_of_the_level_above_come_with_that_level_and_with_what_it_uses() {
    const HELD: u32 = 20 << 20;
    let outer = group!("levels");
    outer.limit_cpu(500);
    outer.limit_memory(200 << 20);
    let inner = outer.child("inner");
    let mut outside = Outside::files(&inner);
    let mut load = Load::start(&inner, &["hold", &HELD.to_string()]);
    load.done();
    let look = outside.look();
    let number = |metric| look.real(metric).unwrap();
    assert_eq!([Metric::CpuLimitLevel, Metric::MemoryLimitLevel].map(number), [1.0, 1.0]);
    assert!(number(Metric::MemoryLevelUsage) >= f64::from(HELD), "{}", number(Metric::MemoryLevelUsage));
}

#[test]
fn shared_memory_is_told_from_other_page_cache_with_that_of_groups_below() {
    const SHARED: u64 = 16 << 20;
    let group = group!("shared");
    let mut files = Outside::files(&group);
    let before = agreed(&group, &mut files)[&Metric::MemoryShmem];
    let inner = group.child("inner");
    let mut load = Load::start(&inner, &["share", &SHARED.to_string()]);
    load.done();
    let grown = agreed(&group, &mut files)[&Metric::MemoryShmem] - before;
    // Older kernels add up to 32 pages of each processor late.
    assert!(grown.abs_diff(SHARED) < 1 << 20, "{grown}");
}

#[test]
fn memory_of_the_kernel_is_told_by_kind_in_v2_alone() {
    let group = group!("objects");
    let mut files = Outside::files(&group);
    let before = agreed(&group, &mut files);
    let directory = tempfile::tempdir().unwrap();
    let mut loads = [&["park", "12"][..], &["name", directory.path().to_str().unwrap(), "8000"], &["leave-unread"]]
        .map(|arguments| Load::start(&group, arguments));
    loads.iter_mut().for_each(|load| drop(load.done()));
    let after = agreed(&group, &mut files);
    // A name takes 192 bytes, a thread a page and more. Older kernels add up to 32 pages of each processor late.
    let least = [
        (Metric::MemorySlabReclaimable, 8000 * 128),
        (Metric::MemorySlabUnreclaimable, 12 * 4096),
        (Metric::MemorySock, 1 << 16),
    ];
    for (metric, least) in least {
        let grown = after.get(&metric).zip(before.get(&metric)).map(|(after, before)| after - before);
        assert_eq!(
            grown.is_some_and(|grown| (least..32 << 20).contains(&grown)),
            is_v2(&group),
            "{metric:?}: {grown:?}"
        );
        assert_eq!(grown.is_some(), is_v2(&group), "{metric:?}: {grown:?}");
    }
}

#[test]
fn the_smallest_limit_of_tasks_on_the_way_up_counts_and_threads_are_tasks() {
    let outer = group!("tasks");
    outer.limit_tasks(40);
    let inner = outer.child("inner");
    inner.limit_tasks(60);
    let mut outside = Outside::files(&inner);
    let mut load = Load::start(&inner, &["park", "12"]);
    load.done();
    assert_eq!(outside.counter(Metric::PidsLimit), 40);
    assert_eq!((outside.counter(Metric::Threads), outside.counter(Metric::ProcessCount)), (13, 1));
}

#[test]
fn a_frozen_group_is_paused_and_runs_again() {
    // The agent must not freeze with it.
    let group = group!("frozen");
    let mut outside = Outside::files(&group);
    let _load = Load::start(&group, &["idle"]);
    assert_eq!(outside.look().status.as_str(), "running");
    group.freeze(true);
    let paused = eventually(TIMEOUT, || (outside.look().status.as_str() == "paused").then_some(()));
    // Thawed before anything can fail: a frozen process cannot be ended.
    group.freeze(false);
    assert!(paused.is_some());
    assert!(eventually(TIMEOUT, || (outside.look().status.as_str() == "running").then_some(())).is_some());
}

#[test]
fn of_a_group_that_is_removed_nothing_is_left_but_causes() {
    let group = group!("removed");
    let mut outside = Outside::files(&group);
    let mut load = Load::start(&group, &["open", "3"]);
    load.done();
    // The interfaces are the reader's own, whatever happens to the group.
    let of_the_group = |metric: &&Metric| !metric.is_shared() && !metric.spec().name().starts_with("network");
    let before = outside.look();
    assert!(before.get(Metric::MemoryUsage).is_ok() && before.get(Metric::ProcessCount).is_ok());
    drop(load);
    drop(group);
    let after = outside.look();
    for metric in [Metric::MemoryUsage, Metric::ProcessCount, Metric::FileDescriptors, Metric::Uptime] {
        assert!(after.get(metric).unwrap_err().as_str().contains("has ended"), "{:?}", after.get(metric));
    }
    // Numbers that are not read at each tick stay known for some seconds.
    let mut after = after;
    let number = |after: &Container, metric: Metric| Some((metric, after.get(metric).ok()?));
    let numbers = |after: &Container| Metric::ALL.iter().filter(of_the_group).find_map(|metric| number(after, *metric));
    let gone = || {
        after = outside.look();
        numbers(&after).is_none().then_some(())
    };
    assert!(eventually(TIMEOUT, gone).is_some(), "{:?} is still there", numbers(&after));
}
