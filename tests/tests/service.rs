//! Living under a service manager: what it hears, and what the unit allows.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use tests::agent::{self, Agent};
use tests::{eventually, has, skip};

const PATIENCE: Duration = Duration::from_secs(20);

/// The service manager's end of the socket.
struct Manager {
    socket: UnixDatagram,
    dir: TempDir,
}

impl Manager {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        Self { socket, dir }
    }

    fn start(&self, environment: &[(&str, &str)]) -> Agent {
        let mut command = agent::command(
            &["--interval", "200ms", "--valkey-url", "none", "--disk-interval", "0s", "--scope", "self"],
            environment,
        );
        command.env("NOTIFY_SOCKET", self.dir.path().join("notify"));
        Agent::spawn(command)
    }

    /// The next message; `None` when there is none for a second.
    fn hears(&self) -> Option<String> {
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).ok()?;
        Some(String::from_utf8(buffer[..length].to_vec()).unwrap())
    }

    fn hears_until(&self, word: &str) -> String {
        eventually(PATIENCE, || self.hears().filter(|message| message.contains(word))).expect("it is never said")
    }
}

#[test]
fn a_service_manager_hears_of_the_start_of_each_reading_and_of_the_end() {
    let manager = Manager::new();
    let agent = manager.start(&[]);
    let first = manager.hears_until("READY=1");
    assert!(first.contains("WATCHDOG=1\n") && first.contains("STATUS=1 container on "), "{first}");
    let second = manager.hears_until("WATCHDOG=1");
    assert!(!second.contains("READY"), "{second}");
    let ended = agent.end(libc::SIGTERM);
    assert!(ended.status.success(), "{}", ended.said);
    manager.hears_until("STOPPING=1");
}

#[test]
fn an_agent_that_hangs_gives_no_sign_of_life() {
    let manager = Manager::new();
    let agent = manager.start(&[]);
    manager.hears_until("READY=1");
    agent.signal(libc::SIGSTOP);
    while manager.hears().is_some() {}
    assert_eq!(manager.hears(), None);
    agent.signal(libc::SIGCONT);
    manager.hears_until("WATCHDOG=1");
}

#[test]
fn a_watchdog_that_is_too_eager_for_the_interval_is_asked_for_patience() {
    let manager = Manager::new();
    let _agent = manager.start(&[("WATCHDOG_USEC", "500000")]);
    assert!(manager.hears_until("READY=1").starts_with("WATCHDOG_USEC=600000\n"));
}

/// The repository's unit, where `systemd-analyze` finds what it names.
fn unit() -> String {
    concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/systemd/system-monitor.service").to_owned()
}

#[test]
fn the_unit_is_well_formed_and_exposes_little() {
    if !has("systemd-analyze") {
        skip!("systemd-analyze is not installed");
    }
    let output = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--threshold=20", &unit()])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    // More than 2.0, in tenths, is a failure.
    assert!(output.status.success(), "{said}");
    // The manager runs on this machine's files: give it a root in which the program exists.
    let dir = tempfile::tempdir().unwrap();
    let units = dir.path().join("usr/lib/systemd/system");
    std::fs::create_dir_all(&units).unwrap();
    std::fs::create_dir_all(dir.path().join("usr/bin")).unwrap();
    std::fs::copy(tests::binary(), dir.path().join("usr/bin/system-monitor")).unwrap();
    std::fs::create_dir_all(dir.path().join("bin")).unwrap();
    std::fs::copy("/bin/chown", dir.path().join("bin/chown")).unwrap();
    let from = Path::new(&unit()).parent().unwrap().to_owned();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        std::fs::copy(entry.path(), units.join(entry.file_name())).unwrap();
    }
    let root = format!("--root={}", dir.path().display());
    let output = Command::new("systemd-analyze")
        .args(["verify", "--man=no", "--recursive-errors=no", &root, "system-monitor.service"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.is_empty(), "{said}");
}
