//! From the kernel to the bytes that readers get.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::time::Duration;

use tests::agent::Agent;
use tests::valkey::Valkey;
use tests::{eventually, oracle, skip};

const TIMEOUT: Duration = Duration::from_secs(10);

#[test]
fn readers_get_a_report_and_a_log_entry_of_the_form_they_decode() {
    let Some(valkey) = Valkey::start(&[]) else { skip!("valkey-server is not installed") };
    let agent = Agent::start(valkey.port, &["--interval", "200ms"], &[("CONTAINER_NAME", "web")]);
    let bytes = valkey.report("web", TIMEOUT).expect("no report");
    let report = oracle::report("web", &bytes).unwrap();
    assert_eq!(report.status, "running");
    assert!(report.number("process_count").unwrap() >= 1.0);
    assert!(report.number("cpu_percent").is_some(), "the first report has rates: {:?}", report.absent);
    let keys = eventually(TIMEOUT, || Some(valkey.keys("system:logs:web:")).filter(|keys| !keys.is_empty())).unwrap();
    for key in keys {
        let entry = oracle::entry("web", &key, &valkey.query::<Vec<u8>>(&["GET", &key])).unwrap();
        assert!(entry.message.contains("sources: "), "{entry:?}");
    }
    assert!((1..=30_000).contains(&valkey.query::<i64>(&["PTTL", "system:metrics:web"])));
    let score: Option<f64> = valkey.query(&["ZSCORE", "system:containers", "web"]);
    assert!(score.is_some());

    let ended = agent.end(libc::SIGTERM);
    assert_eq!(ended.status.code(), Some(0), "{}", ended.said);
    let last = oracle::report("web", &valkey.report("web", TIMEOUT).unwrap()).unwrap();
    assert_eq!(last.status, "exited");
}

#[test]
fn each_write_is_newer_than_the_one_before() {
    let Some(valkey) = Valkey::start(&[]) else { skip!("valkey-server is not installed") };
    let _agent = Agent::start(valkey.port, &["--interval", "100ms"], &[("CONTAINER_NAME", "web")]);
    let read = || oracle::report("web", &valkey.report("web", TIMEOUT).unwrap()).unwrap().timestamp;
    let first = read();
    eventually(TIMEOUT, || (read() > first).then_some(())).expect("the report is not renewed");
}
