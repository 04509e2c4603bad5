//! Log entries that a former agent left without expiry.

use std::time::Duration;

use tests::agent::Agent;
use tests::valkey::Valkey;
use tests::{eventually, skip};

use crate::server::TIMEOUT;

/// Entries that the former agent left without expiry, and similar keys.
fn leave_old_entries(valkey: &Valkey, count: u64) -> Vec<String> {
    let mut pipe = redis::pipe();
    for at in 0..count {
        pipe.cmd("SET").arg(format!("system:logs:a*b:{}", 1_700_000_000_000_000_000 + at)).arg("{}").ignore();
    }
    let others = [
        "system:logs:axb:1700000000000000000",
        "system:logs:a*b:c:1700000000000000000",
        "system:logs:a*b:note",
        "logs:a*b:1",
        "system:metrics:a*c",
    ];
    for key in others {
        pipe.cmd("SET").arg(key).arg("{}").ignore();
    }
    pipe.exec(&mut valkey.connection()).unwrap();
    others.map(str::to_owned).to_vec()
}

#[test]
fn what_the_former_agent_left_is_removed_in_steps_and_nothing_else_is_touched() {
    let valkey = valkey!();
    let others = leave_old_entries(&valkey, 20_000);
    let _agent = Agent::start(valkey.port, &["--interval", "100ms"], &[("CONTAINER_NAME", "a*b")]);
    let left = || valkey.query::<u64>(&["DBSIZE"]);
    eventually(TIMEOUT, || (left() < 20_000).then_some(())).expect("nothing is removed");
    assert!(left() > 1_000, "all at once would block the server");
    eventually(Duration::from_secs(30), || (left() < 20).then_some(())).expect("not all is removed");
    for key in others {
        assert_eq!(valkey.query::<i64>(&["EXISTS", &key]), 1, "{key}");
    }
}

#[test]
fn the_removal_can_be_switched_off() {
    let valkey = valkey!();
    leave_old_entries(&valkey, 50);
    let _agent =
        Agent::start(valkey.port, &["--interval", "100ms", "--log-cleanup", "false"], &[("CONTAINER_NAME", "a*b")]);
    valkey.report("a*b", TIMEOUT).expect("no report");
    std::thread::sleep(Duration::from_secs(1));
    assert!(valkey.query::<u64>(&["DBSIZE"]) >= 50);
}
