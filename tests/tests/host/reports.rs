//! One report per container, with its own numbers.

use tests::agent::Agent;
use tests::docker::{self, BUSYBOX};
use tests::oracle::Judged;
use tests::skip;
use tests::valkey::Valkey;

use crate::world::{TIMEOUT, report, report_within, short, wait_for_the_machine};

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
    assert!(quiet.number("disk_total_bytes").is_some(), "{:?}", quiet.absent);
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
    // The machine's own root is walked first, and may be large.
    let writer = report_within(6 * TIMEOUT, &valkey, "writer", |report| {
        written(report) || report.absent.get("disk.writable_bytes").is_some_and(|cause| cause.contains("no overlay"))
    });
    if !written(&writer) {
        skip!("disk.writable_bytes: {}", writer.absent["disk.writable_bytes"]);
    }
    let layer = writer.json["disk"]["writable_bytes"].as_u64().unwrap();
    assert!(layer < 4 << 20, "{layer}: nothing of the image");
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
        skip!("eBPF: {:?}", silent.absent.get("network_rx_bytes"));
    }
    let talker = report(&valkey, "talker", |report| report.json["network"]["loopback_tx_bytes"].as_u64() > Some(0));
    assert_eq!(talker.number("network_tx_bytes"), Some(0.0), "nothing of it leaves the machine");
    let busy =
        report(&valkey, "busy", |report| report.json["processes"]["execs"].as_u64().is_some_and(|execs| execs > 20));
    assert_eq!(busy.number("network_tx_bytes"), Some(0.0));
    // The processes that its runtime started for it count as its own.
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
    assert_eq!(last.number("process_count"), Some(0.0), "a cgroup is removed once it has no process");
    assert_eq!(last.json["processes"]["threads"], 0);
    if let Some(execs) = last.json["processes"]["execs"].as_u64() {
        assert!(execs >= 12, "the shell, ten programs and the sleep: {execs}");
    }
    let left: i64 = valkey.query(&["PTTL", "system:metrics:brief"]);
    assert!((1..=30_000).contains(&left), "{left}");
    drop(container);
}
