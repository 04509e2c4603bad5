//! What the agent costs, against the floor that the kernel sets, side by side in one run.
//!
//! `cargo xtask bench [SECONDS]`: the long run takes so long.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods, reason = "a benchmark")]

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant, SystemTime};

use monitor::containers::Roots;
use monitor::containers::own::{OwnContainer, find};
use monitor::metrics::Metric;
use monitor::snapshot::{Snapshot, Stamp};
use monitor::sources::Source;
use monitor::sources::cgroup::CgroupFiles;
use monitor::sources::procfs::Procfs;
use tests::agent::Agent;
use tests::valkey::Valkey;
use tests::{binary, eventually, oracle};

/// Rounds in which the two sides of a ratio take turns: the machine's mood meets both alike.
const ROUNDS: usize = 41;
/// Samples per round.
const SAMPLES: u32 = 200;

/// A row of the table.
struct Row {
    what: String,
    measured: String,
    promised: String,
    kept: bool,
}

fn main() {
    let seconds = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(600);
    let mut rows = Vec::new();
    let mut take = |row: Row| {
        println!("{}: {}", row.what, row.measured);
        rows.push(row);
    };
    take(files());
    take(processes());
    take(size());
    match Valkey::start(&[]) {
        Some(valkey) => {
            take(start(&valkey));
            for ebpf in ["off", "auto"] {
                long_run(&valkey, ebpf, Duration::from_secs(seconds)).into_iter().for_each(&mut take);
            }
        }
        None => println!("SKIPPED: valkey-server is not installed"),
    }
    println!("\n| What | Measured | Promised | |");
    println!("|---|---|---|---|");
    for row in &rows {
        println!(
            "| {} | {} | {} | {} |",
            row.what,
            row.measured,
            row.promised,
            if row.kept { "kept" } else { "BROKEN" }
        );
    }
    println!("\ncargo xtask bench {seconds}");
    if rows.iter().any(|row| !row.kept) {
        std::process::exit(1);
    }
}

fn stamp() -> Stamp {
    let since = Instant::now().duration_since(*START.get_or_init(Instant::now));
    Stamp { mono: since, wall: SystemTime::now() }
}

static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();

/// One sample of one container against a loop of `pread` on the files that it keeps open.
fn files() -> Row {
    let roots = Roots::default();
    let mut container = OwnContainer::new(find(&roots, "bench"), &roots);
    let mut source = CgroupFiles::new(1000);
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
    Row {
        what: format!(
            "one sample of one container: {} files, per `pread` of the same files ({:.1} µs)",
            kept.len(),
            floor.as_secs_f64() * 1e6
        ),
        measured: format!("{ratio:.2}"),
        promised: "1.30".to_owned(),
        kept: ratio <= 1.3,
    }
}

/// The descriptors of this process that lie in a cgroup tree, opened anew: the same files, kept open.
fn open_files() -> Vec<(String, File)> {
    let entries = fs::read_dir("/proc/self/fd").unwrap().flatten();
    let paths = entries.filter_map(|entry| fs::read_link(entry.path()).ok());
    paths
        .filter(|path| path.to_string_lossy().contains("/cgroup/"))
        .filter_map(|path| Some((path.display().to_string(), File::open(path).ok()?)))
        .collect()
}

/// The same for `/proc`: the floor opens, reads and closes what the source does for as many processes.
fn processes() -> Row {
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
    Row {
        what: format!(
            "one sample of /proc with {} processes, per opening and reading as many files ({:.0} µs)",
            processes.get(),
            floor.as_secs_f64() * 1e6
        ),
        measured: format!("{ratio:.2}"),
        promised: "none".to_owned(),
        kept: true,
    }
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

fn size() -> Row {
    let bytes = fs::metadata(binary()).unwrap().len();
    let mib = bytes as f64 / f64::from(1 << 20);
    Row {
        what: "release binary, eBPF objects inside".to_owned(),
        measured: format!("{mib:.1} MiB"),
        promised: "8 MiB".to_owned(),
        kept: mib < 8.0,
    }
}

/// From the start of the process to the first report that a reader gets.
fn start(valkey: &Valkey) -> Row {
    let mut times: Vec<Duration> = (0..5)
        .map(|round| {
            let name = format!("start-{round}");
            let began = Instant::now();
            let agent = Agent::start(valkey.port, &["--interval", "100ms"], &[("CONTAINER_NAME", &name)]);
            let report = valkey.report(&name, Duration::from_secs(10)).expect("no report");
            let took = began.elapsed();
            oracle::report(&name, &report).unwrap();
            drop(agent);
            took
        })
        .collect();
    times.sort();
    let median = times[times.len() / 2];
    Row {
        what: "start to first written report, `--interval 100ms`".to_owned(),
        measured: format!("{} ms", median.as_millis()),
        promised: "300 ms".to_owned(),
        kept: median < Duration::from_millis(300),
    }
}

/// The whole agent at its default interval, after the first walk of the root filesystem: CPU time from `/proc/PID/stat`, memory at the end, and how it grew.
fn long_run(valkey: &Valkey, ebpf: &str, long: Duration) -> [Row; 3] {
    let agent = Agent::start(valkey.port, &["--ebpf", ebpf], &[("CONTAINER_NAME", &format!("long-{ebpf}"))]);
    let name = format!("long-{ebpf}");
    let began = Instant::now();
    let walked = eventually(Duration::from_secs(900), || {
        let report = oracle::report(&name, &valkey.report(&name, Duration::from_secs(10))?).unwrap();
        std::thread::sleep(Duration::from_secs(1));
        report.number("disk_usage_bytes").map(drop)
    });
    walked.expect("the first walk of the root filesystem does not end");
    println!(
        "the first walk of the root filesystem: {:.1} s of CPU within {:.0} s",
        agent_cpu(&agent).as_secs_f64(),
        began.elapsed().as_secs_f64()
    );
    let (cpu, resident) = (agent_cpu(&agent), agent.resident());
    std::thread::sleep(long);
    let share = (agent_cpu(&agent) - cpu).as_secs_f64() / (long).as_secs_f64() * 100.0;
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let (end, most) = (agent.resident(), if ebpf == "off" { 8.0 } else { 10.0 });
    let grown = end.saturating_sub(resident);
    let row = |what: &str, measured, promised: &str, kept| Row {
        what: format!("{what}, `--ebpf {ebpf}`, {} s", long.as_secs()),
        measured,
        promised: promised.to_owned(),
        kept,
    };
    [
        row("CPU of one core at 5 s", format!("{share:.3} %"), "0.050 %", share < 0.05),
        row("resident memory", format!("{:.1} MiB", mib(end)), &format!("{most} MiB"), mib(end) < most),
        row("growth of it in that time", format!("{} KiB", grown / 1024), "128 KiB", grown <= 128 * 1024),
    ]
}

/// CPU time in nanoseconds' resolution: `schedstat` of every thread (`Documentation/scheduler/sched-stats.rst`).
fn agent_cpu(agent: &Agent) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{}/task", agent.pid())).unwrap().flatten();
    let nanos = tasks.filter_map(|task| {
        fs::read_to_string(task.path().join("schedstat")).ok()?.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}
