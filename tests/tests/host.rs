//! One agent for every container of a machine.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tests::agent::Agent;
use tests::docker::{self, BUSYBOX, Container, Docker};
use tests::oracle::{self, Judged};
use tests::valkey::Valkey;
use tests::{eventually, offload, skip};

const PATIENCE: Duration = Duration::from_secs(30);

/// A daemon, a server, and an agent that watches the machine.
macro_rules! world {
    () => {{
        let docker = match docker::daemon() {
            Ok(docker) => docker,
            Err(reason) => skip!("{reason}"),
        };
        let Some(valkey) = Valkey::start(&[]) else { skip!("valkey-server is not installed") };
        let agent = Agent::start(valkey.port, &["--scope", "host", "--interval", "300ms"], &[]);
        wait_for_the_machine(&valkey);
        (docker, valkey, agent)
    }};
}

/// The agent watches from its first report on.
fn wait_for_the_machine(valkey: &Valkey) {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    valkey.report(name.trim(), PATIENCE).expect("no report of the machine");
}

fn report(valkey: &Valkey, name: &str, fits: impl Fn(&Judged) -> bool) -> Judged {
    report_within(PATIENCE, valkey, name, fits)
}

fn report_within(patience: Duration, valkey: &Valkey, name: &str, fits: impl Fn(&Judged) -> bool) -> Judged {
    let latest = || oracle::report(name, &valkey.report(name, Duration::from_millis(50))?).ok().filter(&fits);
    eventually(patience, latest).unwrap_or_else(|| {
        let last = valkey.report(name, Duration::ZERO).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        panic!("{name}: {last:?}; there are {:?}", valkey.keys("system:metrics:"))
    })
}

/// The next report whose readings begin after now: the next one of all may have begun before.
fn fresh(valkey: &Valkey, name: &str) -> Judged {
    let before = report(valkey, name, |_| true);
    let next = report(valkey, name, |report| report.timestamp > before.timestamp);
    report(valkey, name, |report| report.timestamp > next.timestamp)
}

/// How often its history tells that it has ended.
fn ends(valkey: &Valkey, name: &str) -> usize {
    valkey.history(name).iter().filter(|(_, report)| report.contains(r#""status":"exited""#)).count()
}

fn short(id: &str) -> &str {
    &id[..12]
}

#[test]
fn every_container_has_a_report_of_its_own_under_the_name_that_its_sidecar_had() {
    let (docker, valkey, _agent) = world!();
    let limits = ["--cpus", "0.25", "--memory", "64m", "--env", "CONTAINER_NAME=sirius-api"];
    let spinning = docker.run(&limits, BUSYBOX, &["sh", "-c", "while :; do :; done"]);
    let nameless = docker.run(&[], BUSYBOX, &["sleep", "10000"]);
    let api =
        report(&valkey, "sirius-api", |report| report.number("cpu_percent").is_some_and(|percent| percent > 80.0));
    assert_eq!(api.json["cpu"]["limit_cores"], 0.25);
    assert_eq!(api.json["memory"]["limit_bytes"], 64 << 20);
    assert_eq!((api.number("process_count"), api.json["scope"].as_str()), (Some(1.0), Some("host")));
    assert_eq!(api.json["container_id"], spinning.id.as_str());
    let quiet = report(&valkey, short(&nameless.id), |report| report.number("cpu_percent").is_some());
    assert!(quiet.number("cpu_percent").unwrap() < 20.0);
    assert!(quiet.number("disk_total_bytes").is_some(), "{}", quiet.json["absent"]);
}

#[test]
fn what_a_container_wrote_over_its_image_is_told_from_the_image() {
    let (docker, valkey, _agent) = world!();
    let _writer = docker.run(
        &["--env", "CONTAINER_NAME=writer"],
        BUSYBOX,
        &["sh", "-c", "dd if=/dev/urandom of=/file bs=1M count=3 && sleep 10000"],
    );
    let written =
        |report: &Judged| report.json["disk"]["writable_bytes"].as_u64().is_some_and(|bytes| bytes >= 3 << 20);
    // The machine's own root is walked before, and may be large.
    let writer = report_within(6 * PATIENCE, &valkey, "writer", |report| {
        written(report)
            || report.json["absent"]["disk.writable_bytes"].as_str().is_some_and(|cause| cause.contains("no overlay"))
    });
    if !written(&writer) {
        skip!("disk.writable_bytes: {}", writer.json["absent"]["disk.writable_bytes"]);
    }
    let layer = writer.json["disk"]["writable_bytes"].as_u64().unwrap();
    assert!(layer < 4 << 20, "{layer}: nothing of the image");
}

#[test]
fn the_machine_itself_has_a_report() {
    let (_docker, valkey, _agent) = world!();
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let machine = report(&valkey, name.trim(), |report| report.number("cpu_percent").is_some());
    let processes = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()))
        .count() as f64;
    let counted = machine.number("process_count").unwrap();
    assert!((counted - processes).abs() < processes / 3.0, "{counted} of {processes}");
    assert!(machine.number("memory_usage_bytes").unwrap() > 1e7);
}

/// `/proc`, read before the readings of a report about the machine, and after them.
struct Bracketed<T> {
    before: T,
    report: Judged,
    after: T,
}

fn bracketed<T>(valkey: &Valkey, machine: &str, read: impl Fn() -> T) -> Bracketed<T> {
    let before = read();
    let report = fresh(valkey, machine);
    Bracketed { before, report, after: read() }
}

fn proc_file(name: &str) -> String {
    fs::read_to_string(Path::new("/proc").join(name)).unwrap()
}

/// A line of `/proc/meminfo`, in bytes.
fn memory(name: &str) -> f64 {
    let text = proc_file("meminfo");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    line.split_whitespace().next().unwrap().parse::<f64>().unwrap() * 1024.0
}

/// CPU time that the machine has used, in seconds: without the idle, without what waits for a disk, and without what
/// another machine has taken.
fn used() -> f64 {
    let text = proc_file("stat");
    let ticks: Vec<f64> =
        text.lines().next().unwrap().split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [user, nice, system, _idle, _waiting, hard, soft, ..] = ticks[..] else { panic!("{ticks:?}") };
    // The unit of this file on every architecture (`proc(5)`: `USER_HZ`).
    (user + nice + system + hard + soft) / 100.0
}

/// The processes that live, and how many tasks were ever made.
fn processes() -> (BTreeSet<u32>, f64) {
    let lives = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, fields)| !fields.starts_with(['Z', 'X']))
    };
    let names = fs::read_dir("/proc").unwrap().flatten();
    let pids = names.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(lives).collect();
    let made = proc_file("stat").lines().find_map(|line| line.strip_prefix("processes ")?.parse().ok()).unwrap();
    (pids, made)
}

#[test]
fn the_machines_cpu_memory_load_and_processes_are_those_of_proc() {
    if !tests::is_root() {
        skip!("the processes of others take root");
    }
    let Some(valkey) = Valkey::start(&[]) else { skip!("valkey-server is not installed") };
    let agent = Agent::start(valkey.port, &["--scope", "host", "--interval", "300ms", "--disk-interval", "0s"], &[]);
    let machine = proc_file("sys/kernel/hostname").trim().to_owned();
    assert!(valkey.report(&machine, PATIENCE).is_some(), "{}", agent.said());

    // Averages change every five seconds.
    let averages = || proc_file("loadavg").split(' ').take(3).map(|word| word.parse().unwrap()).collect::<Vec<f64>>();
    let same = || Some(bracketed(&valkey, &machine, averages)).filter(|it| it.before == it.after);
    let Bracketed { before, report: loaded, .. } = eventually(PATIENCE, same).expect("the load never stays");
    let reported =
        ["load_average_1m", "load_average_5m", "load_average_15m"].map(|field| loaded.number(field).unwrap());
    assert_eq!(reported, before[..]);

    // Who lives all the while is counted, and nobody who has not been made by then. A hardened kernel may keep a process from
    // root, and from the programs that root loads.
    let is_kept = |pid: &&u32| fs::read_link(format!("/proc/{pid}/ns/pid")).is_err();
    let within = || {
        let Bracketed { before, report, after } = bracketed(&valkey, &machine, processes);
        let stayed: Vec<&u32> = before.0.intersection(&after.0).collect();
        let (kept, most) =
            (stayed.iter().filter(|pid| is_kept(pid)).count(), before.0.len() as f64 + after.1 - before.1);
        ((stayed.len() - kept) as f64..=most).contains(&report.number("process_count").unwrap()).then_some(report)
    };
    let counted = eventually(PATIENCE, within).expect("the processes are others");

    // The root of a tree of version 1 is charged with what is mapped and what is cached, all over the machine; where the root
    // is charged with nothing, what cannot be had is in use.
    let is_charged = counted.json["sources"]["memory"] == "cgroup1";
    let charged = || match is_charged {
        true => ["AnonPages", "Buffers", "Cached", "SwapCached"].map(memory).iter().sum(),
        false => memory("MemTotal") - memory("MemAvailable"),
    };
    let quiet = || {
        let seen = bracketed(&valkey, &machine, charged);
        let usage = seen.report.number("memory_usage_bytes").unwrap();
        let slack = f64::from(8 << 20);
        let range = seen.before.min(seen.after) - slack..=seen.before.max(seen.after) + slack;
        range.contains(&usage).then_some(seen.report)
    };
    let remembered = eventually(PATIENCE, quiet).expect("the memory is another");
    let percent = remembered.number("memory_usage_bytes").unwrap() / memory("MemTotal") * 100.0;
    assert!((remembered.number("memory_percent").unwrap() - percent).abs() < 0.01, "{percent}");

    // Of the time between two readings no more was used than from before the first one to after the second one, and no
    // less than from after the first one to before the second one.
    let first = bracketed(&valkey, &machine, used);
    (0..5).for_each(|_| drop(fresh(&valkey, &machine)));
    let second = bracketed(&valkey, &machine, used);
    let (least, most) = (second.before - first.after, second.after - first.before);
    let history = valkey.history(&machine);
    let reports = history.iter().map(|(_, report)| oracle::report(&machine, report.as_bytes()).unwrap());
    let reports: Vec<Judged> =
        reports.filter(|it| it.timestamp > first.report.timestamp && it.timestamp <= second.report.timestamp).collect();
    assert!(reports.len() > 5, "{} reports", reports.len());
    let real = |value: &serde_json::Value| value.as_f64().unwrap();
    let used = |it: &Judged| real(&it.json["cpu"]["usage_cores"]) * real(&it.json["interval_seconds"]);
    let sum: f64 = reports.iter().map(used).sum();
    // Of the file each of five numbers is cut to a hundredth of a second, of the report each interval to a thousandth.
    let slack = 0.05 + 0.002 * reports.len() as f64;
    if second.report.json["sources"]["cpu"] == "cgroup1" {
        skip!("the tree of version 1 measures the time that the file estimates");
    }
    assert!((least - slack..=most + slack).contains(&sum), "{least} to {most}, not {sum}");
}

#[test]
fn programs_and_traffic_are_the_containers_own_even_on_the_machines_network() {
    let (docker, valkey, _agent) = world!();
    let busy = "while :; do busybox true; done";
    let talker = "while :; do wget -q -O /dev/null http://127.0.0.1:9/; sleep 0.1; done";
    let _busy = docker.run(&["--env", "CONTAINER_NAME=busy"], BUSYBOX, &["sh", "-c", busy]);
    let _talker = docker.run(&["--network", "host", "--env", "CONTAINER_NAME=talker"], BUSYBOX, &["sh", "-c", talker]);
    let _silent = docker.run(&["--network", "host", "--env", "CONTAINER_NAME=silent"], BUSYBOX, &["sleep", "10000"]);
    let silent = report(&valkey, "silent", |_| true);
    if silent.json["sources"]["network"] != "ebpf" {
        skip!("eBPF: {}", silent.json["absent"]["network_rx_bytes"]);
    }
    report(&valkey, "talker", |report| report.number("network_tx_bytes").is_some_and(|sent| sent > 0.0));
    let busy =
        report(&valkey, "busy", |report| report.json["processes"]["execs"].as_u64().is_some_and(|execs| execs > 20));
    assert_eq!(busy.number("network_tx_bytes"), Some(0.0));
    // What its runtime did to start it is its own too.
    let forks = |report: &Judged| report.json["processes"]["forks"].as_u64().unwrap();
    let before = report(&valkey, "silent", |_| true);
    let after = report(&valkey, "silent", |report| report.timestamp > before.timestamp);
    assert_eq!((after.number("network_tx_bytes"), forks(&after)), (Some(0.0), forks(&before)));
}

#[test]
fn a_container_that_ends_gets_a_last_report_and_then_its_key_runs_out() {
    let (docker, valkey, _agent) = world!();
    let script = "for i in 1 2 3 4 5 6 7 8 9 10; do busybox true; done; sleep 2";
    let container = docker.run(&["--env", "CONTAINER_NAME=brief"], BUSYBOX, &["sh", "-c", script]);
    report(&valkey, "brief", |report| report.status == "running");
    let last = report(&valkey, "brief", |report| report.status == "exited");
    assert!(last.number("process_count").is_none());
    if let Some(execs) = last.json["processes"]["execs"].as_u64() {
        assert!(execs >= 12, "the shell, ten programs and the sleep: {execs}");
    }
    let left: i64 = valkey.query(&["PTTL", "system:metrics:brief"]);
    assert!((1..=30_000).contains(&left), "{left}");
    drop(container);
}

/// A daemon, a server, and an agent that asks the daemon for names.
macro_rules! asking {
    ($($argument:literal),*) => {{
        let docker = match docker::daemon() {
            Ok(docker) => docker,
            Err(reason) => skip!("{reason}"),
        };
        let Some(valkey) = Valkey::start(&[]) else { skip!("valkey-server is not installed") };
        let arguments = ["--scope", "host", "--interval", "500ms", "--runtime-sockets", &docker.socket(), $($argument),*];
        let agent = Agent::start(valkey.port, &arguments, &[]);
        wait_for_the_machine(&valkey);
        (docker, valkey, agent)
    }};
}

/// A name that no other test gives.
fn own(name: &str) -> String {
    format!("{name}-{}", std::process::id())
}

#[test]
fn a_container_is_called_what_its_runtime_calls_it_and_a_new_name_is_followed() {
    let (docker, valkey, _agent) = asking!();
    let (first, second) = (own("first"), own("second"));
    let container = docker.run(&["--name", &first, "--label", "tier=front"], BUSYBOX, &["sleep", "10000"]);
    let named = report(&valkey, &first, |_| true);
    assert_eq!((named.json["image"].as_str(), named.json["labels"]["tier"].as_str()), (Some(BUSYBOX), Some("front")));
    assert!(!valkey.keys("system:metrics:").contains(&format!("system:metrics:{}", short(&container.id))));
    docker.ask(&["rename", &first, &second]).unwrap();
    let renamed = report(&valkey, &second, |_| true);
    assert_eq!(renamed.json["cgroup_id"], named.json["cgroup_id"]);
    let entries: u64 = valkey.query(&["XLEN", &format!("system:logstream:{second}")]);
    assert!(entries >= 1, "its log goes on under the new name");
}

#[test]
fn a_container_that_is_started_anew_or_paused_is_told_so_under_its_name() {
    let (docker, valkey, _agent) = asking!();
    let name = own("again");
    let container = docker.run(&["--name", &name], BUSYBOX, &["sleep", "10000"]);
    let before = report(&valkey, &name, |_| true);
    container.ask(&["pause"]).unwrap();
    report(&valkey, &name, |report| report.status == "paused");
    container.ask(&["unpause"]).unwrap();
    report(&valkey, &name, |report| report.status == "running");
    container.ask(&["restart", "--time", "0"]).unwrap();
    let after = report(&valkey, &name, |report| report.json["cgroup_id"] != before.json["cgroup_id"]);
    assert_eq!(after.status, "running");
    assert_eq!(ends(&valkey, &name), 1, "the end is told once");
}

#[test]
fn two_of_one_name_have_a_key_each_and_names_can_be_left_out() {
    let (docker, valkey, agent) = asking!("--containers", "!left-out*");
    let twin = own("twin");
    let environment = format!("CONTAINER_NAME={twin}");
    let older = docker.run(&["--env", &environment], BUSYBOX, &["sleep", "10000"]);
    report(&valkey, &twin, |report| report.json["container_id"] == older.id.as_str());
    let left_out = own("left-out");
    let _left_out = docker.run(&["--name", &left_out], BUSYBOX, &["sleep", "10000"]);
    let younger = docker.run(&["--env", &environment], BUSYBOX, &["sleep", "10000"]);
    report(&valkey, &format!("{twin}-{}", short(&younger.id)), |report| {
        report.json["container_id"] == younger.id.as_str()
    });
    report(&valkey, &twin, |report| report.json["container_id"] == older.id.as_str());
    assert_eq!(agent.said().matches(&format!("two containers are called {twin}")).count(), 1);
    assert!(valkey.keys(&format!("system:metrics:{left_out}")).is_empty());
}

#[test]
fn a_container_of_half_a_second_is_called_what_its_environment_says() {
    // Nobody tells the agent where this engine keeps its files and its socket.
    let (docker, valkey, _agent) = world!();
    // Side by side it takes longer until what the engine has started becomes the container's own process.
    std::thread::scope(|scope| {
        for number in 0..8 {
            let valkey = &valkey;
            scope.spawn(move || {
                let name = format!("brief-{number}");
                let container = docker.run(&["--env", &format!("CONTAINER_NAME={name}")], BUSYBOX, &["sleep", "10000"]);
                std::thread::sleep(Duration::from_millis(500));
                drop(container);
                report(valkey, &name, |report| report.status == "exited");
            });
        }
    });
}

#[test]
fn containers_that_end_at_once_are_each_told_of_once() {
    let (docker, valkey, _agent) = asking!();
    let names: Vec<String> = (0..12).map(|at| own(&format!("brief-{at}"))).collect();
    for name in &names {
        docker.run_once(&["--name", name], BUSYBOX, &["true"]).unwrap();
    }
    for name in &names {
        // The keys of the first may have run out by now.
        eventually(PATIENCE, || (ends(&valkey, name) > 0).then_some(())).unwrap_or_else(|| panic!("{name}"));
        assert_eq!(ends(&valkey, name), 1, "{name}");
    }
}

#[test]
fn programs_processes_and_descriptors_are_counted_exactly_under_churn() {
    let (docker, valkey, _agent) = asking!();
    let name = own("churn");
    let script = "exec 7</bin 8</etc; read go </tmp/go; i=0; while [ $i -lt 200 ]; do busybox true; i=$((i+1)); done; exec sleep 10000";
    let script = format!("mkfifo /tmp/go; {script}");
    let container = docker.run(&["--name", &name], BUSYBOX, &["sh", "-c", &script]);
    report(&valkey, &name, |report| report.number("process_count") == Some(1.0));
    let pid = container.inspect(".State.Pid");
    let root = PathBuf::from(format!("/proc/{pid}/root/tmp/go"));
    eventually(PATIENCE, || root.exists().then_some(())).expect("no pipe");
    let counted = |report: &Judged, what: &str| report.json["processes"][what].as_u64();
    let before = fresh(&valkey, &name);
    fs::write(&root, "go\n").unwrap();
    let sleeps = || fs::read_to_string(format!("/proc/{pid}/comm")).unwrap().trim() == "sleep";
    eventually(PATIENCE, || sleeps().then_some(())).expect("the load does not end");
    let after = fresh(&valkey, &name);
    assert_eq!(after.number("process_count"), Some(1.0));
    let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count() as f64;
    assert_eq!(after.number("file_descriptors"), Some(open), "three of its own, and the two directories");
    if let (Some(execs), Some(exits)) = (counted(&before, "execs"), counted(&before, "exits")) {
        assert_eq!((counted(&after, "execs"), counted(&after, "exits")), (Some(execs + 201), Some(exits + 200)));
    }
}

/// The length of an Ethernet header, which interfaces count.
const LINK: u64 = 14;
/// The headers of a segment: IPv4, TCP, and its option of timestamps.
const SEGMENT: u64 = 20 + 20 + 12;

/// A network of Docker's with nothing else on it: no other container's broadcasts, and nothing of the machine's own.
struct Bridge<'a> {
    docker: &'a Docker,
    name: String,
}

impl<'a> Bridge<'a> {
    fn new(docker: &'a Docker) -> Self {
        let name = format!("smn{}", std::process::id());
        let named = format!("com.docker.network.bridge.name={name}");
        docker.ask(&["network", "create", "--opt", &named, &name]).unwrap();
        Self { docker, name }
    }

    /// The machine's ends of all cables, and the bridge itself.
    fn interfaces(&self) -> Vec<String> {
        let ports = fs::read_dir(format!("/sys/class/net/{}/brif", self.name)).unwrap().flatten();
        ports.map(|port| port.file_name().into_string().unwrap()).chain([self.name.clone()]).collect()
    }

    /// Nobody looks for neighbours any more.
    fn silence(&self, ends: [&End<'_>; 2]) {
        for interface in self.interfaces() {
            _ = fs::write(format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6"), "1");
        }
        for (end, other) in [(ends[0], ends[1]), (ends[1], ends[0])] {
            let words = ["--net", "ip", "neigh", "replace", &other.address, "lladdr", &other.hardware];
            let mut command = Command::new("nsenter");
            command.args(["--target", &end.pid]).args(words).args(["dev", "eth0", "nud", "permanent"]);
            assert!(command.status().unwrap().success());
        }
    }

    fn offload(&self, ends: [&End<'_>; 2], on: bool) {
        for interface in self.interfaces().iter().filter(|interface| **interface != self.name) {
            offload::set(Path::new("/proc/self/ns/net"), interface, on);
        }
        ends.iter().for_each(|end| offload::set(&end.proc().join("ns/net"), "eth0", on));
    }
}

impl Drop for Bridge<'_> {
    fn drop(&mut self) {
        _ = self.docker.ask(&["network", "rm", &self.name]);
    }
}

/// A container on such a network.
struct End<'a> {
    container: Container<'a>,
    name: String,
    pid: String,
    address: String,
    hardware: String,
}

/// Bytes and packets: received, sent.
type Counters = [u64; 4];

impl<'a> End<'a> {
    fn new(bridge: &Bridge<'a>, name: &str) -> Self {
        let name = own(name);
        let container = bridge.docker.run(&["--network", &bridge.name, "--name", &name], BUSYBOX, &["sleep", "10000"]);
        let of_network =
            |field: &str| container.inspect(&format!("range .NetworkSettings.Networks}}}}{{{{.{field}}}}}{{{{end"));
        let (address, hardware) = (of_network("IPAddress"), of_network("MacAddress"));
        let pid = container.inspect(".State.Pid");
        Self { container, name, pid, address, hardware }
    }

    fn proc(&self) -> PathBuf {
        Path::new("/proc").join(&self.pid)
    }

    /// What its interface has counted.
    fn interface(&self) -> Counters {
        let text = fs::read_to_string(self.proc().join("net/dev")).unwrap();
        let line = text.lines().find_map(|line| line.trim().strip_prefix("eth0:")).unwrap();
        let numbers: Vec<u64> = line.split_whitespace().map(|number| number.parse().unwrap()).collect();
        [numbers[0], numbers[1], numbers[8], numbers[9]]
    }

    /// What its interface has counted and what is reported of it, at a moment when nothing is on the way.
    fn counted(&self, valkey: &Valkey) -> (Counters, Counters) {
        let quiet = || {
            let before = self.interface();
            let latest = fresh(valkey, &self.name);
            (self.interface() == before).then(|| {
                let packets = |field: &str| latest.json["network"][field].as_u64().unwrap();
                let bytes = |field: &str| latest.json[field].as_u64().unwrap();
                let received = [bytes("network_rx_bytes"), packets("rx_packets")];
                (before, [received[0], received[1], bytes("network_tx_bytes"), packets("tx_packets")])
            })
        };
        eventually(PATIENCE, quiet).expect("it is never quiet")
    }

    /// Sends so many bytes to another one, which listens at a port. The connection stays open.
    fn send(&self, to: &End<'_>, port: u16, bytes: u64) {
        // Who takes late has the sender's packets grow, if they may.
        let take = format!("sleep 1; busybox head -c {bytes} >/dev/null; >/tmp/{port}; sleep 10000");
        let listen = format!("sleep 10000 | nc -l -p {port} | ({take})");
        to.container.exec(&["--detach"], &["sh", "-c", &listen]).unwrap();
        let listening = |table: &str| fs::read_to_string(to.proc().join("net").join(table)).unwrap();
        let listens = || ["tcp", "tcp6"].iter().any(|table| listening(table).contains(&format!(":{port:04X} ")));
        eventually(PATIENCE, || listens().then_some(())).expect("nobody listens");
        let send = format!("(dd if=/dev/zero bs={bytes} count=1; sleep 10000) | nc {} {port}", to.address);
        self.container.exec(&["--detach"], &["sh", "-c", &send]).unwrap();
        let done = to.proc().join(format!("root/tmp/{port}"));
        eventually(PATIENCE, || done.exists().then_some(())).expect("not all has come");
    }
}

/// What `end` has counted more at its interface, and in its reports, by what `happens`.
fn grown(end: &End<'_>, valkey: &Valkey, happens: impl FnOnce()) -> (Counters, Counters) {
    let before = end.counted(valkey);
    happens();
    let after = end.counted(valkey);
    let more = |after: Counters, before: Counters| [0, 1, 2, 3].map(|at| after[at] - before[at]);
    (more(after.0, before.0), more(after.1, before.1))
}

#[test]
fn the_traffic_of_a_container_is_what_its_interface_has_counted_with_and_without_offload() {
    const SENT: u64 = 4_000_000;
    if !tests::has("nsenter") {
        skip!("nsenter is not installed");
    }
    let (docker, valkey, _agent) = asking!();
    let bridge = Bridge::new(docker);
    let (sender, receiver) = (End::new(&bridge, "sender"), End::new(&bridge, "receiver"));
    let ends = [&sender, &receiver];
    let first = report(&valkey, &sender.name, |_| true);
    if first.json["sources"]["network"] != "ebpf" {
        skip!("the network's numbers are from {}", first.json["sources"]["network"]);
    }
    bridge.silence(ends);
    for (end, port) in [(&sender, 1001), (&receiver, 1002)] {
        bridge.offload(ends, false);
        let (interface, reported) = grown(end, &valkey, || sender.send(&receiver, port, SENT));
        let [rx_bytes, rx_packets, tx_bytes, tx_packets] = interface;
        let without_link = [rx_bytes - LINK * rx_packets, rx_packets, tx_bytes - LINK * tx_packets, tx_packets];
        assert_eq!(reported, without_link, "{}", end.name);
    }
    bridge.offload(ends, true);
    for (end, ports) in [(&sender, 2000..2010), (&receiver, 3000..3010)] {
        // Where the machine has much else to do, each small write may become a packet of its own: then once more.
        let is_cut = ports.into_iter().any(|port| {
            let (interface, reported) = grown(end, &valkey, || sender.send(&receiver, port, SENT));
            let payload = |counted: Counters, header: u64| [0, 2].map(|at| counted[at] - header * counted[at + 1]);
            assert_eq!(payload(reported, SEGMENT), payload(interface, LINK + SEGMENT), "{}", end.name);
            assert!(payload(reported, SEGMENT).iter().any(|bytes| *bytes >= SENT), "{reported:?}");
            reported[1] + reported[3] > interface[1] + interface[3]
        });
        assert!(is_cut, "{}: every packet is as on the wire in spite of offload", end.name);
    }
}
