//! What becomes of the data when Valkey, or the way to it, is not well.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tests::agent::Agent;
use tests::certificates::Certificates;
use tests::valkey::Valkey;
use tests::{eventually, oracle, secret_file, skip};

const PATIENCE: Duration = Duration::from_secs(15);
const FAST: &[&str] = &["--interval", "200ms", "--disk-interval", "0s"];
const WEB: (&str, &str) = ("CONTAINER_NAME", "web");

macro_rules! valkey {
    ($($argument:expr),*) => {
        match Valkey::start(&[$($argument),*]) {
            Some(valkey) => valkey,
            None => skip!("valkey-server is not installed"),
        }
    };
}

fn judged(bytes: &[u8]) -> oracle::Judged {
    oracle::report("web", bytes).unwrap()
}

/// A client that knows the password.
fn with_password(valkey: &Valkey, password: &str) -> redis::Connection {
    let client = redis::Client::open(format!("redis://:{password}@127.0.0.1:{}/", valkey.port)).unwrap();
    client.get_connection_with_timeout(PATIENCE).unwrap()
}

fn get(connection: &mut redis::Connection, key: &str) -> Option<Vec<u8>> {
    redis::cmd("GET").arg(key).query(connection).unwrap()
}

#[test]
fn the_default_interval_writes_within_five_seconds() {
    let valkey = valkey!();
    let began = Instant::now();
    let _agent = Agent::start(valkey.port, &[], &[WEB]);
    judged(&valkey.report("web", PATIENCE).expect("no report"));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[test]
fn only_the_newest_three_log_keys_stay() {
    let valkey = valkey!();
    let _agent = Agent::start(valkey.port, &["--interval", "200ms", "--log-interval", "1s"], &[WEB]);
    valkey.report("web", PATIENCE).expect("no report");
    let first = eventually(PATIENCE, || valkey.keys("system:logs:web:").first().cloned()).unwrap();
    eventually(PATIENCE, || (!valkey.keys("system:logs:web:").contains(&first)).then_some(()))
        .expect("old entries stay");
    let keys = valkey.keys("system:logs:web:");
    assert!((1..=3).contains(&keys.len()), "{keys:?}");
    for key in keys {
        assert!(valkey.query::<i64>(&["TTL", &key]) > 0, "{key}");
    }
}

#[test]
fn a_password_opens_the_door_from_a_variable_and_from_a_file() {
    let valkey = valkey!("--requirepass", "hunter2");
    let file = secret_file(valkey.dir.path(), "hunter2\n");
    for (name, value) in [("VALKEY_PASSWORD", "hunter2"), ("VALKEY_PASSWORD_FILE", file.as_str())] {
        let agent = Agent::start(valkey.port, FAST, &[WEB, (name, value)]);
        let mut connection = with_password(&valkey, "hunter2");
        let found = eventually(PATIENCE, || get(&mut connection, "system:metrics:web"));
        judged(&found.expect(name));
        assert!(!fs::read_to_string(format!("/proc/{}/cmdline", agent.pid())).unwrap().contains("hunter2"));
        assert!(!agent.end(libc::SIGTERM).said.contains("hunter2"));
        redis::cmd("DEL").arg("system:metrics:web").exec(&mut connection).unwrap();
    }
}

#[test]
fn a_wrong_password_is_said_with_its_cure_and_the_right_one_is_taken_without_a_restart() {
    let valkey = valkey!("--requirepass", "right");
    let file = secret_file(valkey.dir.path(), "wrong");
    let mut agent = Agent::start(valkey.port, FAST, &[WEB, ("VALKEY_PASSWORD_FILE", &file)]);
    assert!(agent.says("Error storing metrics", PATIENCE), "{}", agent.said());
    assert!(agent.said().contains("check VALKEY_USERNAME and the password"), "{}", agent.said());
    std::thread::sleep(Duration::from_secs(2));
    assert!(agent.is_alive());
    assert_eq!(agent.said().matches("Error storing").count(), 1, "{}", agent.said());
    fs::write(&file, "right").unwrap();
    let mut connection = with_password(&valkey, "right");
    let patience = Duration::from_secs(40);
    judged(&eventually(patience, || get(&mut connection, "system:metrics:web")).expect("does not recover"));
    let said = agent.end(libc::SIGTERM).said;
    assert!(!said.contains("wrong") && !said.contains("\"right"), "{said}");
}

#[test]
fn without_a_password_the_message_names_the_variable() {
    let valkey = valkey!("--requirepass", "secret");
    let agent = Agent::start(valkey.port, FAST, &[WEB]);
    assert!(agent.says("VALKEY_PASSWORD_FILE", PATIENCE), "{}", agent.said());
}

#[test]
fn a_user_with_just_the_documented_rights_suffices() {
    let valkey = valkey!();
    let document = include_str!("../../docs/valkey.md");
    let rule = document
        .lines()
        .find_map(|line| line.strip_prefix("ACL SETUSER monitor "))
        .expect("docs/valkey.md has no ACL rule");
    let rule = rule.replace("PASSWORD", "secret");
    let words: Vec<&str> = ["ACL", "SETUSER", "monitor"].into_iter().chain(rule.split(' ')).collect();
    let _: () = valkey.query(&words);
    let agent = Agent::start(valkey.port, FAST, &[WEB, ("VALKEY_USERNAME", "monitor"), ("VALKEY_PASSWORD", "secret")]);
    judged(&valkey.report("web", PATIENCE).expect("no report"));
    eventually(PATIENCE, || Some(valkey.keys("system:containers")).filter(|keys| !keys.is_empty())).unwrap();
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
    let first = judged(&valkey.report("web", PATIENCE).expect("no report")).timestamp;
    let newer = || Some(judged(&valkey.report("web", PATIENCE)?)).filter(|report| report.timestamp > first);
    eventually(PATIENCE, newer).expect("reports stop");
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
    let mut last = judged(&valkey.report("web", PATIENCE).expect("no report")).timestamp;
    for _ in 0..5 {
        let next = || Some(judged(&valkey.report("web", PATIENCE)?).timestamp).filter(|at| *at > last);
        last = eventually(Duration::from_secs(3), next).expect("reports are slow");
    }
    assert_eq!(agent.end(libc::SIGTERM).said.matches("Error storing log").count(), 1);
}

#[test]
fn another_database_and_a_unix_socket_are_used_when_asked_for() {
    let valkey = valkey!("--unixsocket", "{dir}/s");
    let url = format!("unix://{}?db=3", valkey.path("s").display());
    let _agent = Agent::start(1, FAST, &[WEB, ("VALKEY_URL", &url)]);
    let client = redis::Client::open(format!("redis://127.0.0.1:{}/3", valkey.port)).unwrap();
    let mut connection = client.get_connection().unwrap();
    judged(&eventually(PATIENCE, || get(&mut connection, "system:metrics:web")).expect("nothing in database 3"));
    assert!(valkey.keys("system:").is_empty(), "database 0 is empty");
}

#[test]
fn a_server_that_comes_late_gets_a_fresh_report_and_an_entry_about_it() {
    let Some(mut valkey) = Valkey::prepare(&[]) else { skip!("valkey-server is not installed") };
    let mut agent = Agent::start(valkey.port, FAST, &[WEB]);
    assert!(agent.says("Error storing metrics", PATIENCE));
    std::thread::sleep(Duration::from_secs(3));
    assert!(agent.is_alive());
    assert_eq!(agent.said().matches("Error storing metrics").count(), 1, "{}", agent.said());
    let up = wall();
    valkey.restart();
    let report = judged(&valkey.report("web", PATIENCE).expect("no report"));
    assert!(report.timestamp > before(&up, 300), "{} is not fresh, the server came at {up}", report.timestamp);
    let entry = || {
        valkey.keys("system:logs:web:").iter().find_map(|key| {
            let entry = oracle::entry("web", key, &valkey.query::<Option<Vec<u8>>>(&["GET", key])?).unwrap();
            entry.message.contains("Valkey was away").then_some(entry)
        })
    };
    assert_eq!(eventually(PATIENCE, entry).expect("no entry about it").level, "WARN");
}

#[test]
fn a_server_that_is_killed_and_comes_back_empty_is_written_to_again() {
    let mut valkey = valkey!();
    let mut agent = Agent::start(valkey.port, FAST, &[WEB]);
    valkey.report("web", PATIENCE).expect("no report");
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
fn a_frozen_server_neither_ends_the_agent_nor_delays_its_end() {
    let valkey = valkey!();
    let agent = Agent::start(valkey.port, FAST, &[WEB]);
    valkey.report("web", PATIENCE).expect("no report");
    valkey.signal(libc::SIGSTOP);
    assert!(agent.says("Error storing metrics", PATIENCE), "{}", agent.said());
    valkey.signal(libc::SIGCONT);
    let thawed = wall();
    eventually(PATIENCE, || (judged(&valkey.report("web", PATIENCE)?).timestamp > thawed).then_some(()))
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
    monitor::sinks::wire::timestamp(std::time::SystemTime::now())
}

/// So many milliseconds before a time of day.
fn before(wall: &str, milliseconds: u64) -> String {
    let parsed = eventually(PATIENCE, || Command::new("date").args(["-u", "-d", wall, "+%s%N"]).output().ok()).unwrap();
    let nanos: u64 = String::from_utf8(parsed.stdout).unwrap().trim().parse().unwrap();
    monitor::sinks::wire::timestamp(
        std::time::SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos) - Duration::from_millis(milliseconds),
    )
}

/// What a server does with a connection.
type Treatment = fn(TcpStream);

/// A server that does with each connection what `treat` does; counts them.
fn fake(treat: Treatment) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let connections = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&connections);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            count.fetch_add(1, Ordering::Relaxed);
            std::thread::spawn(move || treat(stream));
        }
    });
    (port, connections)
}

/// Answers everything that comes with the same bytes.
fn answer(mut stream: TcpStream, bytes: &[u8]) {
    let mut buffer = [0; 65_536];
    while stream.read(&mut buffer).is_ok_and(|read| read > 0) {
        // One answer per command, as far as this can be told without parsing: commands begin with an asterisk.
        let commands = buffer.iter().filter(|byte| **byte == b'*').count().min(64);
        if (0..commands).any(|_| stream.write_all(bytes).is_err()) {
            return;
        }
        buffer.fill(0);
    }
}

#[test]
fn whatever_answers_the_agent_stays_alive_and_says_little() {
    let treatments: &[(&str, Treatment)] = &[
        ("silent", |stream| {
            std::thread::sleep(Duration::from_secs(60));
            drop(stream);
        }),
        ("closes at once", drop),
        ("garbage", |stream| answer(stream, b"\x00\xff garbage \r\n\r\n")),
        ("half an answer", |mut stream| {
            _ = stream.write_all(b"$100\r\nhalf");
            std::thread::sleep(Duration::from_secs(60));
        }),
        ("LOADING", |stream| answer(stream, b"-LOADING Valkey is loading the dataset in memory\r\n")),
        ("OOM", |stream| answer(stream, b"-OOM command not allowed when used memory > 'maxmemory'.\r\n")),
        ("READONLY", |stream| answer(stream, b"-READONLY You can't write against a read only replica.\r\n")),
        ("NOAUTH", |stream| answer(stream, b"-NOAUTH Authentication required.\r\n")),
        ("MISCONF", |stream| answer(stream, b"-MISCONF Valkey is configured to save RDB snapshots\r\n")),
        ("a long error", |stream| answer(stream, &[b"-ERR ".as_slice(), &[b'x'; 100_000], b"\r\n"].concat())),
    ];
    let mut running: Vec<_> = treatments
        .iter()
        .map(|(name, treat)| {
            let (port, connections) = fake(*treat);
            (*name, Agent::start(port, FAST, &[WEB]), connections)
        })
        .collect();
    std::thread::sleep(Duration::from_secs(12));
    for (name, agent, connections) in &mut running {
        assert!(agent.is_alive(), "{name}: {}", agent.said());
        let said = agent.said();
        assert!(said.contains("Error storing metrics"), "{name}: {said}");
        assert!(!said.contains("panicked"), "{name}: {said}");
        // A cause that flips between two texts may be said each time; a hundred lines are a flood.
        assert!(said.lines().count() < 20, "{name}: {said}");
        assert!(said.lines().all(|line| line.chars().count() < 400), "{name}: {said}");
        assert!((1..60).contains(&connections.load(Ordering::Relaxed)), "{name}: {connections:?} connections");
    }
    for (name, agent, _) in running {
        let ended = agent.end(libc::SIGTERM);
        assert_eq!(ended.status.code(), Some(0), "{name}");
        assert!(ended.took < Duration::from_millis(1500), "{name}: {:?}", ended.took);
    }
}

#[test]
fn a_key_of_another_type_is_overwritten_or_costs_its_feature_alone() {
    let valkey = valkey!();
    let _: () = valkey.query(&["RPUSH", "system:metrics:web", "x"]);
    let _: () = valkey.query(&["SET", "system:containers", "x"]);
    let _agent = Agent::start(valkey.port, FAST, &[WEB]);
    let is_text = || (valkey.query::<String>(&["TYPE", "system:metrics:web"]) == "string").then_some(());
    eventually(PATIENCE, is_text).expect("not overwritten");
    judged(&valkey.report("web", PATIENCE).unwrap());
    eventually(PATIENCE, || Some(valkey.keys("system:logs:web:")).filter(|keys| !keys.is_empty())).expect("no log");
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
    eventually(PATIENCE, || (stream(&valkey, "system:history:web").len() >= 5).then_some(())).expect("no history");
    eventually(PATIENCE, || (stream(&valkey, "system:logstream:web").len() >= 5).then_some(())).expect("no log stream");
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
        judged(&valkey.report("web", PATIENCE).unwrap()).timestamp,
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
    valkey.report("web", PATIENCE).expect("no report");
    std::thread::sleep(Duration::from_secs(1));
    assert!(valkey.keys("system:history:").is_empty());
}

/// Entries that the former agent left without expiry, and what looks like them.
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
    eventually(PATIENCE, || (left() < 20_000).then_some(())).expect("nothing is removed");
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
    valkey.report("a*b", PATIENCE).expect("no report");
    std::thread::sleep(Duration::from_secs(1));
    assert!(valkey.query::<u64>(&["DBSIZE"]) >= 50);
}

#[test]
fn memory_does_not_grow_while_valkey_is_away() {
    let port = tests::free_port();
    let agent = Agent::start(port, &["--interval", "100ms", "--disk-interval", "0s"], &[WEB]);
    assert!(agent.says("Error storing metrics", PATIENCE));
    std::thread::sleep(Duration::from_secs(3));
    let before = agent.resident();
    std::thread::sleep(Duration::from_secs(10));
    let grown = agent.resident().saturating_sub(before);
    assert!(grown < 1 << 20, "{grown} bytes in a hundred reports");
}

#[test]
fn tls_with_a_private_authority_and_a_client_certificate() {
    let Some(made) = Certificates::new() else { skip!("openssl is not installed") };
    let tls = tests::free_port();
    let server = made.server(tls);
    let Some(valkey) = Valkey::start(&server.iter().map(String::as_str).collect::<Vec<_>>()) else {
        skip!("valkey-server is not installed")
    };
    fs::write(made.path("garbage.pem"), "no certificate").unwrap();
    let url = format!("valkeys://127.0.0.1:{tls}");
    let (client, client_key) = (made.text("client.pem"), made.text("client.key"));
    let start = |ca: &str, with_certificate: bool, url: &str| {
        let ca = made.text(ca);
        let mut environment = vec![WEB, ("VALKEY_URL", url), ("VALKEY_TLS_CA", ca.as_str())];
        if with_certificate {
            environment.extend([("VALKEY_TLS_CERT", client.as_str()), ("VALKEY_TLS_KEY", client_key.as_str())]);
        }
        Agent::start(1, FAST, &environment)
    };
    for (ca, with_certificate, words) in [
        ("garbage.pem", true, "garbage.pem holds no certificate"),
        ("other.pem", true, "UnknownIssuer"),
        ("ca.pem", false, "Error storing metrics"),
    ] {
        let mut agent = start(ca, with_certificate, &url);
        assert!(agent.says(words, PATIENCE), "{ca}: {}", agent.said());
        assert!(agent.is_alive());
        assert!(valkey.keys("system:").is_empty(), "{ca}");
    }
    let agent = start("ca.pem", true, &url.replace("127.0.0.1", "localhost"));
    assert!(agent.says("not valid for name", PATIENCE), "{}", agent.said());
    drop(agent);
    let agent = start("ca.pem", true, &url);
    judged(&valkey.report("web", PATIENCE).unwrap_or_else(|| panic!("{}", agent.said())));
}
