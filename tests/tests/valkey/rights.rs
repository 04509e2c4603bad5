//! Rights of the user that the agent logs in as.

use std::time::Duration;

use tests::agent::Agent;
use tests::valkey::Valkey;
use tests::{eventually, skip};

use crate::server::{FAST, TIMEOUT, WEB, judged};

#[test]
fn a_user_with_just_the_documented_rights_suffices() {
    let valkey = valkey!();
    let document = include_str!("../../../docs/valkey.md");
    let rule = document
        .lines()
        .find_map(|line| line.strip_prefix("ACL SETUSER monitor "))
        .expect("docs/valkey.md has no ACL rule");
    let rule = rule.replace("PASSWORD", "secret");
    let words: Vec<&str> = ["ACL", "SETUSER", "monitor"].into_iter().chain(rule.split(' ')).collect();
    let _: () = valkey.query(&words);
    let agent = Agent::start(valkey.port, FAST, &[WEB, ("VALKEY_USERNAME", "monitor"), ("VALKEY_PASSWORD", "secret")]);
    judged(&valkey.report("web", TIMEOUT).expect("no report"));
    eventually(TIMEOUT, || Some(valkey.keys("system:containers")).filter(|keys| !keys.is_empty())).unwrap();
    std::thread::sleep(Duration::from_secs(1));
    let said = agent.end(libc::SIGTERM).said;
    assert!(!said.contains("WARN") && !said.contains("ERROR"), "{said}");
}

#[test]
fn a_right_that_lacks_costs_its_feature_alone_and_is_said_once() {
    let valkey = valkey!();
    let _: () = valkey.query(&["ACL", "SETUSER", "poor", "on", ">p", "~system:*", "-@all", "+set"]);
    let agent = Agent::start(
        valkey.port,
        &["--interval", "200ms", "--log-interval", "1s"],
        &[WEB, ("VALKEY_USERNAME", "poor"), ("VALKEY_PASSWORD", "p")],
    );
    let first = judged(&valkey.report("web", TIMEOUT).expect("no report")).timestamp;
    let newer = || Some(judged(&valkey.report("web", TIMEOUT)?)).filter(|report| report.timestamp > first);
    eventually(TIMEOUT, newer).expect("reports stop");
    std::thread::sleep(Duration::from_secs(4));
    let said = agent.end(libc::SIGTERM).said;
    for feature in ["(DEL)", "(SCAN)", "(ZADD)", "stream of all log entries"] {
        assert_eq!(said.matches(feature).count(), 1, "{feature}: {said}");
    }
}

#[test]
fn a_refused_log_does_not_slow_the_reports() {
    let valkey = valkey!();
    let _: () =
        valkey.query(&["ACL", "SETUSER", "mute", "on", ">p", "~system:metrics:*", "~system:containers", "+@all"]);
    let agent = Agent::start(valkey.port, FAST, &[WEB, ("VALKEY_USERNAME", "mute"), ("VALKEY_PASSWORD", "p")]);
    let mut last = judged(&valkey.report("web", TIMEOUT).expect("no report")).timestamp;
    for _ in 0..5 {
        let next = || Some(judged(&valkey.report("web", TIMEOUT)?).timestamp).filter(|at| *at > last);
        last = eventually(Duration::from_secs(3), next).expect("reports are slow");
    }
    assert_eq!(agent.end(libc::SIGTERM).said.matches("Error storing log").count(), 1);
}
