//! Passwords: from a variable, from a file, wrong, and missing.

use std::fs;
use std::time::Duration;

use tests::agent::Agent;
use tests::valkey::Valkey;
use tests::{eventually, secret_file, skip};

use crate::server::{FAST, TIMEOUT, WEB, get, judged};

/// A client that knows the password.
fn with_password(valkey: &Valkey, password: &str) -> redis::Connection {
    let client = redis::Client::open(format!("redis://:{password}@127.0.0.1:{}/", valkey.port)).unwrap();
    client.get_connection_with_timeout(TIMEOUT).unwrap()
}

#[test]
fn a_password_opens_the_door_from_a_variable_and_from_a_file() {
    let valkey = valkey!("--requirepass", "hunter2");
    let file = secret_file(valkey.dir.path(), "hunter2\n");
    for (name, value) in [("VALKEY_PASSWORD", "hunter2"), ("VALKEY_PASSWORD_FILE", file.as_str())] {
        let agent = Agent::start(valkey.port, FAST, &[WEB, (name, value)]);
        let mut connection = with_password(&valkey, "hunter2");
        let found = eventually(TIMEOUT, || get(&mut connection, "system:metrics:web"));
        judged(&found.expect(name));
        assert!(!fs::read_to_string(format!("/proc/{}/cmdline", agent.pid())).unwrap().contains("hunter2"));
        assert!(!agent.end(libc::SIGTERM).said.contains("hunter2"));
        redis::cmd("DEL").arg("system:metrics:web").exec(&mut connection).unwrap();
    }
}

#[test]
fn a_wrong_password_is_said_with_its_remedy_and_the_right_one_is_taken_without_a_restart() {
    let valkey = valkey!("--requirepass", "right");
    let file = secret_file(valkey.dir.path(), "wrong");
    let mut agent = Agent::start(valkey.port, FAST, &[WEB, ("VALKEY_PASSWORD_FILE", &file)]);
    assert!(agent.says("Error storing metrics", TIMEOUT), "{}", agent.said());
    assert!(agent.said().contains("check VALKEY_USERNAME and the password"), "{}", agent.said());
    std::thread::sleep(Duration::from_secs(2));
    assert!(agent.is_alive());
    assert_eq!(agent.said().matches("Error storing").count(), 1, "{}", agent.said());
    fs::write(&file, "right").unwrap();
    let mut connection = with_password(&valkey, "right");
    let timeout = Duration::from_secs(40);
    judged(&eventually(timeout, || get(&mut connection, "system:metrics:web")).expect("does not recover"));
    let said = agent.end(libc::SIGTERM).said;
    assert!(!said.contains("wrong") && !said.contains("\"right"), "{said}");
}

#[test]
fn without_a_password_the_message_names_the_variable() {
    let valkey = valkey!("--requirepass", "secret");
    let agent = Agent::start(valkey.port, FAST, &[WEB]);
    assert!(agent.says("VALKEY_PASSWORD_FILE", TIMEOUT), "{}", agent.said());
}
