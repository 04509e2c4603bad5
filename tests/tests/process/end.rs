//! Signals, and conditions that must not end or delay the agent.

use std::fs::File;
use std::time::Duration;

use tests::agent::{Agent, command};
use tests::valkey::Valkey;
use tests::{eventually, skip};

use crate::start::{TIMEOUT, prepared};

#[test]
fn both_signals_end_it_within_a_second_with_the_three_lines() {
    for signal in [libc::SIGTERM, libc::SIGINT] {
        // Nothing listens there, so the sink waits between two attempts.
        let agent = Agent::start(tests::free_port(), &[], &[("CONTAINER_NAME", "web")]);
        assert!(agent.says("Error storing metrics", TIMEOUT));
        let ended = agent.end(signal);
        assert_eq!(ended.status.code(), Some(0), "{}", ended.said);
        assert!(ended.took < Duration::from_millis(1500), "{:?}", ended.took);
        let lines =
            ["Received shutdown signal", "System monitor stopping for container: web", "System monitor stopped"];
        let places: Vec<_> = lines
            .iter()
            .map(|line| ended.said.find(line).unwrap_or_else(|| panic!("{line}: {}", ended.said)))
            .collect();
        assert!(places.is_sorted());
    }
}

#[test]
fn an_unroutable_valkey_does_not_delay_the_end() {
    let agent = {
        let mut command = command(&[], &[("CONTAINER_NAME", "web"), ("VALKEY_URL", "valkey://192.0.2.1:6379")]);
        // An empty network namespace of its own: the address has no route, and no packet leaves the machine.
        if tests::is_root() {
            // SAFETY: takes a number.
            prepared(&mut command, || unsafe { libc::unshare(libc::CLONE_NEWNET) } == 0);
        }
        Agent::spawn(command)
    };
    assert!(agent.says("Writing to Valkey", TIMEOUT), "{}", agent.said());
    std::thread::sleep(Duration::from_secs(1));
    let ended = agent.end(libc::SIGTERM);
    assert_eq!(ended.status.code(), Some(0));
    assert!(ended.took < Duration::from_millis(1500), "{:?}", ended.took);
}

#[test]
fn closed_and_full_streams_are_no_reason_to_end() {
    let Some(valkey) = Valkey::start(&[]) else { skip!("valkey-server is not installed") };
    let port = valkey.port.to_string();
    let agent = |name: &str| {
        command(
            &["--interval", "100ms"],
            &[("CONTAINER_NAME", name), ("VALKEY_HOST", "127.0.0.1"), ("VALKEY_PORT", &port)],
        )
    };
    let mut closed = agent("closed");
    // SAFETY: takes numbers.
    prepared(&mut closed, || (0..3).all(|stream| unsafe { libc::close(stream) } == 0));
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let mut full_disk = agent("full");
    full_disk.stdout(full()).stderr(full());
    for (name, mut command) in [("closed", closed), ("full", full_disk)] {
        let mut child = command.spawn().unwrap();
        let first = valkey.report(name, TIMEOUT).unwrap_or_else(|| panic!("{name}: no report"));
        let newer = || Some(valkey.report(name, TIMEOUT)?).filter(|report| *report != first);
        eventually(TIMEOUT, newer).unwrap_or_else(|| panic!("{name}: reports stop"));
        assert!(child.try_wait().unwrap().is_none(), "{name}");
        // SAFETY: the child is ours and has not been waited for.
        unsafe { libc::kill(i32::try_from(child.id()).unwrap(), libc::SIGTERM) };
        assert_eq!(child.wait().unwrap().code(), Some(0), "{name}");
    }
}
