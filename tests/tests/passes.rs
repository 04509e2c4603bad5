//! Numbers of the BPF iterators against those of the files: each between two readings of the file, under load.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use monitor::assembly;
use monitor::containers::Roots;
use monitor::metrics::{CONTROLLER_ITERATOR, CPU_ITERATOR, MEMORY_ITERATOR, Metric, TASK_ITERATOR};
use monitor::preflight::EbpfMode;
use monitor::snapshot::{Cgroup, CgroupId, Identity, Place, Scope, Snapshot, Stamp};
use monitor::sources::Source;
use monitor::sources::bpf::{self, Bpf, Part};
use tests::cgroup::Group;
use tests::skip;
use tests::watched::{Load, Outside};

/// Makes a group with an iterator for it and its files, or skips the test.
macro_rules! pass {
    ($name:literal, $pass:expr) => {{
        if !tests::is_root() {
            skip!("control groups take root");
        }
        let Some(group) = Group::new($name) else { skip!("no control group can be made here") };
        let (files, pass) = (Outside::files(&group), Outside::ebpf(&group, EbpfMode::Auto));
        let state = &pass.programs.iter().find(|program| program.name == $pass).unwrap().state;
        if !state.is_attached() {
            skip!("{}: {state:?}", $pass);
        }
        (group, files, pass)
    }};
}

/// Number of comparisons.
const ROUNDS: usize = 60;

/// The largest difference of user and system time. They are estimates from ticks, which the kernel makes anew for each
/// reader.
const TICKS: u64 = 30_000_000;

#[test]
fn cpu_time_of_the_pass_lies_between_two_readings_of_the_file() {
    let (group, mut files, mut pass) = pass!("cpu-pass", CPU_ITERATOR);
    let _loads = [["burn", "60000"], ["fork", "100000"], ["burn", "60000"]].map(|load| Load::start(&group, &load));
    let times = [(Metric::CpuUsage, 0), (Metric::CpuUser, TICKS), (Metric::CpuSystem, TICKS)];
    let mut before = [0; 3];
    let loaded = || times.iter().all(|(metric, _)| files.counter(*metric) > 100_000_000).then_some(());
    tests::eventually(Duration::from_secs(20), loaded).expect("there is no load");
    for _ in 0..ROUNDS {
        let first = times.map(|(metric, _)| files.counter(metric));
        let found = pass.look();
        let between = times.map(|(metric, _)| found.values.get(metric).unwrap().unwrap());
        let last = times.map(|(metric, _)| files.counter(metric));
        for (at, (metric, slack)) in times.iter().enumerate() {
            let (first, between, last) = (first[at], between[at], last[at]);
            assert!(first <= between + slack && between <= last + slack, "{metric:?}: {first} {between} {last}");
            assert!(before[at] <= between, "{metric:?} counts backwards: {} {between}", before[at]);
        }
        assert!(between[0] - between[1] - between[2] <= 1_000, "user and system time are all there is: {between:?}");
        assert_eq!(found.origins.of(Metric::CpuUsage).unwrap().backend(), "ebpf");
        before = between;
    }
}

#[test]
fn counters_of_the_controllers_lie_between_two_readings_of_their_files() {
    let (group, mut files, mut pass) = pass!("quota-pass", CONTROLLER_ITERATOR);
    group.limit_cpu(100);
    group.limit_memory(64 << 20);
    let _load = Load::start(&group, &["burn", "60000"]);
    Load::start(&group, &["hog", "268435456"]).done();
    let counters = [Metric::CpuThrottled, Metric::CpuPeriods, Metric::OomKills];
    let throttled = || Some(files.counter(Metric::CpuThrottled)).filter(|count| *count > 3);
    assert!(tests::eventually(Duration::from_secs(20), throttled).is_some(), "there is no load");
    for _ in 0..ROUNDS {
        let [first, between, last] = bracket(&mut files, &mut pass, &counters);
        let lies_between = |at: usize| first[at].is_some() && first[at] <= between[at] && between[at] <= last[at];
        assert!((0..counters.len()).all(lies_between), "{counters:?}: {first:?} {between:?} {last:?}");
    }
    assert_eq!(pass.counter(Metric::OomKills), 1);
    assert_eq!(pass.look().origins.of(Metric::CpuThrottled).unwrap().backend(), "ebpf");
}

/// Counters by the files, by the iterators, and by the files again.
fn bracket(files: &mut Outside, other: &mut Outside, metrics: &[Metric]) -> [Vec<Option<u64>>; 3] {
    let first = values(files, metrics);
    let between = values(other, metrics);
    [first, between, values(files, metrics)]
}

/// Counters of one reading.
fn values(outside: &mut Outside, metrics: &[Metric]) -> Vec<Option<u64>> {
    let found = outside.look();
    metrics.iter().map(|metric| found.values.get(*metric).and_then(Result::ok)).collect()
}

#[test]
fn levels_of_the_controllers_are_what_their_files_say() {
    let (group, mut files, mut pass) = pass!("level-pass", CONTROLLER_ITERATOR);
    let levels =
        [Metric::MemoryUsage, Metric::MemoryPeak, Metric::Threads, Metric::Frozen, Metric::FrozenV1, Metric::Populated];
    let mut told = [0; 6];
    let mut running: Vec<Load> = Vec::new();
    for step in 0..7 {
        match step {
            1 => running.push(Load::start(&group, &["park", "12"])),
            2 => running.push(Load::start(&group, &["hold", "33554432"])),
            3 => drop(running.pop()),
            4 => group.freeze(true),
            5 => group.freeze(false),
            6 => running.clear(),
            _ => {}
        }
        if [1, 2].contains(&step) {
            running.last_mut().unwrap().done();
        }
        // Values may change between the two: those that both readings of the file agree on hold in between.
        let both = || {
            let [first, between, last] = bracket(&mut files, &mut pass, &levels);
            (first == last).then_some((first, between))
        };
        let (file, between) = tests::eventually(Duration::from_secs(20), both).expect("it never stands still");
        for (at, metric) in levels.iter().enumerate() {
            if let Some(between) = between[at] {
                assert_eq!(Some(between), file[at], "{metric:?} in step {step}");
                told[at] += 1;
            }
        }
    }
    // The v1 freezer shows the state of freezing only in its file. Without a v2 or a v1 tree, the numbers of that tree
    // are absent.
    let has_v2_memory = group.v2().is_some_and(|dir| dir.join("memory.current").exists());
    let least = if has_v2_memory { [7, 7, 7, 7, 0, 7] } else { [7, 7, 7, 7, 5, 7] };
    assert!((0..6).all(|at| told[at] >= least[at]), "{levels:?}: told {told:?} of {least:?}");
}

#[test]
fn pressure_is_zero_without_its_files_only_while_they_say_so() {
    let (group, mut files, mut pass) = pass!("ease-pass", CONTROLLER_ITERATOR);
    let pressures = [Metric::CpuPressure, Metric::MemoryPressureSome, Metric::MemoryPressureFull, Metric::IoPressure];
    if values(&mut files, &pressures).contains(&None) {
        skip!("this kernel tells no pressure");
    }
    assert_eq!(values(&mut pass, &pressures), [Some(0); 4], "nothing was ever in there");
    let loads = [1, 2, 3, 4].map(|_| Load::start(&group, &["burn", "60000"]));
    let mut pressed = || {
        let [first, between, last] = bracket(&mut files, &mut pass, &pressures);
        assert!(
            first == [Some(0); 4] || last == [Some(0); 4] || between == [None; 4],
            "{first:?} {between:?} {last:?}"
        );
        (first[0] > Some(0)).then_some(())
    };
    assert!(tests::eventually(Duration::from_secs(20), &mut pressed).is_some(), "four processes are no load");
    drop(loads);
    for _ in 0..ROUNDS {
        pressed();
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn what_is_not_read_again_is_what_the_file_still_says() {
    let (group, mut files, _) = pass!("mark-pass", CONTROLLER_ITERATOR);
    let mut agent = Outside::agent(&group);
    let statistics = [
        Metric::MemoryAnon,
        Metric::MemoryFile,
        Metric::MemoryInactiveFile,
        Metric::MemoryShmem,
        Metric::MemorySlabUnreclaimable,
        Metric::MemoryDirty,
    ];
    let mut seen = Vec::new();
    for step in 0..6u32 {
        let bytes = (step * (8 << 20)).to_string();
        let loads = [["hold", &bytes], ["share", "8388608"]];
        let mut load = (step % 2 == 1).then(|| loads.map(|load| Load::start(&group, &load)));
        load.iter_mut().flatten().for_each(|load| drop(load.done()));
        for _ in 0..10 {
            let same = || {
                let [first, held, last] = bracket(&mut files, &mut agent, &statistics);
                (first == last).then_some((first, held))
            };
            let (file, held) = tests::eventually(Duration::from_secs(20), same).expect("it never stands still");
            assert_eq!(held, file, "in step {step}");
            seen.extend(held[0]);
        }
    }
    assert!(seen.iter().any(|anon| *anon >= 40 << 20) && seen.iter().any(|anon| *anon < 8 << 20), "{seen:?}");
}

#[test]
fn memory_of_the_pass_is_what_the_files_say() {
    let (group, mut files, mut pass) = pass!("memory-pass", MEMORY_ITERATOR);
    group.limit_memory(64 << 20);
    Load::start(&group, &["hog", "268435456"]).done();
    let mut load = Load::start(&group, &["hold", "33554432"]);
    load.done();
    // Statistics are kept per CPU, and may be summed late.
    let near = |a: u64, b: u64| a.abs_diff(b) < 4 << 20;
    for metric in [Metric::MemoryUsage, Metric::MemoryAnon, Metric::MemoryFile, Metric::MemoryInactiveFile] {
        let (file, found) = (files.counter(metric), pass.counter(metric));
        assert!(near(file, found), "{metric:?}: {file} {found}");
    }
    assert!(pass.counter(Metric::MemoryAnon) >= 32 << 20);
    assert_eq!((files.counter(Metric::OomKills), pass.counter(Metric::OomKills)), (1, 1));
    assert_eq!(pass.look().origins.of(Metric::MemoryUsage).unwrap().backend(), "ebpf");
}

const OF_TASKS: [Metric; 4] =
    [Metric::ProcessCount, Metric::FileDescriptors, Metric::DescriptorsNearest, Metric::Uptime];

#[test]
fn processes_and_descriptors_of_the_pass_are_what_proc_shows() {
    let (group, mut files, mut pass) = pass!("task-pass", TASK_ITERATOR);
    let loads: [&[&str]; 6] =
        [&["idle"], &["park", "12"], &["open", "100"], &["tables", "40"], &["open", "7000"], &["fork", "20"]];
    let mut running = Vec::new();
    for load in loads {
        let mut started = Load::start(&group, load);
        started.done();
        running.push(started);
        let said = |outside: &mut Outside| OF_TASKS.map(|metric| outside.counter(metric));
        // A second may end between the two readings.
        let same = (0..3).find_map(|_| Some(said(&mut files)).filter(|files| *files == said(&mut pass)));
        assert!(same.is_some(), "{load:?}: {:?} {:?}", said(&mut files), said(&mut pass));
    }
    let child = group.child("inner");
    running.push(Load::start(&child, &["open", "10"]));
    running.last_mut().unwrap().done();
    assert_eq!(files.counter(Metric::FileDescriptors), pass.counter(Metric::FileDescriptors));
    assert_eq!(files.counter(Metric::ProcessCount), 8);
    drop(running);
    drop(child);
}

#[test]
fn descriptors_of_the_pass_lie_between_two_readings_of_proc() {
    let (group, mut files, mut pass) = pass!("descriptor-pass", TASK_ITERATOR);
    let _loads = [1, 2, 3].map(|_| Load::start(&group, &["open", "18000", "100"]));
    let mut grown = 0;
    for _ in 0..ROUNDS {
        let open = |outside: &mut Outside| outside.counter(Metric::FileDescriptors);
        let (first, between, last) = (open(&mut files), open(&mut pass), open(&mut files));
        assert!(first <= between && between <= last, "{first} {between} {last}");
        grown += last - first;
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(grown > 0, "there was no load");
}

/// Every cgroup below a directory as a container.
struct Below {
    top: PathBuf,
    pass: Bpf,
}

impl Below {
    /// The number of cgroups whose CPU time the iterator provided, and of all cgroups.
    fn look(&mut self) -> (usize, usize) {
        let mut now = Snapshot::new(Stamp { mono: Duration::from_secs(1), wall: SystemTime::UNIX_EPOCH });
        now.scope = Scope::Host;
        for entry in fs::read_dir(&self.top).unwrap().flatten().filter(|entry| entry.path().is_dir()) {
            let id = CgroupId(entry.metadata().unwrap().ino());
            let identity = Arc::new(Identity { v2: Some(entry.path()), ..Identity::default() });
            now.cgroups.insert(id, Cgroup { identity, ..Cgroup::default() });
            now.places.insert(id, Place { owner: id, outer: None });
        }
        self.pass.sample(&mut now).unwrap();
        let found = now.cgroups.values().filter(|cgroup| cgroup.values.get(Metric::CpuUsage).is_some());
        (found.count(), now.cgroups.len())
    }
}

#[test]
fn a_table_grows_before_it_is_full_and_of_what_is_gone_nothing_is_left() {
    let (group, ..) = pass!("many", CPU_ITERATOR);
    let top = group.v2().unwrap().to_owned();
    let part = Part { cgroup_events: false, ..Part::machine(Some(top.clone()), Default::default()) };
    let now = || Stamp { mono: Duration::ZERO, wall: SystemTime::UNIX_EPOCH };
    let roots = Roots::default();
    let decisions = assembly::program_decisions(&roots, EbpfMode::Auto, false, part.scope);
    let (pass, _) = bpf::open(&decisions, &part, &roots, None, now);
    let mut below = Below { top: top.clone(), pass };
    let made = Directories::new(&top, 3_200);
    assert_eq!(below.look(), (3_200, 3_200));
    let more = Directories::new(&top, 1_800);
    // The next table has the size of what the iteration before found.
    below.look();
    assert_eq!(below.look(), (5_000, 5_000));
    drop((made, more));
    assert_eq!(below.look(), (0, 0));
    let few = Directories::new(&top, 3);
    assert_eq!(below.look(), (3, 3));
    drop(few);
}

/// Cgroups without processes, removed when dropped.
struct Directories(Vec<PathBuf>);

impl Directories {
    fn new(top: &Path, count: usize) -> Self {
        static MADE: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let first = MADE.fetch_add(count, std::sync::atomic::Ordering::Relaxed);
        let made = (first..first + count).map(|at| top.join(format!("c{at}")));
        Self(made.inspect(|dir| fs::create_dir(dir).unwrap()).collect())
    }
}

impl Drop for Directories {
    fn drop(&mut self) {
        self.0.iter().for_each(|dir| fs::remove_dir(dir).unwrap());
    }
}
