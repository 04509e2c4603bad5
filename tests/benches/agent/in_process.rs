//! The sources in this process, against the cost of the same files in the kernel.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use monitor::containers::Roots;
use monitor::containers::own::find;
use monitor::metrics::Metric;
use monitor::snapshot::Snapshot;
use monitor::sources::Source;
use monitor::sources::cgroup::CgroupFiles;
use monitor::sources::own_container::OwnContainer;
use monitor::sources::procfs::Procfs;

use crate::clock::stamp;
use crate::table::Row;

/// Rounds in which the two sides of a ratio take turns, so that other load affects both alike.
const ROUNDS: usize = 41;
/// Samples per round.
const SAMPLES: u32 = 200;

/// One sample of one container against a loop of `pread` on the files that it keeps open.
pub fn files() -> Row {
    let roots = Roots::default();
    let mut container = OwnContainer::new(find(&roots, "bench"), &roots);
    let mut source = CgroupFiles::new(1000, Path::new("/sys"));
    let mut sample = || {
        let mut snapshot = Snapshot::new(stamp());
        container.sample(&mut snapshot).unwrap();
        source.sample(&mut snapshot).unwrap();
    };
    let before = open_files();
    sample();
    let kept: Vec<File> = open_files()
        .into_iter()
        .filter(|(name, _)| !before.iter().any(|(known, _)| known == name))
        .map(|(_, file)| file)
        .collect();
    let mut buffer = vec![0; 8192];
    let floor = || kept.iter().for_each(|file| _ = file.read_at(&mut buffer, 0));
    let (ratio, floor) = ratio(&mut sample, floor);
    Row::new(
        format!(
            "one sample of one container: {} files, per `pread` of the same files ({:.1} µs)",
            kept.len(),
            floor.as_secs_f64() * 1e6
        ),
        format!("{ratio:.2}"),
        Some(("1.30", ratio <= 1.3)),
    )
}

/// The descriptors of this process that lie in a cgroup tree, reopened: the same files, kept open.
fn open_files() -> Vec<(String, File)> {
    let entries = fs::read_dir("/proc/self/fd").unwrap().flatten();
    let paths = entries.filter_map(|entry| fs::read_link(entry.path()).ok());
    paths
        .filter(|path| path.to_string_lossy().contains("/cgroup/"))
        .filter_map(|path| Some((path.display().to_string(), File::open(path).ok()?)))
        .collect()
}

/// One sample of `/proc` against opening, reading and closing the files of the same number of processes.
pub fn processes() -> Row {
    let roots = Roots::default();
    let mut container = OwnContainer::new(find(&roots, "bench"), &roots);
    let mut source = Procfs::new(&roots);
    let processes = std::cell::Cell::new(0);
    let mut sample = || {
        let mut snapshot = Snapshot::new(stamp());
        container.sample(&mut snapshot).unwrap();
        source.sample(&mut snapshot).unwrap();
        let values = &snapshot.cgroups.values().next().unwrap().values;
        processes.set(values.get(Metric::ProcessCount).unwrap().unwrap());
    };
    sample();
    let own = format!("/proc/{}", std::process::id());
    let floor = || {
        for _ in 0..processes.get() {
            _ = fs::read(format!("{own}/stat"));
            _ = fs::metadata(format!("{own}/fd"));
        }
        for file in ["/proc/meminfo", "/proc/loadavg", "/proc/self/net/dev", "/sys/devices/system/cpu/online"] {
            _ = fs::read(file);
        }
    };
    let (ratio, floor) = ratio(&mut sample, floor);
    Row::new(
        format!(
            "one sample of /proc with {} processes, per opening and reading as many files ({:.0} µs)",
            processes.get(),
            floor.as_secs_f64() * 1e6
        ),
        format!("{ratio:.2}"),
        None,
    )
}

/// The median of the rounds' ratios, and the floor's median time.
fn ratio(mut measured: impl FnMut(), mut floor: impl FnMut()) -> (f64, Duration) {
    let mut ratios = Vec::new();
    let mut floors = Vec::new();
    for _ in 0..ROUNDS {
        let below = time(&mut floor);
        let above = time(&mut measured);
        ratios.push(above.as_secs_f64() / below.as_secs_f64());
        floors.push(below);
    }
    ratios.sort_by(f64::total_cmp);
    floors.sort();
    (ratios[ROUNDS / 2], floors[ROUNDS / 2])
}

fn time(work: &mut impl FnMut()) -> Duration {
    let began = Instant::now();
    for _ in 0..SAMPLES {
        work();
    }
    began.elapsed() / SAMPLES
}
