//! As few privileges as possible, and fewer after start-up.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::Duration;

use tests::agent::{self, Agent};
use tests::cgroup::Group;
use tests::oracle;
use tests::valkey::Valkey;
use tests::watched::{SOCKET, TIMEOUT};
use tests::{binary, eventually, has, skip};

/// The counting programs, by the privileges that they need.
const PACKETS: &[&str] = &["eBPF ingress", "eBPF egress"];
const TRACING: &[&str] = &["eBPF task_newtask", "eBPF sched_process_exec", "eBPF sched_process_exit"];

/// The binary started by a program that drops privileges first.
fn through(program: &str, first: &[&str], arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    let agent = agent::command(arguments, &[]);
    command.args(first).arg(binary()).args(agent.get_args()).env_clear();
    command.envs(agent.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
}

/// An ordinary user with these capabilities alone.
fn as_user(capabilities: &str, arguments: &[&str]) -> Command {
    let some = format!("-all{capabilities}");
    let first =
        ["--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps", &some, "--ambient-caps", &some];
    through("setpriv", &first, arguments)
}

/// Each check of `doctor`: its state, and its reason with the remedy.
fn doctor(mut command: Command) -> BTreeMap<String, (String, String)> {
    let output = command.stderr(Stdio::null()).output().unwrap();
    let checks: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    let text = |check: &serde_json::Value, field: &str| check[field].as_str().unwrap_or_default().to_owned();
    let row = |check: &serde_json::Value| {
        (text(check, "name"), (text(check, "state"), format!("{} | {}", text(check, "why"), text(check, "cure"))))
    };
    checks.iter().map(row).collect()
}

const LOOK: &[&str] = &["doctor", "--json", "--valkey-url", "none", "--scope", "self"];

/// True if this kernel allows everything to root, whose privileges the tests below drop.
fn all_is_allowed() -> bool {
    let all = doctor(agent::command(LOOK, &[]));
    PACKETS.iter().chain(TRACING).all(|name| all[*name].0 == "available")
}

#[test]
fn each_set_of_capabilities_of_an_ordinary_user_has_what_it_suffices_for() {
    if !tests::is_root() || !has("setpriv") {
        skip!("taking capabilities away takes root, and setpriv of util-linux");
    }
    if !all_is_allowed() {
        skip!("eBPF is refused to root already");
    }
    for (capabilities, packets, tracing) in [
        ("", "CAP_BPF and CAP_NET_ADMIN are missing", "CAP_BPF and CAP_PERFMON are missing"),
        (",+net_admin", "CAP_BPF is missing", "CAP_BPF and CAP_PERFMON are missing"),
        (",+bpf", "CAP_NET_ADMIN is missing", "CAP_PERFMON is missing"),
        (",+perfmon", "CAP_BPF and CAP_NET_ADMIN are missing", "CAP_BPF is missing"),
        (",+perfmon,+net_admin", "CAP_BPF is missing", "CAP_BPF is missing"),
        (",+bpf,+net_admin", "", "CAP_PERFMON is missing"),
        (",+bpf,+perfmon", "CAP_NET_ADMIN is missing", ""),
        (",+bpf,+perfmon,+net_admin", "", ""),
    ] {
        let found = doctor(as_user(capabilities, LOOK));
        for (names, missing) in [(PACKETS, packets), (TRACING, tracing)] {
            for name in names {
                let (state, why) = &found[*name];
                assert_eq!(
                    state,
                    if missing.is_empty() { "available" } else { "refused" },
                    "{capabilities} {name}: {why}"
                );
                let remedy = missing.is_empty() || why.contains("--cap-add BPF --cap-add PERFMON --cap-add NET_ADMIN");
                let told = missing.is_empty() || why.starts_with(&format!("{missing} (EPERM)"));
                assert!(told && remedy, "{capabilities} {name}: {why}");
            }
        }
    }
}

#[test]
fn root_of_a_user_namespace_is_told_why_its_capabilities_do_not_help() {
    if !has("unshare") {
        skip!("unshare of util-linux is not installed");
    }
    let first = ["--user", "--map-root-user"];
    if !Command::new("unshare").args(first).arg("true").stderr(Stdio::null()).status().unwrap().success() {
        skip!("user namespaces are not allowed here");
    }
    if doctor(agent::command(LOOK, &[]))["eBPF ingress"].1.contains("no cgroup v2 tree") {
        skip!("eBPF is refused for another reason");
    }
    let found = doctor(through("unshare", &first, LOOK));
    let (state, why) = &found["eBPF ingress"];
    assert_eq!(state, "refused");
    assert!(why.contains("user namespace") && why.contains("outside of it"), "{why}");
    assert!(found.contains_key("source procfs"), "{found:?}");
}

/// `/proc/PID/task/TID/status` of each thread of an agent.
fn threads(agent: &Agent) -> Vec<BTreeMap<String, String>> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", agent.pid())).unwrap().flatten();
    let status = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("status")).ok());
    let fields = |text: String| {
        let pairs = text.lines().filter_map(|line| line.split_once(":\t"));
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    };
    status.map(fields).collect()
}

/// True of the first thread, which runs the loop, the sinks and the server; the others sample.
fn uses_network(thread: &BTreeMap<String, String>) -> bool {
    thread["Pid"] == thread["Tgid"]
}

/// An agent that has reported, with its latest report.
fn reporting(mut command: Command, valkey: &Valkey) -> (Agent, oracle::Judged) {
    let socket = format!("unix://{}", valkey.path("socket").display());
    command.env("VALKEY_URL", socket).env("CONTAINER_NAME", "rights").env("MONITOR_INTERVAL", "200ms");
    let agent = Agent::spawn(command);
    let report = || oracle::report("rights", &valkey.report("rights", Duration::from_millis(50))?).ok();
    let first = eventually(TIMEOUT, report).unwrap_or_else(|| panic!("no report: {}", agent.said()));
    let next = eventually(TIMEOUT, || report().filter(|next| next.timestamp > first.timestamp)).unwrap();
    (agent, next)
}

#[test]
fn an_agent_that_runs_has_no_capability_left_in_any_thread_and_still_counts() {
    if !tests::is_root() {
        skip!("there is nothing to drop");
    }
    let Some(valkey) = Valkey::start(SOCKET) else { skip!("valkey-server is not installed") };
    let (agent, report) = reporting(agent::command(&["--disk-interval", "0s"], &[]), &valkey);
    let threads = threads(&agent);
    assert!(threads.len() >= 2, "a reading has a thread of its own");
    // Valkey's socket may belong to another user. Older kernels show the sizes of descriptor tables and maps to
    // privileged processes only.
    let (dac_override, sys_ptrace, bpf) = (1 << 1, 1 << 19, 1 << 39);
    let sampling = match tests::kernel() {
        (..=4, _) | (5, ..=18) => dac_override | sys_ptrace | bpf,
        (5, _) | (6, ..=1) => dac_override | sys_ptrace,
        _ => dac_override,
    };
    for thread in &threads {
        let kept = if uses_network(thread) { dac_override } else { sampling };
        for (field, set) in [("CapPrm", kept), ("CapEff", kept), ("CapBnd", 0), ("CapInh", 0), ("CapAmb", 0)] {
            assert_eq!(u64::from_str_radix(&thread[field], 16).unwrap(), set, "{field} of {}", thread["Name"]);
        }
        assert_eq!((thread["NoNewPrivs"].as_str(), thread["Seccomp"].as_str()), ("1", "2"), "{}", thread["Name"]);
    }
    assert!(!agent.said().contains("cannot be dropped"), "{}", agent.said());
    if !all_is_allowed() {
        skip!("eBPF is refused to root already");
    }
    assert_eq!(report.json["sources"]["network"], "ebpf");
}

#[test]
fn every_layer_can_be_switched_off() {
    if !tests::is_root() {
        skip!("there is nothing to drop");
    }
    let Some(valkey) = Valkey::start(SOCKET) else { skip!("valkey-server is not installed") };
    let off = ["--drop-privileges", "false", "--sandbox", "off"];
    let (agent, without) = reporting(agent::command(&off, &[]), &valkey);
    let mine = std::fs::read_to_string("/proc/self/status").unwrap();
    for thread in threads(&agent) {
        assert!(mine.contains(&format!("CapEff:\t{}\n", thread["CapEff"])), "{thread:?}");
        assert_eq!((thread["NoNewPrivs"].as_str(), thread["Seccomp"].as_str()), ("0", "0"));
    }
    drop(agent);
    // The layers deny nothing that a report needs.
    let (_agent, with) = reporting(agent::command(&[], &[]), &valkey);
    let lacking = |report: &oracle::Judged| -> Vec<String> {
        // The first walk may be in progress or finished.
        report.absent.keys().filter(|field| !field.starts_with("disk_")).cloned().collect()
    };
    assert_eq!(lacking(&with), lacking(&without));
}

#[test]
fn an_agent_of_a_machine_that_holds_itself_still_looks_into_containers_of_others() {
    if !tests::is_root() || !has("setpriv") {
        skip!("control groups take root, and another user setpriv of util-linux");
    }
    let Some((group, _)) = Group::docker() else { skip!("no control group can be made here") };
    let Some(valkey) = Valkey::start(SOCKET) else { skip!("valkey-server is not installed") };
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "sleep", "10000"]);
    group.enter(command.env("CONTAINER_NAME", "rights"));
    let mut container = command.spawn().unwrap();
    let (agent, _) = reporting(agent::command(&["--scope", "host", "--disk-interval", "0s"], &[]), &valkey);
    // The name is in the environment, and the filesystem behind `/proc/PID/root`.
    let seen = || {
        let report = oracle::report("rights", &valkey.report("rights", Duration::from_millis(50))?).ok()?;
        report.number("disk_total_bytes").filter(|_| report.json["scope"] == "host")
    };
    let seen = eventually(TIMEOUT, seen);
    let threads = threads(&agent);
    container.kill().unwrap();
    container.wait().unwrap();
    assert!(seen.is_some(), "{:?} {}", valkey.report("rights", Duration::ZERO), agent.said());
    assert_eq!(threads.iter().filter(|thread| uses_network(thread)).count(), 1);
    for thread in threads {
        // CAP_DAC_OVERRIDE, for the socket; CAP_DAC_READ_SEARCH, CAP_SYS_PTRACE and, because maps grow, CAP_BPF.
        let kept = if uses_network(&thread) { 1 << 1 } else { 1 << 1 | 1 << 2 | 1 << 19 | 1 << 39 };
        assert_eq!(u64::from_str_radix(&thread["CapEff"], 16).unwrap(), kept, "{thread:?}");
        assert_eq!(thread["Seccomp"], "2", "{thread:?}");
    }
}

/// Results of forbidden operations after some layers were applied.
fn confined(layers: &str) -> BTreeMap<String, String> {
    let (read, write) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(read.path().join("file"), "text").unwrap();
    let valkey = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = valkey.local_addr().unwrap().port().to_string();
    let program = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("confined");
    let mut command = Command::new(program);
    command.arg(layers).arg(read.path()).arg(write.path()).arg(port);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let pairs = text.lines().filter_map(|line| line.split_once(": "));
    pairs.map(|(what, how)| (what.to_owned(), how.to_owned())).collect()
}

#[test]
fn landlock_leaves_within_reach_what_is_named_and_nothing_else() {
    let found = confined("landlock");
    if found["landlock"] == "NotEnforced" {
        skip!("this kernel has no Landlock");
    }
    for within in ["read within reach", "read a process", "write within reach", "connect within reach"] {
        assert_eq!(found[within], "done", "{within}");
    }
    let refused = libc::EACCES.to_string();
    for elsewhere in ["read elsewhere", "write elsewhere", "execute"] {
        assert_eq!(found[elsewhere], refused, "{elsewhere}");
    }
    // Linux 7 shows an environment to root without asking Landlock.
    let may_look = if tests::kernel() < (7, 0) { &refused } else { "done" };
    assert_eq!(found["look into a process"], may_look, "look into a process");
    if found["landlock"] != "FullyEnforced" {
        skip!("this kernel's Landlock knows no ports");
    }
    assert_eq!((&found["connect elsewhere"], &found["listen"]), (&refused, &refused));
}

#[test]
fn the_filter_refuses_what_an_agent_never_does_and_lets_it_read_maps() {
    let free = confined("");
    let found = confined("seccomp");
    let refused = libc::EPERM.to_string();
    for never in [
        "execute",
        "change the host's name",
        "leave the namespaces",
        "signal the parent",
        "signal a thread of the parent",
        "make a process",
        "make a map",
        "load a program",
        "pin",
    ] {
        assert_eq!(found[never], refused, "{never}");
        if tests::is_root() {
            assert_ne!(free[never], refused, "without the filter too: {never}");
        }
    }
    // The filter hides this call as if the kernel lacked it; it inspects the older one.
    assert_eq!(found["leave the namespaces with a process"], libc::ENOSYS.to_string());
    for may in ["read elsewhere", "write elsewhere", "listen", "connect within reach", "start a thread"] {
        assert_eq!(found[may], "done", "{may}");
    }
    assert_eq!(found["read a map"], free["read a map"]);
}

#[test]
fn capabilities_that_are_dropped_are_of_no_use_any_more() {
    if !tests::is_root() {
        skip!("there is nothing to drop");
    }
    let found = confined("capabilities");
    assert_eq!(found["kept"], "CAP_DAC_READ_SEARCH");
    let refused = libc::EPERM.to_string();
    for needs in ["change the host's name", "leave the namespaces"] {
        assert_eq!(found[needs], refused, "{needs}");
    }
    assert_eq!(found["read elsewhere"], "done");
}
