//! What watching a whole machine costs, against the floor that the kernel sets, side by side in one run.
//!
//! `cargo xtask bench host [N…]`: with so many containers, each a control group where Docker would make it.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods, reason = "a benchmark")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use monitor::config::Ebpf;
use monitor::containers::Roots;
use monitor::containers::host::HostContainers;
use monitor::containers::names::Places;
use monitor::containers::rules::Rules;
use monitor::containers::trees::Trees;
use monitor::preflight;
use monitor::report::Report;
use monitor::snapshot::{CgroupId, Scope, Snapshot, Stamp};
use monitor::sources::bpf::{self, Part};
use monitor::sources::cgroup::CgroupFiles;
use monitor::sources::procfs::Procfs;
use monitor::sources::{self, Source};
use tests::agent::Agent;
use tests::cgroup::Group;
use tests::spent;
use tests::valkey::Valkey;
use tests::watched::Load;

/// Rounds in which the sides of a ratio take turns: the machine's mood meets all alike.
const ROUNDS: usize = 9;
/// Beyond so many containers only each tenth has a process.
const MOST_PROCESSES: usize = 1000;
/// No container has more files.
const MOST_FILES: usize = 40;
/// How long the agent itself is watched.
const LONG: Duration = Duration::from_secs(30);

fn main() {
    let numbers: Vec<usize> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let numbers = if numbers.is_empty() { vec![10, 100, 1000, 10_000] } else { numbers };
    if !tests::is_root() {
        println!("SKIPPED: control groups take root");
        return;
    }
    let mut rows = Vec::new();
    for number in numbers {
        let containers = Containers::start(number);
        rows.extend(readings(&containers));
        if number == 1000 {
            rows.extend(whole_agent(number));
        }
    }
    rows.extend(latencies());
    rows.extend(ends());
    rows.extend(programs());
    println!("\n| What | Measured | Promised | |");
    println!("|---|---|---|---|");
    for Row { what, measured, promised } in &rows {
        let (promised, kept) = match promised {
            Some((text, true)) => (*text, "kept"),
            Some((text, false)) => (*text, "BROKEN"),
            None => ("", ""),
        };
        println!("| {what} | {measured} | {promised} | {kept} |");
    }
}

/// A row of the table, with what is promised and whether that is kept.
struct Row {
    what: String,
    measured: String,
    promised: Option<(&'static str, bool)>,
}

fn row(what: impl Into<String>, measured: impl Into<String>, promised: Option<(&'static str, bool)>) -> Row {
    let row = Row { what: what.into(), measured: measured.into(), promised };
    println!("{}: {}", row.what, row.measured);
    row
}

fn stamp() -> Stamp {
    let since = Instant::now().duration_since(*START.get_or_init(Instant::now));
    Stamp { mono: since, wall: SystemTime::now() }
}

static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();

/// Control groups of containers, most of them with a process.
struct Containers {
    number: usize,
    _groups: Vec<Group>,
    processes: Vec<Child>,
}

impl Containers {
    fn start(number: usize) -> Self {
        println!("{number} containers are being made");
        let groups: Vec<Group> = (0..number).map(|_| Group::docker().unwrap().0).collect();
        let every = if number > MOST_PROCESSES { 10 } else { 1 };
        let process = |group: &Group| {
            let mut command = Command::new("busybox");
            command.args(["sleep", "100000"]).stdin(Stdio::null()).env_clear();
            group.enter(&mut command);
            command.spawn().unwrap()
        };
        let processes = groups.iter().step_by(every).map(process).collect();
        Self { number, _groups: groups, processes }
    }
}

impl Drop for Containers {
    fn drop(&mut self) {
        for process in &mut self.processes {
            _ = process.kill();
            _ = process.wait();
        }
    }
}

/// The sources of an agent of the machine.
struct Machine {
    sources: Vec<Box<dyn Source>>,
    _ended: Arc<tokio::sync::Notify>,
}

fn containers(ended: &Arc<tokio::sync::Notify>, mode: Ebpf) -> (HostContainers, bpf::Bpf) {
    let roots = Roots::default();
    let places = Places { host: "/".into(), proc: "/proc".into(), sockets: Vec::new() };
    let mut containers = HostContainers::new(Trees::find(&roots), Rules::default(), &places, stamp).unwrap();
    let trees = Trees::find(&roots);
    let part = Part::machine(containers.root(), trees.v1);
    let decisions = preflight::programs(&preflight::probe(&roots), mode, false, Scope::Host);
    let (mut bpf, _) = bpf::open(&decisions, &part, &roots, None, stamp);
    containers.follow(bpf.take_lives(), Arc::clone(ended)).unwrap();
    (containers, bpf)
}

/// How many descriptors this process may have, less some for other things.
fn descriptors() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` outlives both calls.
    unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
    }
    usize::try_from(limit.rlim_max).unwrap_or(usize::MAX).saturating_sub(200)
}

impl Machine {
    fn new(mode: Ebpf, descriptors: usize) -> Self {
        let ended = Arc::default();
        let (containers, bpf) = containers(&ended, mode);
        let sources: Vec<Box<dyn Source>> = vec![
            Box::new(containers),
            Box::new(bpf),
            Box::new(CgroupFiles::new(descriptors)),
            Box::new(Procfs::new(&Roots::default())),
        ];
        Self { sources, _ended: ended }
    }

    fn read(&mut self) -> Snapshot {
        sources::sample(&mut self.sources, stamp).snapshot
    }
}

fn readings(containers: &Containers) -> Vec<Row> {
    let number = containers.number;
    let (known, found) = {
        let mut machine = Machine::new(Ebpf::Off, 0);
        // Names are looked for at first.
        std::thread::sleep(Duration::from_millis(500));
        machine.read();
        let known = machine.read();
        let found = known.cgroups.len();
        (known, found)
    };
    let mut files = Floor::of(&known);
    let watched = files.snapshot.cgroups.len();
    let mut machine = Machine::new(Ebpf::Auto, descriptors().saturating_sub(2 * files.kept.len()));
    let mut before = machine.read();
    for _ in 0..3 {
        before = machine.read();
    }
    let mut times: BTreeMap<&str, Vec<Duration>> = BTreeMap::new();
    for _ in 0..ROUNDS {
        let mut timed = |what, work: &mut dyn FnMut()| {
            let began = spent();
            work();
            times.entry(what).or_default().push(spent() - began);
        };
        timed("floor", &mut || files.pread());
        let mut empty = files.snapshot.clone();
        timed("files", &mut || files.source(&mut empty));
        timed("anew", &mut || files.anew());
        let mut now = None;
        timed("tick", &mut || now = Some(machine.read()));
        let now = now.unwrap();
        timed("report", &mut || drop(Report::new(Some(&before), &now, Duration::ZERO)));
        before = now;
    }
    let median = |what: &str| {
        let mut all = times[what].clone();
        all.sort();
        all[all.len() / 2]
    };
    let each = |took: Duration, of: usize| format!("{:.1} µs", took.as_secs_f64() * 1e6 / of as f64);
    let ratio = median("files").as_secs_f64() / median("floor").as_secs_f64();
    let tick = median("tick") + median("report");
    vec![
        row(
            format!(
                "{number} containers: the {} files of {watched}, per `pread` of the same files kept open ({} each)",
                files.kept.len(),
                each(median("floor"), watched)
            ),
            format!("{ratio:.2}"),
            Some(("1.20", ratio <= 1.2)),
        ),
        row(
            format!("{number} containers: opening, reading and closing the same files, per the same"),
            format!("{:.2}", median("anew").as_secs_f64() / median("floor").as_secs_f64()),
            None,
        ),
        row(
            format!("{number} containers: one tick, all sources and the report, per container"),
            each(tick, found),
            None,
        ),
        row(
            format!("{number} containers: one tick"),
            format!("{:.1} ms", tick.as_secs_f64() * 1e3),
            (number == 10_000).then_some(("100 ms", tick < Duration::from_millis(100))),
        ),
    ]
}

/// The files of all containers, read by their source, kept open, and opened anew.
struct Floor {
    snapshot: Snapshot,
    source: CgroupFiles,
    kept: Vec<(PathBuf, File)>,
    buffer: Vec<u8>,
}

impl Floor {
    fn of(snapshot: &Snapshot) -> Self {
        let mut empty = Snapshot::new(stamp());
        // As many as there are descriptors for, twice.
        for (id, cgroup) in snapshot.cgroups.iter().take(descriptors() / 2 / MOST_FILES) {
            empty.cgroups.entry(*id).or_default().identity = Arc::clone(&cgroup.identity);
        }
        let source = CgroupFiles::new(descriptors() / 2);
        let mut floor = Self { snapshot: empty, source, kept: Vec::new(), buffer: vec![0; 16_384] };
        let known: Vec<PathBuf> = open_files().into_iter().map(|(path, _)| path).collect();
        let before = known.len();
        let mut empty = floor.snapshot.clone();
        floor.source(&mut empty);
        // What the source has opened comes behind what was open before, in the order of descriptors.
        let mut seen: BTreeMap<PathBuf, usize> = BTreeMap::new();
        known.into_iter().for_each(|path| *seen.entry(path).or_default() += 1);
        for (path, file) in open_files() {
            match seen.get_mut(&path) {
                Some(more) if *more > 0 => *more -= 1,
                _ => floor.kept.push((path, file)),
            }
        }
        assert!(!floor.kept.is_empty(), "{before} files are open");
        floor
    }

    fn source(&mut self, into: &mut Snapshot) {
        self.source.sample(into).unwrap();
    }

    fn pread(&mut self) {
        for (_, file) in &self.kept {
            _ = file.read_at(&mut self.buffer, 0);
        }
    }

    fn anew(&mut self) {
        for (path, _) in &self.kept {
            _ = File::open(path).and_then(|file| file.read_at(&mut self.buffer, 0));
        }
    }
}

/// The descriptors of this process that lie in a cgroup tree, opened anew.
fn open_files() -> Vec<(PathBuf, File)> {
    let entries = fs::read_dir("/proc/self/fd").unwrap().flatten();
    let paths: Vec<PathBuf> = entries.filter_map(|entry| fs::read_link(entry.path()).ok()).collect();
    paths
        .into_iter()
        .filter(|path| path.starts_with("/sys/fs/cgroup") && path.is_file())
        .filter_map(|path| Some((path.clone(), File::open(path).ok()?)))
        .collect()
}

/// The agent as a process, once a second, with a real server.
fn whole_agent(number: usize) -> Vec<Row> {
    let Some(valkey) = Valkey::start(&[]) else {
        println!("SKIPPED: valkey-server is not installed");
        return Vec::new();
    };
    let mut rows = Vec::new();
    for history in ["off", "24h"] {
        let arguments =
            ["--scope", "host", "--interval", "1s", "--disk-interval", "0s", "--pin", "off", "--history", history];
        let agent = Agent::start(valkey.port, &arguments, &[]);
        let machine = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        valkey.report(machine.trim(), Duration::from_secs(30)).expect("no report");
        std::thread::sleep(Duration::from_secs(8));
        let before = cpu(&agent);
        std::thread::sleep(LONG);
        let share = (cpu(&agent) - before).as_secs_f64() / LONG.as_secs_f64() * 100.0;
        let mib = agent.resident() as f64 / f64::from(1 << 20);
        let what = format!("{number} containers at 1 s, `--history {history}`, {} s", LONG.as_secs());
        rows.push(row(format!("{what}: CPU of one core"), format!("{share:.2} %"), Some(("1 %", share < 1.0))));
        rows.push(row(format!("{what}: resident memory"), format!("{mib:.1} MiB"), Some(("24 MiB", mib < 24.0))));
    }
    rows
}

/// CPU time in nanoseconds' resolution: `schedstat` of every thread.
fn cpu(agent: &Agent) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{}/task", agent.pid())).unwrap().flatten();
    let nanos = tasks.filter_map(|task| {
        fs::read_to_string(task.path().join("schedstat")).ok()?.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}

/// From the end of a container until its last report is in Valkey.
fn ends() -> Vec<Row> {
    let Some(valkey) = Valkey::start(&[]) else { return Vec::new() };
    // No tick comes between.
    let arguments = ["--scope", "host", "--interval", "60s", "--disk-interval", "0s", "--pin", "off"];
    let mut rows = Vec::new();
    for ebpf in ["auto", "off"] {
        let _agent = Agent::start(valkey.port, &[&arguments[..], &["--ebpf", ebpf]].concat(), &[]);
        let machine = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        valkey.report(machine.trim(), Duration::from_secs(60)).expect("no report");
        let mut connection = valkey.connection();
        let mut took: Vec<Duration> = (0..50)
            .map(|_| {
                let (group, id) = Group::docker().unwrap();
                let mut load = Load::start_as(&group, &["idle"], &id);
                load.done();
                // Until its name is known.
                std::thread::sleep(Duration::from_millis(300));
                load.end();
                let began = Instant::now();
                drop(group);
                let key = format!("system:metrics:{id}");
                while redis::cmd("EXISTS").arg(&key).query::<u32>(&mut connection).unwrap() == 0 {
                    assert!(began.elapsed() < Duration::from_secs(30), "no last report of {id}");
                }
                began.elapsed()
            })
            .collect();
        took.sort();
        let (median, most) = (took[took.len() / 2], took[took.len() - 1]);
        rows.push(row(
            format!("the last report of a container that is gone (--ebpf {ebpf}): median, most of {}", took.len()),
            format!("{:.0} ms, {:.0} ms", median.as_secs_f64() * 1e3, most.as_secs_f64() * 1e3),
            Some(("100 ms", most < Duration::from_millis(100))),
        ));
    }
    rows
}

/// From the making of a cgroup until it is known.
fn latencies() -> Vec<Row> {
    let mut rows = Vec::new();
    for (mode, by) in [(Ebpf::Auto, "eBPF"), (Ebpf::Off, "inotify")] {
        let ended = Arc::default();
        let (containers, _bpf) = containers(&ended, mode);
        let mut found: Vec<Duration> = (0..50)
            .map(|_| {
                let (group, _) = Group::docker().unwrap();
                let dir = group.v2().unwrap().to_owned();
                drop(group);
                // The directory of the v2 tree alone, timed.
                let began = Instant::now();
                fs::create_dir(&dir).unwrap();
                let took = began.elapsed();
                let id = CgroupId(std::os::unix::fs::MetadataExt::ino(&fs::metadata(&dir).unwrap()));
                while !containers.knows(id) {
                    std::hint::spin_loop();
                }
                let known = began.elapsed() - took;
                fs::remove_dir(&dir).unwrap();
                known
            })
            .collect();
        found.sort();
        let (median, most) = (found[found.len() / 2], found[found.len() - 1]);
        rows.push(row(
            format!("a new container is known ({by}): median, most of {}", found.len()),
            format!("{:.2} ms, {:.2} ms", median.as_secs_f64() * 1e3, most.as_secs_f64() * 1e3),
            Some(("10 ms", median < Duration::from_millis(10))),
        ));
    }
    rows
}

/// What the kernel's programs take per event, by the kernel's own count (`kernel.bpf_stats_enabled`).
fn programs() -> Vec<Row> {
    const STATS: &str = "/proc/sys/kernel/bpf_stats_enabled";
    let Ok(before) = fs::read_to_string(STATS) else { return Vec::new() };
    let known: Vec<u32> = loaded().into_iter().map(|(id, ..)| id).collect();
    let ended = Arc::default();
    let (containers, _bpf) = containers(&ended, Ebpf::Auto);
    let _empty = empty(&containers.root().unwrap());
    fs::write(STATS, "1").unwrap();
    let (one, other) =
        (std::net::UdpSocket::bind("127.0.0.1:0").unwrap(), std::net::UdpSocket::bind("127.0.0.1:0").unwrap());
    for _ in 0..100_000 {
        one.send_to(&[0; 64], other.local_addr().unwrap()).unwrap();
        other.recv(&mut [0; 64]).unwrap();
    }
    for _ in 0..500 {
        Command::new("true").status().unwrap();
    }
    let ours: Vec<_> = loaded().into_iter().filter(|(id, _, _, runs)| !known.contains(id) && *runs >= 100).collect();
    fs::write(STATS, before).unwrap();
    let each = |time: Duration, runs: u64| time.as_secs_f64() * 1e9 / runs as f64;
    let clock = ours.iter().find(|(_, name, ..)| name == EMPTY).map_or(0.0, |(_, _, time, runs)| each(*time, *runs));
    let measured = |(_, name, time, runs): (u32, String, Duration, u64)| {
        let (counted, net) = (each(time, runs), each(time, runs) - clock);
        let is_packet = ["ingress", "egress"].contains(&name.as_str());
        let (text, most) = if is_packet { ("100 ns", 100.0) } else { ("250 ns", 250.0) };
        let what =
            format!("eBPF {name}, per event of {runs}: by the kernel's count, less what it says of an empty program");
        let measured = format!("{net:.0} ns ({counted:.0} less {clock:.0})");
        row(what, measured, Some((text, net < most)))
    };
    ours.into_iter().filter(|(_, name, ..)| name != EMPTY).map(measured).collect()
}

/// The name of the program that does nothing.
const EMPTY: &str = "empty";

/// Attaches a program that does nothing to what comes into a cgroup, for as long as it is held: what the kernel says of it is
/// what the kernel's looks at the clock take.
fn empty(cgroup: &std::path::Path) -> [OwnedFd; 2] {
    // Of `enum bpf_cmd` and `enum bpf_prog_type` (`include/uapi/linux/bpf.h`); the attach type of ingress is 0.
    const PROG_LOAD: libc::c_long = 5;
    const LINK_CREATE: libc::c_long = 28;
    const CGROUP_SKB: u64 = 8;
    // `r0 = 1; exit`: the packet passes.
    let instructions: [u64; 2] = [0x1_0000_00b7, 0x95];
    let licence = c"Dual MIT/GPL";
    let mut name = [0; 16];
    name[..EMPTY.len()].copy_from_slice(EMPTY.as_bytes());
    let [first, second] = [0, 8].map(|at| u64::from_ne_bytes(name[at..at + 8].try_into().unwrap()));
    let load = [CGROUP_SKB | 2 << 32, instructions.as_ptr() as u64, licence.as_ptr() as u64, 0, 0, 0, first, second];
    let bpf = |command: libc::c_long, attr: &[u64]| {
        // SAFETY: what the attributes point to outlives the call, which makes a descriptor.
        let fd = unsafe { libc::syscall(libc::SYS_bpf, command, attr.as_ptr(), size_of_val(attr)) };
        assert!(fd >= 0, "{}", std::io::Error::last_os_error());
        // SAFETY: as above.
        unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).unwrap()) }
    };
    let program = bpf(PROG_LOAD, &load);
    let directory = File::open(cgroup).unwrap();
    let [number, target] = [program.as_raw_fd(), directory.as_raw_fd()].map(|fd| u64::from(fd.unsigned_abs()));
    let link = bpf(LINK_CREATE, &[number | target << 32, 0]);
    [program, link]
}

/// Id, name, time and runs of the programs that this process holds: `/proc/self/fdinfo`.
fn loaded() -> Vec<(u32, String, Duration, u64)> {
    let names: BTreeMap<u32, String> = aya::programs::loaded_programs()
        .flatten()
        .map(|info| (info.id(), info.name_as_str().unwrap_or("?").to_owned()))
        .collect();
    let infos = fs::read_dir("/proc/self/fdinfo").unwrap().flatten();
    let programs = infos.filter_map(|entry| {
        let text = fs::read_to_string(entry.path()).ok()?;
        let field = |name: &str| {
            text.lines().find_map(|line| line.strip_prefix(name)?.trim_start_matches(':').trim().parse::<u64>().ok())
        };
        let id = u32::try_from(field("prog_id")?).ok()?;
        Some((id, names.get(&id)?.clone(), Duration::from_nanos(field("run_time_ns")?), field("run_cnt")?))
    });
    let mut programs: Vec<_> = programs.collect();
    programs.sort();
    programs.dedup_by_key(|program| program.0);
    programs
}
