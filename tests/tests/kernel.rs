//! Known loads in real control groups of this machine, and what the agent makes of them.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use tests::agent::{self, Agent};
use tests::cgroup::Group;
use tests::oracle::{self, Judged};
use tests::valkey::Valkey;
use tests::{eventually, skip};

const PATIENCE: Duration = Duration::from_secs(20);

/// The agent's own talk with Valkey shall not be traffic of the group.
const SOCKET: &[&str] = &["--unixsocket", "{dir}/socket"];

/// An agent inside a group of its own.
struct Watched {
    _agent: Agent,
    group: Group,
    valkey: Valkey,
    name: &'static str,
}

/// Starts one, or skips the test.
macro_rules! watch {
    ($name:literal) => {
        watch!($name, |_| ())
    };
    ($name:literal, $prepare:expr) => {{
        if !tests::is_root() {
            skip!("control groups take root");
        }
        let Some(group) = Group::new($name) else { skip!("no control group can be made here") };
        let Some(valkey) = Valkey::start(SOCKET) else { skip!("valkey-server is not installed") };
        let prepare: fn(&Group) = $prepare;
        prepare(&group);
        Watched::start($name, group, valkey)
    }};
}

/// Skips the test where the kernel refuses the programs that it is about.
macro_rules! needs_ebpf {
    ($watched:expr, $($field:literal),+) => {{
        let report = $watched.report();
        $(if let Some(cause) = report.json["absent"][$field].as_str() {
            skip!("{}: {cause}", $field);
        })+
        report
    }};
}

impl Watched {
    fn start(name: &'static str, group: Group, valkey: Valkey) -> Self {
        let arguments = ["--interval", "200ms", "--scope", "self", "--disk-interval", "0s"];
        let mut command = agent::command(&arguments, &[("CONTAINER_NAME", name)]);
        command.env("VALKEY_URL", format!("unix://{}", valkey.path("socket").display()));
        group.enter(&mut command);
        let agent = Agent::spawn(command);
        let watched = Self { _agent: agent, group, valkey, name };
        watched.valkey.report(name, PATIENCE).expect("no report");
        watched
    }

    /// The next report whose readings begin after now.
    fn report(&self) -> Judged {
        let read = || oracle::report(self.name, &self.valkey.report(self.name, PATIENCE).unwrap()).unwrap();
        let before = read().timestamp;
        // The next one may have been read already when the load ended; the one after it was not.
        let next = eventually(PATIENCE, || Some(read().timestamp).filter(|at| *at > before)).expect("no new report");
        eventually(PATIENCE, || Some(read()).filter(|report| report.timestamp > next)).expect("no new report")
    }

    /// Starts a load in the group.
    fn load(&self, arguments: &[&str]) -> Load {
        Load::start(&self.group, arguments)
    }

    /// The entries of the log.
    fn entries(&self) -> Vec<oracle::Entry> {
        let prefix = format!("system:logs:{}:", self.name);
        let keys = self.valkey.keys(&prefix);
        keys.iter()
            .filter_map(|key| {
                let bytes: Option<Vec<u8>> = self.valkey.query(&["GET", key]);
                Some(oracle::entry(self.name, key, &bytes?).unwrap())
            })
            .collect()
    }
}

/// A load that runs, or has run and holds what it opened.
struct Load {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<std::process::ChildStdout>,
}

impl Load {
    fn start(group: &Group, arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_load"));
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        group.enter(&mut command);
        let mut child = command.spawn().unwrap();
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, input, output }
    }

    /// Waits until it has done what it was told; what it said before that.
    fn done(&mut self) -> Vec<String> {
        let mut said = Vec::new();
        loop {
            let mut line = String::new();
            assert!(self.output.read_line(&mut line).unwrap() > 0, "the load failed: {said:?}");
            match line.trim_end() {
                "done" => return said,
                line => said.push(line.to_owned()),
            }
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        drop(self.input.take());
        _ = self.child.wait();
    }
}

fn whole(report: &Judged, group: &str, field: &str) -> u64 {
    report.json[group][field].as_u64().unwrap_or_else(|| panic!("{group}.{field}: {}", report.json["absent"]))
}

fn real(report: &Judged, group: &str, field: &str) -> f64 {
    report.json[group][field].as_f64().unwrap_or_else(|| panic!("{group}.{field}: {}", report.json["absent"]))
}

/// The mean over some reports, so that one late tick does not decide.
fn mean(watched: &Watched, reports: usize, pick: impl Fn(&Judged) -> f64) -> f64 {
    (0..reports).map(|_| pick(&watched.report())).sum::<f64>() / reports as f64
}

#[test]
fn a_burner_at_a_quarter_cpu_reads_100_percent_and_is_throttled() {
    let watched = watch!("quarter", |group| group.limit_cpu(250));
    let _load = watched.load(&["burn", "60000"]);
    watched.report();
    let percent = mean(&watched, 10, |report| report.number("cpu_percent").unwrap());
    assert!((97.0..=100.0).contains(&percent), "{percent}");
    let report = watched.report();
    assert!((real(&report, "cpu", "limit_cores") - 0.25).abs() < 1e-6);
    assert!(real(&report, "cpu", "throttled_percent") > 50.0);
    assert!(
        eventually(PATIENCE, || watched
            .entries()
            .iter()
            .any(|entry| entry.level == "WARN" && entry.message.contains("throttled"))
            .then_some(()))
        .is_some()
    );
}

#[test]
fn a_load_at_half_of_its_allowance_reads_50_percent() {
    let watched = watch!("half", |group| group.limit_cpu(500));
    let _load = watched.load(&["duty", "250", "60000"]);
    watched.report();
    let percent = mean(&watched, 15, |report| report.number("cpu_percent").unwrap());
    assert!((43.0..57.0).contains(&percent), "{percent}");
    let cores = mean(&watched, 10, |report| real(report, "cpu", "usage_cores"));
    assert!((0.21..0.29).contains(&cores), "{cores}");
}

/// Bytes and packets: sent, received.
fn network(report: &Judged) -> [u64; 4] {
    let number =
        |field: &str| report.json[field].as_u64().unwrap_or_else(|| panic!("{field}: {}", report.json["absent"]));
    [
        number("network_tx_bytes"),
        whole(report, "network", "tx_packets"),
        number("network_rx_bytes"),
        whole(report, "network", "rx_packets"),
    ]
}

/// What a load adds to the counters, and what it said. It holds its connections open until it is dropped.
fn traffic(watched: &Watched, arguments: &[&str]) -> ([u64; 4], Vec<String>, Load) {
    let before = network(&watched.report());
    let mut load = watched.load(arguments);
    let said = load.done();
    let after = network(&watched.report());
    ([0, 1, 2, 3].map(|at| after[at] - before[at]), said, load)
}

const LOOPBACK: [(&str, u64); 2] = [("127.0.0.1", 20), ("::1", 40)];

#[test]
fn datagrams_are_counted_to_the_byte_and_to_the_packet() {
    let watched = watch!("udp");
    needs_ebpf!(watched, "network.tx_packets");
    for (address, header) in LOOPBACK {
        for (count, size) in [(1000, 1), (100, 1472), (20, 64_000)] {
            let load = ["udp", address, &count.to_string(), &size.to_string()];
            let (grown, ..) = traffic(&watched, &load);
            let bytes = count * (size + 8 + header);
            assert_eq!(grown, [bytes, count, bytes, count], "{load:?}");
        }
    }
}

#[test]
fn streams_are_counted_as_on_the_wire_with_the_headers_that_segmentation_adds() {
    let watched = watch!("tcp");
    needs_ebpf!(watched, "network.tx_packets");
    for (address, header) in LOOPBACK {
        for (count, size) in [(200, 10), (50, 65_536), (10, 1_000_000)] {
            let load = ["tcp", address, &count.to_string(), &size.to_string()];
            // A segment that is sent again, because the machine is busy, comes with options of another length.
            let undisturbed = (0..10).find_map(|_| {
                let (grown, said, _open) = traffic(&watched, &load);
                let ends: Vec<End> = said.iter().map(|line| End::parse(line)).collect();
                ends.iter().all(|end| end.sent_again == 0).then_some((grown, ends))
            });
            let (grown, ends) = undisturbed.expect("segments are lost on loopback");
            // The end that accepted did not count its answer to the first segment.
            let segments = ends.iter().map(|end| end.segments).sum::<u64>() + 1;
            let payload: u64 = ends.iter().map(|end| end.bytes).sum();
            // A segment has 20 bytes of TCP header and 12 of timestamps; the first of each side has 8 more of options.
            let bytes = payload + segments * (header + 32) + 2 * 8;
            assert_eq!(grown, [bytes, segments, bytes, segments], "{load:?}");
        }
    }
}

/// What one end of a connection says that it sent.
struct End {
    segments: u64,
    bytes: u64,
    sent_again: u64,
}

impl End {
    fn parse(line: &str) -> Self {
        let mut words = line.split(' ').map(|word| word.parse().unwrap());
        let mut next = || words.next().unwrap();
        Self { segments: next(), bytes: next(), sent_again: next() }
    }
}

#[test]
fn traffic_of_other_groups_is_not_counted() {
    let watched = watch!("bystander");
    needs_ebpf!(watched, "network.tx_packets");
    let Some(stranger) = Group::new("talker") else { skip!("no control group can be made here") };
    let before = network(&watched.report());
    Load::start(&stranger, &["udp", "127.0.0.1", "500", "100"]).done();
    assert_eq!(network(&watched.report()), before);
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
    assert_eq!(whole(&watched.report(), "memory", "oom_kills"), 0);
    watched.load(&["hog", "268435456"]).done();
    assert_eq!(whole(&watched.report(), "memory", "oom_kills"), 1);
    let error = || watched.entries().into_iter().find(|entry| entry.level == "ERROR");
    let entry = eventually(PATIENCE, error).expect("no ERROR entry");
    assert!(entry.message.contains("killed 1 process, 1 in all"), "{entry:?}");
}

#[test]
fn processes_and_descriptors_are_counted_to_the_one() {
    let watched = watch!("descriptors");
    let before = watched.report();
    let mut load = watched.load(&["open", "100"]);
    load.done();
    let after = watched.report();
    let grown = |field: &str| after.number(field).unwrap() - before.number(field).unwrap();
    let open = std::fs::read_dir(format!("/proc/{}/fd", load.child.id())).unwrap().count() as f64;
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
    let watched = Watched::start("limits", inner, valkey);
    let report = watched.report();
    assert_eq!(whole(&report, "memory", "limit_bytes"), 200 << 20);
    let (used, percent) = (report.number("memory_usage_bytes").unwrap(), report.number("memory_percent").unwrap());
    assert!((used / f64::from(200 << 20) * 100.0 - percent).abs() < 0.01, "{used} {percent}");
    drop(watched);
    drop(outer);
}

#[test]
fn a_frozen_group_is_paused_and_runs_again() {
    if !tests::is_root() {
        skip!("control groups take root");
    }
    // The agent must not freeze with it: it watches the group from outside, through the trees of another process' paths.
    let Some(group) = Group::new("frozen") else { skip!("no control group can be made here") };
    let identity = monitor::snapshot::Identity {
        v2: group.v2().map(Into::into),
        v1: [("freezer".to_owned(), group.dir("freezer").unwrap().to_owned())].into(),
        ..Default::default()
    };
    let status = |_: ()| {
        use monitor::sources::Source;
        let taken = monitor::snapshot::Stamp { mono: Duration::ZERO, wall: std::time::SystemTime::UNIX_EPOCH };
        let mut snapshot = monitor::snapshot::Snapshot::new(taken);
        snapshot.cgroups.entry(monitor::snapshot::CgroupId(1)).or_default().identity = identity.clone().into();
        monitor::sources::cgroup::CgroupFiles::new(1000).sample(&mut snapshot).unwrap();
        monitor::report::Report::new(None, &snapshot, Duration::ZERO).containers[0].status.as_str()
    };
    let _load = Load::start(&group, &["idle"]);
    assert_eq!(status(()), "running");
    group.freeze(true);
    let paused = eventually(PATIENCE, || (status(()) == "paused").then_some(()));
    // Before anything can fail: what is frozen cannot be ended.
    group.freeze(false);
    assert!(paused.is_some());
    assert!(eventually(PATIENCE, || (status(()) == "running").then_some(())).is_some());
}
