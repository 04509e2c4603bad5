//! Maps that grow: before they are full, and without losing, doubling or forgetting any count.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use monitor::assembly;
use monitor::containers::Roots;
use monitor::metrics::Metric;
use monitor::preflight::EbpfMode;
use monitor::report::{Number, Report};
use monitor::snapshot::{Cgroup, CgroupId, Identity, Place, Scope, Snapshot, Stamp};
use monitor::sources::bpf::pins::Pins;
use monitor::sources::bpf::{self, Bpf, Part};
use monitor::sources::{Source, SourceError};
use rustix::thread::CapabilitySet;
use tests::cgroup::Group;
use tests::mounts::own_mounts;
use tests::skip;

/// The number of cgroups that the first maps have room for.
const LEAST: u32 = 64;

fn now() -> Stamp {
    Stamp { mono: Duration::ZERO, wall: SystemTime::now() }
}

fn id(dir: &Path) -> CgroupId {
    CgroupId(fs::metadata(dir).unwrap().ino())
}

/// A watched part of the tree, and the cgroups in it.
struct Watched {
    part: Part,
    top: PathBuf,
    /// Their directories; in each a process has started and ended.
    dirs: Vec<PathBuf>,
}

impl Watched {
    fn new(group: &Group, scope: Scope) -> Self {
        let top = group.v2().unwrap().to_owned();
        let own = Some(id(&top)).filter(|_| scope == Scope::SelfContainer);
        let least = if scope == Scope::SelfContainer { LEAST } else { 4 * LEAST };
        let part = Part {
            scope,
            id: own,
            cgroup_events: false,
            least,
            ..Part::machine(Some(top.clone()), Default::default())
        };
        Self { part, top, dirs: Vec::new() }
    }

    fn open(&self, pins: Option<&Pins>) -> Result<Bpf, String> {
        let roots = Roots::default();
        let decisions = assembly::program_decisions(&roots, EbpfMode::Auto, false, self.part.scope);
        let (bpf, programs) = bpf::open(&decisions, &self.part, &roots, pins, now);
        let exits = programs.iter().find(|program| program.name == "sched_process_exit").unwrap();
        if exits.state.is_attached() { Ok(bpf) } else { Err(format!("{:?}", exits.state)) }
    }

    /// Makes a cgroup, in which a process starts and ends.
    fn add(&mut self) {
        let dir = self.top.join(format!("c{}", self.dirs.len()));
        fs::create_dir(&dir).unwrap();
        self.run(&dir);
        self.dirs.push(dir);
    }

    fn run(&self, dir: &Path) {
        let procs = dir.join("cgroup.procs").display().to_string();
        let script = format!("echo $$ > {procs} && exec busybox true");
        assert!(Command::new("sh").args(["-c", &script]).stdin(Stdio::null()).status().unwrap().success());
    }

    /// A reading of this part in scope `host`: a container for each cgroup, all in the top one.
    fn read(&self, bpf: &mut Bpf) -> (Report, Result<(), SourceError>) {
        let mut now = Snapshot::new(now());
        now.scope = self.part.scope;
        let top = id(&self.top);
        let is_root = now.scope == Scope::Host;
        let identity = Identity { is_root, ..Identity::default() }.into();
        now.cgroups.insert(top, Cgroup { identity, ..Cgroup::default() });
        if is_root {
            now.places.insert(top, Place { owner: top, outer: None });
            for dir in self.dirs.iter().filter(|dir| dir.exists()) {
                now.cgroups.insert(id(dir), Cgroup::default());
                now.places.insert(id(dir), Place { owner: id(dir), outer: Some(top) });
            }
        }
        let result = bpf.sample(&mut now);
        (Report::new(None, &now, Duration::ZERO), result)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        for dir in &self.dirs {
            _ = fs::remove_dir(dir);
        }
    }
}

/// A number of a cgroup, or why it is absent.
fn number(report: &Report, of: &Path, metric: Metric) -> Result<u64, String> {
    let container = report.containers.iter().find(|container| container.id == id(of)).unwrap();
    match container.get(metric) {
        Ok(Number::Whole(value)) => Ok(value),
        Ok(Number::Real(value)) => panic!("{value}"),
        Err(cause) => Err(cause.to_string()),
    }
}

/// Execs and exits of a cgroup.
fn counted(report: &Report, of: &Path) -> [Result<u64, String>; 2] {
    [Metric::Execs, Metric::Exits].map(|metric| number(report, of, metric))
}

fn group(name: &str) -> Option<Group> {
    tests::is_root().then(|| Group::new(name)).flatten().filter(|group| group.v2().is_some())
}

#[test]
fn a_container_with_ever_new_cgroups_is_counted_exactly_and_its_maps_stay_small() {
    let Some(group) = group("room-own") else { skip!("no v2 control group can be made here") };
    let mut watched = Watched::new(&group, Scope::SelfContainer);
    let mut bpf = match watched.open(None) {
        Ok(bpf) => bpf,
        Err(refused) => skip!("{refused}"),
    };
    for made in 1..=300 {
        watched.add();
        if made % 10 == 0 {
            let (report, result) = watched.read(&mut bpf);
            result.unwrap();
            assert_eq!(counted(&report, &watched.top), [Ok(made), Ok(made)]);
            assert_eq!(report.lost_events, 0);
            // No event is read of those that are removed: their counts stay all the same.
            watched.dirs.iter().rev().take(9).for_each(|dir| fs::remove_dir(dir).unwrap());
        }
    }
}

#[test]
fn the_maps_of_a_machine_grow_between_two_events_and_the_next_agent_goes_on_with_them() {
    let Some(group) = group("room-host") else { skip!("no v2 control group can be made here") };
    let dir = tempfile::tempdir().unwrap();
    if let Err(error) = own_mounts(dir.path()) {
        skip!("no BPF file system: {error}");
    }
    let place = dir.path().join("bpf/pins");
    let mut watched = Watched::new(&group, Scope::Host);
    let numbers = |watched: &Watched| {
        let dir = fs::read_dir(watched_maps(&place)).unwrap().flatten();
        let mut names: Vec<_> = dir.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.retain(|name| name.contains("COUNTS_"));
        names.sort();
        assert!(!watched.dirs.is_empty());
        names
    };
    let mut pins = Pins::open(&place, "a test").unwrap();
    let mut bpf = match watched.open(Some(&pins)) {
        Ok(bpf) => bpf,
        Err(refused) => skip!("{refused}"),
    };
    let check = |watched: &Watched, bpf: &mut Bpf, runs: u64| {
        let (report, result) = watched.read(bpf);
        result.unwrap();
        for dir in watched.dirs.iter().filter(|dir| dir.exists()) {
            assert_eq!(counted(&report, dir), [Ok(runs), Ok(runs)], "{}", dir.display());
        }
        assert_eq!(report.lost_events, 0);
    };
    (0..40).for_each(|_| watched.add());
    check(&watched, &mut bpf, 1);
    assert_eq!(numbers(&watched), ["COUNTS_1"]);
    // Other cgroups of the machine are in the maps too. The reading that finds them nearly full makes larger ones; the
    // smaller ones have all counts then.
    while numbers(&watched) == ["COUNTS_1"] {
        assert!(watched.dirs.len() < 300);
        (0..10).for_each(|_| watched.add());
        check(&watched, &mut bpf, 1);
    }
    assert_eq!(numbers(&watched), ["COUNTS_1", "COUNTS_2"]);
    // An agent that ends at this moment leaves both to the next one; meanwhile the larger one counts.
    drop(bpf);
    drop(pins);
    watched.dirs.iter().for_each(|dir| watched.run(dir));
    pins = Pins::open(&place, "another test").unwrap();
    bpf = watched.open(Some(&pins)).unwrap();
    check(&watched, &mut bpf, 2);
    assert_eq!(numbers(&watched), ["COUNTS_2"]);
    check(&watched, &mut bpf, 2);
    // A removed cgroup takes away no counts of the machine, in whichever map they are.
    let all = |watched: &Watched, bpf: &mut Bpf| number(&watched.read(bpf).0, &watched.top, Metric::Execs).unwrap();
    let before = all(&watched, &mut bpf);
    watched.dirs.iter().take(30).for_each(|dir| fs::remove_dir(dir).unwrap());
    for _ in 0..5 {
        assert!(all(&watched, &mut bpf) >= before);
        check(&watched, &mut bpf, 2);
    }
}

fn watched_maps(pins: &Path) -> PathBuf {
    pins.join("process/maps")
}

#[test]
fn what_a_full_map_cannot_count_is_told_and_no_number_is_invented() {
    let Some(group) = group("room-full") else { skip!("no v2 control group can be made here") };
    let mut watched = Watched::new(&group, Scope::SelfContainer);
    let mut bpf = match watched.open(None) {
        Ok(bpf) => bpf,
        Err(refused) => skip!("{refused}"),
    };
    (0..60).for_each(|_| watched.add());
    // Without the capability to make maps, they cannot grow.
    let sets = rustix::thread::capabilities(None).unwrap();
    let without = sets.effective - CapabilitySet::BPF - CapabilitySet::SYS_ADMIN;
    rustix::thread::set_capabilities(None, rustix::thread::CapabilitySets { effective: without, ..sets }).unwrap();
    let (report, result) = watched.read(&mut bpf);
    rustix::thread::set_capabilities(None, sets).unwrap();
    let told = result.map_err(|error| error.to_string()).unwrap_err();
    assert!(told.contains("nearly full"), "{told}");
    assert_eq!(counted(&report, &watched.top), [Ok(60), Ok(60)]);
    // Four more have room, four do not.
    (0..8).for_each(|_| watched.add());
    let (report, _) = watched.read(&mut bpf);
    assert!(report.lost_events >= 8, "{}", report.lost_events);
    let absent = counted(&report, &watched.top).map(Result::unwrap_err);
    assert!(absent.iter().all(|cause| cause.contains("full")), "{absent:?}");
    // That reading could make larger maps: from then on everything is counted, and the missed counts are known.
    watched.dirs[64..].iter().for_each(|dir| watched.run(dir));
    let (after, result) = watched.read(&mut bpf);
    result.unwrap();
    assert_eq!(after.lost_events, report.lost_events);
    assert_eq!(counted(&after, &watched.top), [Ok(68), Ok(68)]);
}
