//! Names of containers from the runtime.

use tests::agent::Agent;
use tests::docker::{self, BUSYBOX};
use tests::skip;
use tests::valkey::Valkey;

use crate::world::{ends, own, report, short, wait_for_the_machine};

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
    assert_eq!(agent.said().matches(&format!("Container name already in use: id appended name={twin} ")).count(), 1);
    assert!(valkey.keys(&format!("system:metrics:{left_out}")).is_empty());
}
