//! Keys, streams and databases that are written.

use std::time::{Duration, Instant};

use tests::agent::Agent;
use tests::valkey::Valkey;
use tests::{eventually, oracle, skip};

use crate::server::{FAST, TIMEOUT, WEB, get, judged};

#[test]
fn the_default_interval_writes_within_five_seconds() {
    let valkey = valkey!();
    let began = Instant::now();
    let _agent = Agent::start(valkey.port, &[], &[WEB]);
    judged(&valkey.report("web", TIMEOUT).expect("no report"));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[test]
fn only_the_newest_three_log_keys_stay() {
    let valkey = valkey!();
    let _agent = Agent::start(valkey.port, &["--interval", "200ms", "--log-interval", "1s"], &[WEB]);
    valkey.report("web", TIMEOUT).expect("no report");
    let first = eventually(TIMEOUT, || valkey.keys("system:logs:web:").first().cloned()).unwrap();
    eventually(TIMEOUT, || (!valkey.keys("system:logs:web:").contains(&first)).then_some(()))
        .expect("old entries stay");
    let keys = valkey.keys("system:logs:web:");
    assert!((1..=3).contains(&keys.len()), "{keys:?}");
    for key in keys {
        assert!(valkey.query::<i64>(&["TTL", &key]) > 0, "{key}");
    }
}

#[test]
fn another_database_and_a_unix_socket_are_used_when_asked_for() {
    let valkey = valkey!("--unixsocket", "{dir}/s");
    let url = format!("unix://{}?db=3", valkey.path("s").display());
    let _agent = Agent::start(1, FAST, &[WEB, ("VALKEY_URL", &url)]);
    let client = redis::Client::open(format!("redis://127.0.0.1:{}/3", valkey.port)).unwrap();
    let mut connection = client.get_connection().unwrap();
    judged(&eventually(TIMEOUT, || get(&mut connection, "system:metrics:web")).expect("nothing in database 3"));
    assert!(valkey.keys("system:").is_empty(), "database 0 is empty");
}

#[test]
fn a_key_of_another_type_is_overwritten_or_costs_its_feature_alone() {
    let valkey = valkey!();
    let _: () = valkey.query(&["RPUSH", "system:metrics:web", "x"]);
    let _: () = valkey.query(&["SET", "system:containers", "x"]);
    let _agent = Agent::start(valkey.port, FAST, &[WEB]);
    let is_text = || (valkey.query::<String>(&["TYPE", "system:metrics:web"]) == "string").then_some(());
    eventually(TIMEOUT, is_text).expect("not overwritten");
    judged(&valkey.report("web", TIMEOUT).unwrap());
    eventually(TIMEOUT, || Some(valkey.keys("system:logs:web:")).filter(|keys| !keys.is_empty())).expect("no log");
}

/// The id of a stream's entry, and its fields.
type Added = (String, Vec<(String, Vec<u8>)>);

/// The entries of a stream.
fn stream(valkey: &Valkey, key: &str) -> Vec<Added> {
    valkey.query(&["XRANGE", key, "-", "+"])
}

#[test]
fn history_and_log_stream_keep_what_the_keys_forget() {
    let valkey = valkey!();
    let agent = Agent::start(
        valkey.port,
        &["--interval", "200ms", "--log-interval", "1s", "--history", "1h", "--disk-interval", "0s"],
        &[WEB],
    );
    eventually(TIMEOUT, || (stream(&valkey, "system:history:web").len() >= 5).then_some(())).expect("no history");
    eventually(TIMEOUT, || (stream(&valkey, "system:logstream:web").len() >= 5).then_some(())).expect("no log stream");
    agent.end(libc::SIGTERM);
    let history = stream(&valkey, "system:history:web");
    let mut last = String::new();
    for (id, fields) in &history {
        let report = judged(&fields[0].1);
        assert!(fields.len() == 1 && fields[0].0 == "report" && report.timestamp > last, "{id}");
        last = report.timestamp;
    }
    assert_eq!(
        last,
        judged(&valkey.report("web", TIMEOUT).unwrap()).timestamp,
        "the last report is in the history too"
    );
    for (id, fields) in stream(&valkey, "system:logstream:web") {
        let (millis, rest) = id.split_once('-').unwrap();
        let key = format!("system:logs:web:{millis}{rest:0>6}");
        oracle::entry("web", &key, &fields[0].1).unwrap();
    }
    assert!((3_500_000..=3_600_000).contains(&valkey.query::<i64>(&["PTTL", "system:history:web"])));
    assert!(valkey.query::<i64>(&["PTTL", "system:logstream:web"]) > 0);
}

#[test]
fn without_being_asked_the_agent_of_one_container_keeps_no_history() {
    let valkey = valkey!();
    let _agent = Agent::start(valkey.port, FAST, &[WEB]);
    valkey.report("web", TIMEOUT).expect("no report");
    std::thread::sleep(Duration::from_secs(1));
    assert!(valkey.keys("system:history:").is_empty());
}
