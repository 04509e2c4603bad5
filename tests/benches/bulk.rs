//! The costs of BPF iterators, against `pread` of the same files on descriptors that stay open, both in one run.
//!
//! `cargo xtask bench bulk [N…]`: with N cgroups.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods, reason = "a benchmark")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use monitor::assembly;
use monitor::containers::Roots;
use monitor::metrics::{CPU_ITERATOR, Metric};
use monitor::preflight::EbpfMode;
use monitor::refusal::Decision;
use monitor::snapshot::{Cgroup, CgroupId, Identity, Place, Scope, Snapshot, Stamp};
use monitor::sources::Source;
use monitor::sources::bpf::{self, Bpf, Part};
use tests::cgroup::Group;
use tests::spent;

/// Rounds in which the sides take turns, so that other load affects both alike.
const ROUNDS: usize = 15;

fn main() {
    let numbers: Vec<usize> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let numbers = if numbers.is_empty() { vec![10, 100, 1000, 10_000] } else { numbers };
    let Some(group) = tests::is_root().then(|| Group::new("bench-bulk")).flatten() else {
        println!("SKIPPED: no control group can be made here");
        return;
    };
    let many = libc::rlimit { rlim_cur: 20_000, rlim_max: 20_000 };
    // SAFETY: `many` outlives the call.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const many) }, 0);
    println!(
        "| cgroups | `pread` of `cpu.stat`, each | the pass for CPU, per the same | all passes and maps, per the same |"
    );
    println!("|---|---|---|---|");
    for number in numbers {
        let [floor, cpu, all] = measure(group.v2().unwrap(), number);
        let each = floor.as_nanos() / number as u128;
        let per_floor = |time: Duration| time.as_secs_f64() / floor.as_secs_f64();
        println!("| {number} | {each} ns | {:.2} | {:.2} |", per_floor(cpu), per_floor(all));
    }
}

/// A source of the programs that `is_wanted` selects.
fn source(top: &Path, is_wanted: fn(&str) -> bool) -> Bpf {
    let part = Part { cgroup_events: false, ..Part::machine(Some(top.to_owned()), BTreeMap::new()) };
    let roots = Roots::default();
    let mut decisions = assembly::program_decisions(&roots, EbpfMode::Auto, false, Scope::Host);
    for (_, decision) in decisions.iter_mut().filter(|(name, _)| !is_wanted(name)) {
        *decision = Decision::Off("it is not measured".to_owned());
    }
    let (source, programs) = bpf::open(&decisions, &part, &roots, None, now);
    assert!(programs.iter().any(|program| program.name == CPU_ITERATOR && program.state.is_attached()), "{programs:?}");
    source
}

fn now() -> Stamp {
    Stamp { mono: Duration::from_secs(1), wall: SystemTime::UNIX_EPOCH }
}

/// The medians of the CPU time of each side: the floor, the CPU iterator, all of eBPF.
fn measure(top: &Path, number: usize) -> [Duration; 3] {
    let dirs: Vec<PathBuf> = (0..number).map(|at| top.join(format!("c{at}"))).collect();
    dirs.iter().for_each(|dir| fs::create_dir(dir).unwrap());
    let mut kept = Vec::new();
    let mut cgroups = BTreeMap::new();
    let mut places = BTreeMap::new();
    for dir in &dirs {
        let id = CgroupId(fs::metadata(dir).unwrap().ino());
        kept.push(File::open(dir.join("cpu.stat")).unwrap());
        let identity = Arc::new(Identity { v2: Some(dir.clone()), ..Identity::default() });
        cgroups.insert(id, Cgroup { identity, ..Cgroup::default() });
        places.insert(id, Place { owner: id, outer: None });
    }
    let mut sources = [source(top, |name| name == CPU_ITERATOR), source(top, |_| true)];
    let mut buffer = vec![0; 4096];
    let mut times = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        let began = spent();
        kept.iter().for_each(|file| _ = file.read_at(&mut buffer, 0).unwrap());
        times[0].push(spent() - began);
        for (source, times) in sources.iter_mut().zip(&mut times[1..]) {
            let mut snapshot = Snapshot::new(now());
            (snapshot.scope, snapshot.cgroups, snapshot.places) = (Scope::Host, cgroups.clone(), places.clone());
            let began = spent();
            source.sample(&mut snapshot).unwrap();
            times.push(spent() - began);
            let found = snapshot.cgroups.values().filter(|cgroup| cgroup.values.get(Metric::CpuUsage).is_some());
            assert_eq!(found.count(), number);
        }
    }
    drop(kept);
    dirs.iter().for_each(|dir| fs::remove_dir(dir).unwrap());
    times.map(|mut times| {
        times.sort();
        times[times.len() / 2]
    })
}
