//! The log lines that operators search for, the process name, and no listening socket.

use std::fs::{self, File};
use std::io::Read;

use tests::agent::Agent;

use crate::start::TIMEOUT;

#[test]
fn what_operators_look_for_is_said_in_the_old_words() {
    let mut agent = Agent::start(tests::free_port(), &["--cgroup-root", "/nonexistent"], &[("CONTAINER_NAME", "web")]);
    for words in [
        "Starting system monitor for container: web",
        "Error reading cpu.stat: ",
        "Error reading memory.current: ",
        "Error storing metrics: ",
        "Writing to Valkey server=127.0.0.1:",
    ] {
        assert!(agent.says(words, TIMEOUT), "{words}: {}", agent.said());
    }
    assert!(agent.is_alive());
}

#[test]
fn it_shows_as_system_monitor_and_listens_nowhere() {
    let agent = Agent::start(tests::free_port(), &[], &[("CONTAINER_NAME", "web")]);
    assert!(agent.says("Starting", TIMEOUT));
    let mut comm = String::new();
    File::open(format!("/proc/{}/comm", agent.pid())).unwrap().read_to_string(&mut comm).unwrap();
    assert_eq!(comm.trim_end(), "system-monitor");
    let inodes: Vec<String> = fs::read_dir(format!("/proc/{}/fd", agent.pid()))
        .unwrap()
        .flatten()
        .filter_map(|entry| {
            fs::read_link(entry.path()).ok()?.to_str()?.strip_prefix("socket:[")?.strip_suffix(']').map(str::to_owned)
        })
        .collect();
    for table in ["tcp", "tcp6"] {
        let listening = fs::read_to_string(format!("/proc/{}/net/{table}", agent.pid())).unwrap_or_default();
        let own = listening
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .filter(|words| words.get(3) == Some(&"0A"));
        assert!(!own.into_iter().any(|words| inodes.contains(&words[9].to_owned())), "{listening}");
    }
}
