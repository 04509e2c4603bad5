//! One agent for every container of a machine.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use tests::agent::Agent;
use tests::docker::{self, BUSYBOX};
use tests::oracle::{self, Judged};
use tests::valkey::Valkey;
use tests::{eventually, skip};

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
        (docker, valkey, agent)
    }};
}

fn report(valkey: &Valkey, name: &str, fits: impl Fn(&Judged) -> bool) -> Judged {
    let latest = || oracle::report(name, &valkey.report(name, Duration::from_millis(50))?).ok().filter(&fits);
    eventually(PATIENCE, latest).unwrap_or_else(|| {
        let last = valkey.report(name, Duration::ZERO).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        panic!("{name}: {last:?}; there are {:?}", valkey.keys("system:metrics:"))
    })
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
    let writer = report(&valkey, "writer", |report| {
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
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let machine = report(&valkey, name.trim(), |report| report.number("cpu_percent").is_some());
    let processes = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()))
        .count() as f64;
    let counted = machine.number("process_count").unwrap();
    assert!((counted - processes).abs() < processes / 3.0, "{counted} of {processes}");
    assert!(machine.number("memory_usage_bytes").unwrap() > 1e7);
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
    let history: Vec<(String, Vec<String>)> = valkey.query(&["XRANGE", &format!("system:history:{name}"), "-", "+"]);
    let ended = history.iter().filter(|(_, fields)| fields[1].contains(r#""status":"exited""#)).count();
    assert_eq!(ended, 1, "the end is told once");
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
fn containers_that_end_at_once_are_each_told_of_once() {
    let (docker, valkey, _agent) = asking!();
    let names: Vec<String> = (0..12).map(|at| own(&format!("brief-{at}"))).collect();
    for name in &names {
        docker.run_once(&["--name", name], BUSYBOX, &["true"]).unwrap();
    }
    for name in &names {
        report(&valkey, name, |report| report.status == "exited");
        let history: Vec<(String, Vec<String>)> =
            valkey.query(&["XRANGE", &format!("system:history:{name}"), "-", "+"]);
        let ended = history.iter().filter(|(_, fields)| fields[1].contains(r#""status":"exited""#)).count();
        assert_eq!(ended, 1, "{name}");
    }
}

#[test]
fn programs_processes_and_descriptors_are_counted_exactly_under_churn() {
    let (docker, valkey, _agent) = asking!();
    let name = own("churn");
    let script = "exec 7</bin 8</etc; read go </tmp/go; i=0; while [ $i -lt 200 ]; do busybox true; i=$((i+1)); done; exec sleep 10000";
    let script = format!("mkfifo /tmp/go; {script}");
    let container = docker.run(&["--name", &name], BUSYBOX, &["sh", "-c", &script]);
    let before = report(&valkey, &name, |report| report.number("process_count") == Some(1.0));
    let pid = container.inspect(".State.Pid");
    let root = std::path::PathBuf::from(format!("/proc/{pid}/root/tmp/go"));
    eventually(PATIENCE, || root.exists().then_some(())).expect("no pipe");
    let counted = |report: &Judged, what: &str| report.json["processes"][what].as_u64();
    let before = report(&valkey, &name, |report| report.timestamp > before.timestamp);
    let before = report(&valkey, &name, |report| report.timestamp > before.timestamp);
    std::fs::write(&root, "go\n").unwrap();
    let sleeps = || std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap().trim() == "sleep";
    eventually(PATIENCE, || sleeps().then_some(())).expect("the load does not end");
    let after = report(&valkey, &name, |_| true);
    let after = report(&valkey, &name, |report| report.timestamp > after.timestamp);
    let after = report(&valkey, &name, |report| report.timestamp > after.timestamp);
    assert_eq!(after.number("process_count"), Some(1.0));
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count() as f64;
    assert_eq!(after.number("file_descriptors"), Some(open), "three of its own, and the two directories");
    if let (Some(execs), Some(exits)) = (counted(&before, "execs"), counted(&before, "exits")) {
        assert_eq!((counted(&after, "execs"), counted(&after, "exits")), (Some(execs + 201), Some(exits + 200)));
    }
}
