//! A server that comes late, dies, or hangs.

use std::process::Command;
use std::time::Duration;

use tests::agent::Agent;
use tests::valkey::Valkey;
use tests::{eventually, oracle, skip};

use crate::server::{FAST, TIMEOUT, WEB, judged};

#[test]
fn a_server_that_comes_late_gets_a_fresh_report_and_an_entry_about_it() {
    let Some(mut valkey) = Valkey::prepare(&[]) else { skip!("valkey-server is not installed") };
    let mut agent = Agent::start(valkey.port, FAST, &[WEB]);
    assert!(agent.says("Error storing metrics", TIMEOUT));
    std::thread::sleep(Duration::from_secs(3));
    assert!(agent.is_alive());
    assert_eq!(agent.said().matches("Error storing metrics").count(), 1, "{}", agent.said());
    let up = wall();
    valkey.restart();
    let report = judged(&valkey.report("web", TIMEOUT).expect("no report"));
    assert!(report.timestamp > before(&up, 300), "{} is not fresh, the server came at {up}", report.timestamp);
    let entry = || {
        valkey.keys("system:logs:web:").iter().find_map(|key| {
            let entry = oracle::entry("web", key, &valkey.query::<Option<Vec<u8>>>(&["GET", key])?).unwrap();
            entry.message.contains("Valkey was away").then_some(entry)
        })
    };
    assert_eq!(eventually(TIMEOUT, entry).expect("no entry about it").level, "WARN");
}

#[test]
fn a_server_that_is_killed_and_comes_back_empty_is_written_to_again() {
    let mut valkey = valkey!();
    let mut agent = Agent::start(valkey.port, FAST, &[WEB]);
    valkey.report("web", TIMEOUT).expect("no report");
    for _ in 0..3 {
        valkey.kill();
        std::thread::sleep(Duration::from_millis(1500));
        let up = wall();
        valkey.restart();
        let report = judged(&valkey.report("web", Duration::from_secs(10)).expect("not back within ten seconds"));
        assert!(report.timestamp > before(&up, 300), "{} is stale, the server came at {up}", report.timestamp);
        assert!(agent.is_alive());
    }
}

#[test]
fn a_server_that_closes_idle_connections_is_written_to_without_a_warning() {
    let valkey = valkey!();
    let arguments = ["--interval", "2s", "--history", "1h", "--disk-interval", "0s"];
    let agent = Agent::start(valkey.port, &arguments, &[WEB]);
    let written = || valkey.query::<usize>(&["XLEN", "system:history:web"]);
    for _ in 0..3 {
        let before = written();
        eventually(TIMEOUT, || (written() > before).then_some(())).expect("no report");
        // Between two reports: the first second of a connection that does nothing.
        let is_idle = || {
            let clients: String = valkey.query(&["CLIENT", "LIST", "TYPE", "normal"]);
            clients.lines().any(|client| client.contains(" idle=1 ")).then_some(())
        };
        eventually(TIMEOUT, is_idle).expect("no idle connection");
        let _: i64 = valkey.query(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    }
    let before = written();
    eventually(TIMEOUT, || (written() > before).then_some(())).expect("no report");
    assert!(!agent.said().contains("WARN"), "{}", agent.said());
}

#[test]
fn a_frozen_server_neither_ends_the_agent_nor_delays_its_end() {
    let valkey = valkey!();
    let agent = Agent::start(valkey.port, FAST, &[WEB]);
    valkey.report("web", TIMEOUT).expect("no report");
    valkey.signal(libc::SIGSTOP);
    assert!(agent.says("Error storing metrics", TIMEOUT), "{}", agent.said());
    valkey.signal(libc::SIGCONT);
    let thawed = wall();
    eventually(TIMEOUT, || (judged(&valkey.report("web", TIMEOUT)?).timestamp > thawed).then_some(()))
        .expect("not written again");
    valkey.signal(libc::SIGSTOP);
    std::thread::sleep(Duration::from_millis(500));
    let ended = agent.end(libc::SIGTERM);
    valkey.signal(libc::SIGCONT);
    assert_eq!(ended.status.code(), Some(0));
    assert!(ended.took < Duration::from_millis(1500), "{:?}", ended.took);
    for line in ["Received shutdown signal", "System monitor stopping for container: web", "System monitor stopped"] {
        assert!(ended.said.contains(line), "{}", ended.said);
    }
}

/// The time of day as the reports write it.
fn wall() -> String {
    monitor::wire::timestamp(std::time::SystemTime::now())
}

/// The time of day `milliseconds` before `wall`.
fn before(wall: &str, milliseconds: u64) -> String {
    let parsed = eventually(TIMEOUT, || Command::new("date").args(["-u", "-d", wall, "+%s%N"]).output().ok()).unwrap();
    let nanos: u64 = String::from_utf8(parsed.stdout).unwrap().trim().parse().unwrap();
    monitor::wire::timestamp(
        std::time::SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos) - Duration::from_millis(milliseconds),
    )
}

#[test]
fn memory_does_not_grow_while_valkey_is_away() {
    let port = tests::free_port();
    let agent = Agent::start(port, &["--interval", "100ms", "--disk-interval", "0s"], &[WEB]);
    assert!(agent.says("Error storing metrics", TIMEOUT));
    std::thread::sleep(Duration::from_secs(3));
    let before = agent.resident();
    std::thread::sleep(Duration::from_secs(10));
    let grown = agent.resident().saturating_sub(before);
    assert!(grown < 1 << 20, "{grown} bytes in a hundred reports");
}
