//! Containers that come and go: found, named, counted and reported to the end, however short they live. They are real
//! control groups where Docker would make them, with real processes.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::process::{Child, Command};
use std::time::Duration;

use tests::agent::{self, Agent};
use tests::cgroup::Group;
use tests::leftovers::Held;
use tests::oracle::{self, Judged};
use tests::valkey::Valkey;
use tests::watched::Load;
use tests::{eventually, skip};

const TIMEOUT: Duration = Duration::from_secs(20);

/// Starts a server, and an agent that reads the whole machine at an interval. By default it reads it once, and not again
/// before the test ends: all later reports follow from events.
macro_rules! world {
    ($($argument:literal),*) => { world!(every "1h" $(, $argument)*) };
    (every $interval:literal $(, $argument:literal)*) => {{
        if !tests::is_root() {
            skip!("control groups take root");
        }
        let Some(valkey) = Valkey::start(&[]) else { skip!("valkey-server is not installed") };
        let arguments = ["--scope", "host", "--interval", $interval, "--disk-interval", "0s", $($argument),*];
        let agent = Agent::start(valkey.port, &arguments, &[]);
        let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        let report = valkey.report(machine.trim(), TIMEOUT);
        assert!(report.is_some(), "no report of the machine: {}", agent.said());
        (valkey, agent)
    }};
}

/// The last report of a container, out of the history: the key of its latest report expires, and a busy machine may
/// look for it later than that.
fn last(valkey: &Valkey, name: &str) -> Judged {
    let ended = || {
        let (_, report) = valkey.history(name).pop()?;
        oracle::report(name, report.as_bytes()).ok().filter(|it| it.status == "exited")
    };
    eventually(TIMEOUT, ended).unwrap_or_else(|| panic!("{name}: {:?}", valkey.keys("system:history:")))
}

/// The time in which a container's first process can be seen: a moment, and on a busy machine until the agent has been
/// scheduled.
fn a_moment(agent: &Agent) {
    std::thread::sleep(Duration::from_millis(200));
    assert!(agent.settles(TIMEOUT), "{}", agent.said());
}

fn lives_and_ends(valkey: &Valkey, agent: &Agent) -> Judged {
    let (group, id) = Group::docker().unwrap();
    let mut load = Load::start_as(&group, &["exec", "5"], &id);
    load.done();
    // Until its first process has given its name,
    a_moment(agent);
    load.end();
    // and until a runtime has seen the end, some time passes, in which a busy machine schedules the agent.
    std::thread::sleep(Duration::from_secs(1));
    drop(group);
    last(valkey, &id)
}

#[test]
fn a_container_that_lives_between_two_ticks_is_reported_with_all_that_was_counted() {
    let (valkey, agent) = world!();
    let report = lives_and_ends(&valkey, &agent);
    if report.json["sources"]["network"] != "ebpf" {
        skip!("eBPF: {:?}", report.absent);
    }
    assert_eq!(report.json["processes"]["execs"], 6, "the load, and its five children: {}", report.json);
    assert_eq!(report.json["processes"]["exits"], 6);
    assert_eq!(report.json["runtime"], "docker");
    let name = report.json["container_name"].as_str().unwrap();
    let history: u64 = valkey.query(&["XLEN", &format!("system:history:{name}")]);
    assert_eq!(history, 1, "it is told of once");
    assert!(!agent.said().contains("walked") && !agent.said().contains("events lost"), "{}", agent.said());
}

#[test]
fn where_ebpf_is_refused_the_file_system_tells() {
    let (valkey, agent) = world!("--ebpf", "off");
    let report = lives_and_ends(&valkey, &agent);
    // The readings of its files after its last process had exited.
    assert!(report.json["memory"]["peak_bytes"].as_u64().is_some_and(|peak| peak > 0), "{}", report.json);
    assert!(!agent.said().contains("walked") && !agent.said().contains("events lost"), "{}", agent.said());
}

#[test]
fn containers_go_on_when_the_agent_stops_and_the_log_of_the_machine_tells_it() {
    let (valkey, agent) = world!();
    let (group, id) = Group::docker().unwrap();
    let mut load = Load::start_as(&group, &["exec", "1"], &id);
    load.done();
    a_moment(&agent);
    agent.end(libc::SIGTERM);
    let (_, report) = valkey.history(&id).pop().expect("the last report has the container");
    assert_eq!(oracle::report(&id, report.as_bytes()).unwrap().status, "running");
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let log = |name: &str| valkey.query::<redis::Value>(&["XRANGE", &format!("system:logstream:{name}"), "-", "+"]);
    let tells = |name: &str| format!("{:?}", log(name)).contains("the agent stops");
    assert!(tells(machine.trim()) && !tells(&id), "{:?}", log(machine.trim()));
    load.end();
}

#[test]
fn a_kill_by_the_kernel_is_in_the_last_report_and_in_the_log() {
    let (valkey, agent) = world!();
    let (group, id) = Group::docker().unwrap();
    group.limit_memory(24 << 20);
    let mut load = Load::start_as(&group, &["hog", "268435456"], &id);
    load.done();
    a_moment(&agent);
    load.end();
    drop(group);
    let report = last(&valkey, &id);
    assert_eq!(report.json["memory"]["oom_kills"], 1, "{}", report.json);
    let entries: Vec<String> =
        valkey.keys(&format!("system:logs:{id}:")).iter().map(|key| valkey.query::<String>(&["GET", key])).collect();
    assert!(entries.iter().any(|entry| entry.contains("out of memory")), "{entries:?}");
}

/// Fifty containers that live a moment together; their ids.
fn fifty(agent: &Agent) -> Vec<String> {
    let brief = || {
        let (group, id) = Group::docker().unwrap();
        let mut command = Command::new("sleep");
        command.arg("1000").env("CONTAINER_NAME", &id);
        group.enter(&mut command);
        (command.spawn().unwrap(), group, id)
    };
    let running: Vec<_> = (0..50).map(|_| brief()).collect();
    a_moment(agent);
    let end = |(mut child, group, id): (Child, Group, String)| {
        child.kill().unwrap();
        child.wait().unwrap();
        drop(group);
        id
    };
    running.into_iter().map(end).collect()
}

#[test]
fn of_many_that_live_a_moment_none_is_missed_and_nothing_is_left() {
    let (valkey, agent) = world!();
    let before = descriptors(&agent);
    let names: Vec<String> = (0..10).flat_map(|_| fifty(&agent)).collect();
    for name in &names {
        let report = last(&valkey, name);
        let history: u64 = valkey.query(&["XLEN", &format!("system:history:{name}")]);
        assert_eq!(history, 1);
        if report.json["sources"]["network"] == "ebpf" {
            assert_eq!(
                (&report.json["processes"]["execs"], &report.json["processes"]["exits"]),
                (&1.into(), &1.into())
            );
        }
    }
    let settled = eventually(TIMEOUT, || (descriptors(&agent) <= before + 16).then_some(()));
    assert!(settled.is_some(), "{} descriptors, {before} before", descriptors(&agent));
    assert!(!agent.said().contains("walked") && !agent.said().contains("lost"), "{}", agent.said());
}

fn descriptors(agent: &Agent) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", agent.pid())).unwrap().count()
}

#[test]
fn of_containers_that_came_and_went_nothing_is_left() {
    let (_valkey, agent) = world!(every "200ms");
    let before = Held::by(&agent);
    for _ in 0..300 {
        let (group, _) = Group::docker().unwrap();
        let mut command = Command::new("true");
        group.enter(&mut command);
        assert!(command.status().unwrap().success());
    }
    // Each had a descriptor per file and an entry per map; other tests make and remove cgroups too.
    let settled = || {
        let after = Held::by(&agent);
        let slack = 150;
        let is_back = after.descriptors < before.descriptors + slack && after.entries < before.entries + slack;
        is_back.then_some(())
    };
    assert!(eventually(TIMEOUT, settled).is_some(), "{before:?}, {:?}", Held::by(&agent));
}

#[test]
fn a_group_that_its_runtime_left_behind_is_told_as_exited_once() {
    let (valkey, agent) = world!(every "200ms");
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let (group, id) = Group::docker().unwrap();
    let mut load = Load::start_as(&group, &["exec", "1"], &id);
    load.done();
    assert!(valkey.report(&id, TIMEOUT).is_some(), "{}", agent.said());
    load.end();
    last(&valkey, &id);
    let (told, readings) = (valkey.history(&id).len(), valkey.history(machine.trim()).len());
    let goes_on = || (valkey.history(machine.trim()).len() > readings + 3).then_some(());
    assert!(eventually(TIMEOUT, goes_on).is_some(), "{}", agent.said());
    assert_eq!(valkey.history(&id).len(), told, "no report of an empty group");
    drop(group);
}

/// The losses that `doctor` finds in this server after a change of the agent's report about the machine.
fn losses(valkey: &Valkey, machine: &str, change: impl Fn(&mut serde_json::Value)) -> Vec<String> {
    let mut report = serde_json::from_slice(&valkey.report(machine, TIMEOUT).unwrap()).unwrap();
    change(&mut report);
    valkey.query::<()>(&["SET", &format!("system:metrics:{machine}"), &report.to_string()]);
    let url = format!("valkey://127.0.0.1:{}", valkey.port);
    let arguments =
        ["doctor", "--json", "--scope", "host", "--ebpf", "off", "--disk-interval", "0s", "--valkey-url", &url];
    let output = agent::command(&arguments, &[]).output().unwrap();
    let checks: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    let is_loss =
        |check: &&serde_json::Value| check["name"] == "lost events" || check["name"] == "following containers";
    checks.iter().filter(is_loss).map(|check| check["why"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn when_more_comes_and_goes_than_can_be_told_the_tree_is_walked_and_doctor_says_so() {
    let Some(group) = tests::is_root().then(|| Group::new("flood")).flatten() else {
        skip!("control groups take root")
    };
    let Some(tree) = group.v2() else { skip!("there is no v2 tree") };
    let Some(valkey) = Valkey::start(&[]) else { skip!("valkey-server is not installed") };
    let agent = Agent::start(valkey.port, &["--scope", "host", "--interval", "300ms", "--disk-interval", "0s"], &[]);
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let machine = machine.trim();
    let walks = || {
        let report: serde_json::Value = serde_json::from_slice(&valkey.report(machine, TIMEOUT)?).unwrap();
        report["agent"]["walked_again"].as_u64()
    };
    assert_eq!(walks(), Some(0));
    // Two events each, in a buffer for some eight thousand; inotify holds twice as many.
    agent.signal(libc::SIGSTOP);
    for _ in 0..20_000 {
        std::fs::create_dir(tree.join("brief")).unwrap();
        std::fs::remove_dir(tree.join("brief")).unwrap();
    }
    let (container, id) = Group::docker().unwrap();
    let load = Load::start_as(&container, &["exec", "1"], &id);
    agent.signal(libc::SIGCONT);
    assert!(eventually(TIMEOUT, || walks().filter(|walks| *walks > 0)).is_some(), "{}", agent.said());
    assert!(valkey.report(&id, TIMEOUT).is_some(), "the walk has found the container: {}", agent.said());
    load.end();
    agent.end(libc::SIGKILL);
    let told = losses(&valkey, machine, |_| ());
    assert!(matches!(&told[..], [walks] if walks.contains("the tree was walked again")), "{told:?}");
    let told = losses(&valkey, machine, |report| report["agent"]["lost_events"] = 7.into());
    assert!(matches!(&told[..], [events, _] if events.starts_with("7 packets or events")), "{told:?}");
    let none = losses(&valkey, machine, |report| {
        report["agent"]["lost_events"] = 0.into();
        report["agent"]["walked_again"] = 0.into();
    });
    assert_eq!(none, [""; 0]);
}

#[test]
fn containers_of_a_network_namespace_are_counted_where_files_tell_its_traffic() {
    if !tests::is_root() || !tests::has("unshare") {
        skip!("network namespaces take root, and unshare of util-linux");
    }
    let Some((group, id)) = Group::docker() else { skip!("no control group can be made here") };
    let Some(valkey) = Valkey::start(&[]) else { skip!("valkey-server is not installed") };
    let mut command = Command::new("unshare");
    group.enter(command.args(["--net", "sleep", "infinity"]).env("CONTAINER_NAME", &id));
    let mut process = command.spawn().unwrap();
    let arguments = ["--scope", "host", "--interval", "200ms", "--disk-interval", "0s", "--ebpf", "off"];
    let agent = Agent::start(valkey.port, &arguments, &[]);
    let counted = || {
        let report = oracle::report(&id, &valkey.report(&id, Duration::from_millis(50))?).ok()?;
        (report.json["network"]["containers"] == 1).then_some(())
    };
    let counted = eventually(TIMEOUT, counted);
    process.kill().unwrap();
    process.wait().unwrap();
    assert!(counted.is_some(), "{}", agent.said());
}
