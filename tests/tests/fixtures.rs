//! Captured trees of several kernels, whole and damaged, and a tree that changes under a paused clock.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use monitor::agent::Agent;
use monitor::containers::Roots;
use monitor::containers::own::find;
use monitor::metrics::{Format, Metric, Origin, Unit};
use monitor::publish::{self, Reports};
use monitor::report::{Container, Number, Report};
use monitor::snapshot::{Snapshot, Stamp};
use monitor::sources::cgroup::CgroupFiles;
use monitor::sources::own_container::OwnContainer;
use monitor::sources::procfs::Procfs;
use monitor::sources::{SamplerThread, Source, parse};

const V2: &str = "linux-6.1-v2";
const ALL: [&str; 4] = [V2, "linux-6.12-v2", "linux-6.1-v1", "linux-6.1-hybrid"];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

fn roots(root: &Path) -> Roots {
    Roots { cgroup: Some(root.join("sys/fs/cgroup")), proc: root.join("proc"), sys: root.join("sys") }
}

fn sources(root: &Path) -> Vec<Box<dyn Source>> {
    let roots = roots(root);
    let own = OwnContainer::new(find(&roots, "web"), &roots);
    vec![Box::new(own), Box::new(CgroupFiles::new(1000, &roots.sys)), Box::new(Procfs::new(&roots))]
}

/// One reading, a hundred seconds after the machine's start.
fn read(root: &Path) -> Container {
    let mut snapshot = Snapshot::new(Stamp { mono: Duration::from_secs(100), wall: SystemTime::UNIX_EPOCH });
    for mut source in sources(root) {
        source.sample(&mut snapshot).unwrap();
    }
    Report::new(None, &snapshot, Duration::ZERO).containers.remove(0)
}

/// A number as it was read; one in nanoseconds is shown in seconds.
fn whole(container: &Container, metric: Metric) -> u64 {
    match container.get(metric) {
        Ok(Number::Whole(value)) => value,
        Ok(Number::Real(seconds)) if metric.spec().unit == Unit::Nanoseconds => {
            u64::try_from(Duration::from_secs_f64(seconds).as_nanos()).unwrap()
        }
        other => panic!("{metric:?}: {other:?}"),
    }
}

#[test]
fn what_was_done_before_the_capture_is_read_from_every_kernel_and_tree() {
    for name in ALL {
        let web = read(&fixture(name));
        assert!((web.real(Metric::CpuLimit).unwrap() - 0.25).abs() < 1e-9, "{name}");
        assert_eq!(whole(&web, Metric::MemoryLimit), 64 << 20, "{name}: the outer group's limit is the smaller one");
        assert_eq!(whole(&web, Metric::PidsLimit), 50, "{name}");
        assert_eq!(whole(&web, Metric::OomKills), 1, "{name}");
        assert_eq!((whole(&web, Metric::ProcessCount), whole(&web, Metric::Threads)), (1, 1), "{name}");
        assert_eq!(whole(&web, Metric::MemorySwap), 0, "{name}");
        assert!(whole(&web, Metric::CpuThrottled) > 100, "{name}");
        assert_eq!(web.status.as_str(), "running", "{name}");
        assert_eq!(web.identity.path, "/outer/web", "{name}");
    }
}

#[test]
fn disk_traffic_is_exact_where_the_kernel_counts_it_and_absent_where_it_does_not() {
    // The later kernel also lists a hidden path to the device, with the same operations.
    for name in [V2, "linux-6.12-v2"] {
        let web = read(&fixture(name));
        assert_eq!(
            (whole(&web, Metric::DiskReadBytes), whole(&web, Metric::DiskWriteBytes)),
            (1 << 20, 1 << 19),
            "{name}"
        );
        assert_eq!((whole(&web, Metric::IoReads), whole(&web, Metric::IoWrites)), (16, 8), "{name}");
    }
    for name in ["linux-6.1-v1", "linux-6.1-hybrid"] {
        let cause = read(&fixture(name)).get(Metric::DiskReadBytes).unwrap_err().to_string();
        assert!(cause.contains("has only zeros"), "{name}: {cause}");
    }
}

#[test]
fn the_numbers_are_those_of_the_files() {
    let rows = |name: &str, rows: &[(Metric, u64)]| {
        let web = read(&fixture(name));
        for &(metric, value) in rows {
            assert_eq!(whole(&web, metric), value, "{name} {metric:?}");
        }
    };
    rows(
        V2,
        &[
            (Metric::CpuUsage, 3_187_630_000),
            (Metric::CpuUser, 2_102_835_000),
            (Metric::CpuSystem, 1_084_795_000),
            (Metric::CpuPeriods, 128),
            (Metric::CpuThrottled, 125),
            (Metric::MemoryUsage, 4_382_720),
            (Metric::MemoryPeak, 69_111_808),
            (Metric::MemoryAnon, 16_384),
            (Metric::MemoryFile, 4_194_304),
            (Metric::MemoryShmem, 4_194_304),
            (Metric::MemorySlabReclaimable, 10_264),
            (Metric::MemorySlabUnreclaimable, 4_432),
            // 3.92 s after the machine's start, which was a hundred seconds ago.
            (Metric::Uptime, 97),
        ],
    );
    rows(
        "linux-6.1-v1",
        &[
            (Metric::CpuUsage, 3_158_632_980),
            (Metric::CpuUser, 1_648_000_000),
            (Metric::CpuSystem, 808_000_000),
            (Metric::CpuThrottled, 124),
            (Metric::MemoryUsage, 4_395_008),
            (Metric::MemoryPeak, 68_558_848),
            (Metric::MemoryAnon, 20_480),
            (Metric::MemoryFile, 4_194_304),
            (Metric::MemoryShmem, 4_194_304),
        ],
    );
    // CPU from the v2 tree, which has it without a controller; memory from v1.
    rows(
        "linux-6.1-hybrid",
        &[
            (Metric::CpuUsage, 3_216_694_000),
            (Metric::CpuThrottled, 146),
            (Metric::MemoryUsage, 4_386_816),
            (Metric::MemoryShmem, 4_194_304),
        ],
    );
    rows(
        "linux-6.12-v2",
        &[
            (Metric::CpuUsage, 3_120_837_000),
            (Metric::MemoryPeak, 67_764_224),
            (Metric::MemorySlabUnreclaimable, 4_664),
        ],
    );
}

/// The directory of a tree in a fixture.
fn directory(root: &Path, origin: &Origin) -> Option<(PathBuf, monitor::metrics::File)> {
    let cgroup = root.join("sys/fs/cgroup");
    match origin {
        Origin::V2(file) => [cgroup.join("unified"), cgroup]
            .into_iter()
            .map(|tree| (tree.join("outer/web"), *file))
            .find(|(dir, file)| dir.join(file.name).exists()),
        Origin::V1(controller, file) => Some((cgroup.join(controller).join("outer/web"), *file)),
        _ => None,
    }
}

#[test]
fn every_row_that_names_a_file_has_given_a_number_somewhere() {
    let mut never: BTreeMap<String, ()> = BTreeMap::new();
    for (metric, _, origin) in Metric::origins() {
        if !matches!(origin, Origin::V2(_) | Origin::V1(..)) {
            continue;
        }
        let seen = ALL.iter().any(|name| {
            let Some((dir, file)) = directory(&fixture(name), origin) else { return false };
            let mut text = fs::read(dir.join(file.name)).unwrap_or_default();
            if let Some(companion) = file.companion {
                text.push(b' ');
                text.extend(fs::read(dir.join(companion)).unwrap_or_default());
            }
            match parse::number(file.format, &text) {
                Ok(_) => true,
                // The kernels of the v1 captures list the operation without a count.
                Err(parse::ParseError::Uncounted) => {
                    matches!(file.format, Format::Operation(name) if String::from_utf8_lossy(&text).contains(name))
                }
                Err(_) => false,
            }
        });
        if !seen {
            never.insert(format!("{metric:?} from {origin}"), ());
        }
    }
    assert!(never.is_empty(), "{never:#?}");
}

/// A copy of a fixture that may be damaged.
fn copy(name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let status =
        std::process::Command::new("cp").arg("-a").arg(fixture(name).join(".")).arg(dir.path()).status().unwrap();
    assert!(status.success());
    dir
}

/// The numbers of a container from undamaged files.
fn others(container: &Container, damaged: &str) -> Vec<(Metric, Number)> {
    let from = |metric: &Metric| {
        container.origins.of(*metric).is_some_and(|origin| matches!(origin, Origin::V2(file) if file.name != damaged))
    };
    Metric::ALL.iter().copied().filter(from).filter_map(|metric| Some((metric, container.get(metric).ok()?))).collect()
}

#[test]
fn a_damaged_file_costs_its_own_numbers_alone_and_is_named() {
    let files = [
        "cpu.stat",
        "memory.current",
        "memory.stat",
        "memory.events",
        "io.stat",
        "cpu.max",
        "pids.current",
        "cpu.pressure",
        "memory.peak",
    ];
    let damages: [(&str, Option<Vec<u8>>); 6] = [
        ("empty", Some(Vec::new())),
        ("nonsense", Some(b"\x00\xff\xfe nonsense\n=\n".to_vec())),
        ("digits without end", Some(vec![b'9'; 1 << 20])),
        ("more than any file has", Some(vec![b'a'; 3 << 20])),
        ("a directory", None),
        ("cut", Some(b"us".to_vec())),
    ];
    let sound = read(&fixture(V2));
    for file in files {
        for (damage, content) in &damages {
            let dir = copy(V2);
            let path = dir.path().join("sys/fs/cgroup/outer/web").join(file);
            match content {
                Some(bytes) => fs::write(&path, bytes).unwrap(),
                None => {
                    fs::remove_file(&path).unwrap();
                    fs::create_dir(&path).unwrap();
                }
            }
            let read = read(dir.path());
            assert_eq!(others(&read, file), others(&sound, file), "{file}: {damage}");
            for &metric in Metric::ALL {
                if let (Ok(_), Err(cause)) = (sound.get(metric), read.get(metric)) {
                    assert!(cause.as_str().contains(file), "{file}: {damage}: {metric:?}: {cause}");
                }
            }
        }
    }
}

#[test]
fn a_file_cut_anywhere_is_read_or_refused() {
    let dir = copy(V2);
    let path = dir.path().join("sys/fs/cgroup/outer/web/cpu.stat");
    let text = fs::read(&path).unwrap();
    let mut sources = sources(dir.path());
    for length in 0..text.len() {
        fs::write(&path, &text[..length]).unwrap();
        let mut snapshot = Snapshot::new(Stamp { mono: Duration::ZERO, wall: SystemTime::UNIX_EPOCH });
        sources.iter_mut().for_each(|source| source.sample(&mut snapshot).unwrap());
        // A truncated number is a prefix of the number at worst, and never larger.
        let read = snapshot.cgroups.values().next().unwrap().values.get(Metric::CpuUsage);
        assert!(read.is_some_and(|read| read.is_ok_and(|value| value <= 3_187_630_000) || read.is_err()), "{length}");
    }
}

/// The whole agent on a tree that the test changes, under tokio's paused clock.
struct Paused {
    dir: tempfile::TempDir,
    reports: Reports,
}

impl Paused {
    fn start(interval: Duration) -> Self {
        let dir = copy(V2);
        let (reports, receiver) = publish::channel();
        let began = tokio::time::Instant::now();
        let runtime = tokio::runtime::Handle::current();
        let clock = move || {
            // The time of the test, on any thread.
            let _entered = runtime.enter();
            let mono = began.elapsed();
            Stamp { mono, wall: SystemTime::UNIX_EPOCH + mono }
        };
        let sampler = SamplerThread::start(sources(dir.path()), clock).unwrap();
        let agent = Agent { sampler, interval, exited: Arc::default(), reports };
        tokio::spawn(agent.run(std::future::pending()));
        Self { dir, reports: receiver }
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.dir.path().join("sys/fs/cgroup/outer/web").join(file), text).unwrap();
    }

    async fn next(&mut self) -> Arc<Report> {
        self.reports.next().await.unwrap()
    }
}

fn cpu_stat(usage: u64) -> String {
    format!("usage_usec {usage}\nuser_usec 0\nsystem_usec 0\nnr_periods 0\nnr_throttled 0\nthrottled_usec 0\n")
}

#[tokio::test(start_paused = true)]
async fn rates_are_right_and_a_counter_that_goes_back_has_none() {
    let mut paused = Paused::start(Duration::from_secs(5));
    paused.write("cpu.stat", &cpu_stat(1_000_000));
    let first = paused.next().await;
    let at = first.taken.mono;
    // Half of the allowance of a quarter CPU over the next five seconds.
    let before = whole(&first.containers[0], Metric::CpuUsage) / 1000;
    paused.write("cpu.stat", &cpu_stat(before + 625_000));
    let second = paused.next().await;
    assert_eq!(second.taken.mono - at, Duration::from_secs(5), "ticks stand on a grid");
    let percent = second.containers[0].real(Metric::CpuPercent).unwrap();
    assert!((percent - 50.0).abs() < 0.1, "{percent}");
    paused.write("cpu.stat", &cpu_stat(7));
    let third = paused.next().await;
    let cause = third.containers[0].get(Metric::CpuPercent).unwrap_err().to_string();
    assert_eq!(cause, "the counter cpu.usage_seconds went back");
    paused.write("cpu.stat", &cpu_stat(7));
    assert_eq!(paused.next().await.containers[0].real(Metric::CpuPercent), Some(0.0));
}

#[tokio::test(start_paused = true)]
async fn what_vanishes_is_absent_with_its_cause_and_comes_back() {
    let mut paused = Paused::start(Duration::from_secs(5));
    paused.next().await;
    let path = paused.dir.path().join("sys/fs/cgroup/outer/web/io.stat");
    let text = fs::read_to_string(&path).unwrap();
    paused.write("io.stat", "259:1 rbytes=nonsense\n");
    let damaged = paused.next().await;
    assert!(damaged.containers[0].get(Metric::DiskReadBytes).unwrap_err().as_str().contains("io.stat"));
    assert!(damaged.containers[0].get(Metric::MemoryUsage).is_ok());
    paused.write("io.stat", &text);
    assert_eq!(whole(&paused.next().await.containers[0], Metric::DiskReadBytes), 1 << 20);
}
