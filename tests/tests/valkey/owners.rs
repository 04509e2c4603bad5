//! Machines with containers of the same name, which write to one server.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command};

use serde_json::Value;
use tempfile::TempDir;
use tests::agent::{Agent, command};
use tests::valkey::Valkey;
use tests::{eventually, free_port, http, oracle, skip};

use crate::server::TIMEOUT;

/// A machine with a hostname and a cgroup tree of its own, made of files.
struct Machine {
    name: &'static str,
    tree: TempDir,
    /// Process of its containers, without a name in its environment.
    process: Child,
}

impl Drop for Machine {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

impl Machine {
    fn new(name: &'static str, containers: &[&str]) -> Self {
        let process = Command::new("sleep").arg("1000").env_clear().spawn().unwrap();
        let machine = Self { name, tree: tempfile::tempdir().unwrap(), process };
        fs::write(machine.tree.path().join("cgroup.procs"), "").unwrap();
        containers.iter().for_each(|name| machine.start(name));
        machine
    }

    fn dir(&self, container: &str) -> PathBuf {
        self.tree.path().join(format!("lxc.payload.{container}"))
    }

    fn start(&self, container: &str) {
        // It appears whole.
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("cgroup.procs"), format!("{}\n", self.process.id())).unwrap();
        fs::create_dir(self.dir(container)).unwrap();
        fs::rename(dir.path().join("cgroup.procs"), self.dir(container).join("cgroup.procs")).unwrap();
    }

    fn end(&self, container: &str) {
        fs::remove_dir_all(self.dir(container)).unwrap();
    }

    fn agent(&self, valkey: &Valkey, arguments: &[&str]) -> Agent {
        self.agent_as("", valkey, arguments)
    }

    fn agent_as(&self, login: &str, valkey: &Valkey, arguments: &[&str]) -> Agent {
        Agent::spawn(self.command(login, valkey, arguments))
    }

    fn command(&self, login: &str, valkey: &Valkey, arguments: &[&str]) -> Command {
        let tree = self.tree.path().to_str().unwrap();
        let url = format!("valkey://{login}127.0.0.1:{}", valkey.port);
        let environment = [
            ("VALKEY_URL", url.as_str()),
            ("MONITOR_SCOPE", "host"),
            ("MONITOR_EBPF", "off"),
            ("MONITOR_INTERVAL", "300ms"),
            ("MONITOR_DISK_INTERVAL", "0s"),
            ("MONITOR_CGROUP_ROOT", tree),
        ];
        let mut command = command(arguments, &environment);
        let name = CString::new(self.name).unwrap();
        let rename = move || {
            // SAFETY: takes a number, and a text that lives as long as the command.
            let is_renamed = unsafe {
                libc::unshare(libc::CLONE_NEWUTS) == 0 && libc::sethostname(name.as_ptr(), name.as_bytes().len()) == 0
            };
            if is_renamed { Ok(()) } else { Err(io::Error::last_os_error()) }
        };
        // SAFETY: the closure makes system calls alone.
        unsafe { command.pre_exec(rename) };
        command
    }
}

/// The hosts in the history of a name.
fn hosts(valkey: &Valkey, name: &str) -> Vec<String> {
    let host = |report: &str| serde_json::from_str::<Value>(report).unwrap()["host"].as_str().unwrap().to_owned();
    let mut hosts: Vec<String> = valkey.history(name).iter().map(|(_, report)| host(report)).collect();
    hosts.dedup();
    hosts
}

fn owner(valkey: &Valkey, name: &str) -> Option<String> {
    valkey.query(&["GET", &format!("system:owner:{name}")])
}

fn is_reported(valkey: &Valkey, name: &str) {
    let report = valkey.report(name, TIMEOUT).unwrap_or_else(|| panic!("no {name}: {:?}", valkey.keys("system:")));
    oracle::report(name, &report).unwrap();
}

#[test]
fn two_machines_with_a_container_of_one_name_are_told_apart_over_restarts() {
    let valkey = valkey!();
    if !tests::is_root() {
        skip!("a hostname of its own needs root");
    }
    let (a, b) = (Machine::new("hosta", &["web", "db"]), Machine::new("hostb", &["web"]));
    let first = a.agent(&valkey, &[]);
    is_reported(&valkey, "web");
    let port = free_port();
    let second = b.agent(&valkey, &["--listen", &format!("127.0.0.1:{port}")]);
    is_reported(&valkey, "web@hostb");
    is_reported(&valkey, "hostb");
    assert!(owner(&valkey, "web").unwrap().starts_with("hosta "));
    assert!(owner(&valkey, "web@hostb").unwrap().starts_with("hostb "));
    let ttl: u64 = valkey.query(&["PTTL", "system:owner:web"]);
    assert!((20_000..=60_000).contains(&ttl), "{ttl}");
    let metrics = http::get(port, "/metrics").text();
    assert!(metrics.contains(r#"name="web@hostb""#) && !metrics.contains(r#"name="web""#), "{metrics}");
    let said = second.end(libc::SIGTERM).said;
    assert_eq!(said.matches("Container name belongs to another machine").count(), 1, "{said}");

    let before = valkey.history("web@hostb").len();
    let second = b.agent(&valkey, &[]);
    eventually(TIMEOUT, || (valkey.history("web@hostb").len() > before + 1).then_some(())).expect("another name");
    assert_eq!((hosts(&valkey, "web"), hosts(&valkey, "web@hostb")), (vec!["hosta".into()], vec!["hostb".into()]));

    a.end("web");
    eventually(TIMEOUT, || owner(&valkey, "web").is_none().then_some(())).expect("the name is not given up");
    b.end("web");
    eventually(TIMEOUT, || owner(&valkey, "web@hostb").is_none().then_some(())).expect("the name is not given up");
    b.start("web");
    eventually(TIMEOUT, || owner(&valkey, "web").filter(|owner| owner.starts_with("hostb "))).expect("not claimed");
    let said = [first, second].map(|agent| agent.end(libc::SIGTERM).said);
    assert_eq!(said.each_ref().map(|said| said.matches("belongs to another machine").count()), [0, 1], "{said:?}");
}

#[test]
fn a_key_of_another_type_or_without_the_right_to_read_it_costs_the_claims_alone() {
    let valkey = valkey!();
    if !tests::is_root() {
        skip!("a hostname of its own needs root");
    }
    let machine = Machine::new("hosta", &["web", "db"]);
    for name in ["web", "hosta"] {
        let _: () = valkey.query(&["RPUSH", &format!("system:owner:{name}"), "x"]);
    }
    let agent = machine.agent(&valkey, &[]);
    is_reported(&valkey, "web@hosta");
    is_reported(&valkey, "hosta@hosta");
    let health = machine.command("", &valkey, &["healthcheck"]).output().unwrap();
    assert!(health.status.success(), "{health:?}");
    is_reported(&valkey, "db");
    drop(agent);

    let valkey = valkey!();
    let _: () = valkey.query(&["ACL", "SETUSER", "default", "-get"]);
    let agent = machine.agent(&valkey, &[]);
    assert!(agent.says("GET of system:owner:*; allow it", TIMEOUT), "{}", agent.said());
    let stored = || (valkey.history("web").len() > 2).then_some(());
    eventually(TIMEOUT, stored).unwrap_or_else(|| panic!("no reports: {}", agent.said()));
    let _: () = valkey.query(&["ACL", "SETUSER", "default", "+get"]);
    eventually(TIMEOUT, || owner(&valkey, "web")).expect("nothing is claimed later");
    let said = agent.end(libc::SIGTERM).said;
    assert_eq!(said.matches("system:owner").count(), 1, "{said}");
}

#[test]
fn a_name_that_was_shown_while_the_server_was_away_is_claimed_before_anything_is_written() {
    let valkey = valkey!();
    if !tests::is_root() {
        skip!("a hostname of its own needs root");
    }
    let machine = Machine::new("hosta", &["web"]);
    let port = free_port();
    let agent = machine.agent_as("monitor:p@", &valkey, &["--listen", &format!("127.0.0.1:{port}")]);
    assert!(agent.says("Container names are not claimed", TIMEOUT), "{}", agent.said());
    let is_shown = |name: &str| http::get(port, "/metrics").text().contains(&format!(r#"name="{name}""#)).then_some(());
    eventually(TIMEOUT, || is_shown("web")).expect("it waits for the server");
    let _: () = valkey.query(&["SET", "system:owner:web", "hostb 0"]);
    let _: () = valkey.query(&["ACL", "SETUSER", "monitor", "on", ">p", "~*", "+@all"]);
    is_reported(&valkey, "web@hosta");
    eventually(TIMEOUT, || is_shown("web@hosta")).expect("the other name is not shown");
    assert!(valkey.history("web").is_empty() && valkey.keys("system:metrics:web") == ["system:metrics:web@hosta"]);
    let said = agent.end(libc::SIGTERM).said;
    assert_eq!(said.matches("Container names are not claimed").count(), 1, "{said}");
}
