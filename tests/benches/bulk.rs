//! What the passes cost, against `pread` of the same files on descriptors that stay open, side by side in one run.
//!
//! `cargo xtask bench bulk [N…]`: with so many cgroups.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods, reason = "a benchmark")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use monitor::config::Ebpf;
use monitor::containers::Roots;
use monitor::metrics::{CPU_PASS, Metric};
use monitor::preflight;
use monitor::snapshot::{Cgroup, CgroupId, Identity, Place, Scope, Snapshot, Stamp};
use monitor::sources::Source;
use monitor::sources::bpf::{self, Part};
use tests::cgroup::Group;

/// Rounds in which the sides take turns: the machine's mood meets both alike.
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
        "| cgroups | `pread` of `cpu.stat`, each | passes and what they fill in, each | ratio |\n|---|---|---|---|"
    );
    for number in numbers {
        let (floor, passes) = measure(group.v2().unwrap(), number);
        let each = |time: Duration| time.as_nanos() / number as u128;
        let ratio = passes.as_secs_f64() / floor.as_secs_f64();
        println!("| {number} | {} ns | {} ns | {ratio:.2} |", each(floor), each(passes));
    }
}

/// The medians of both.
fn measure(top: &Path, number: usize) -> (Duration, Duration) {
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
    let part = Part { lives: false, ..Part::machine(Some(top.to_owned())) };
    let now = || Stamp { mono: Duration::from_secs(1), wall: SystemTime::UNIX_EPOCH };
    let roots = Roots::default();
    let decisions = preflight::programs(&preflight::probe(&roots), Ebpf::Auto, false, Scope::Host);
    let (mut source, programs) = bpf::open(&decisions, &part, &roots, None, now);
    assert!(programs.iter().any(|program| program.name == CPU_PASS && program.state.is_attached()), "{programs:?}");
    let mut buffer = vec![0; 4096];
    let (mut floors, mut passes) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let began = Instant::now();
        kept.iter().for_each(|file| _ = file.read_at(&mut buffer, 0).unwrap());
        floors.push(began.elapsed());
        let mut snapshot = Snapshot::new(now());
        (snapshot.scope, snapshot.cgroups, snapshot.places) = (Scope::Host, cgroups.clone(), places.clone());
        let began = Instant::now();
        source.sample(&mut snapshot).unwrap();
        passes.push(began.elapsed());
        let found = snapshot.cgroups.values().filter(|cgroup| cgroup.values.get(Metric::CpuUsage).is_some());
        assert_eq!(found.count(), number);
    }
    drop(kept);
    dirs.iter().for_each(|dir| fs::remove_dir(dir).unwrap());
    let median = |mut times: Vec<Duration>| {
        times.sort();
        times[times.len() / 2]
    };
    (median(floors), median(passes))
}
