//! An agent that serves HTTP and has no sink.

use std::ffi::OsStr;
use std::net::TcpStream;
use std::time::Duration;

use tests::agent::{Agent, command};
use tests::http::get;
use tests::{eventually, free_port};

pub(crate) const TIMEOUT: Duration = Duration::from_secs(20);

/// An agent of a container with this name that listens, has no sink, and has read something.
pub(crate) fn listening(name: &OsStr, arguments: &[&str]) -> (Agent, u16) {
    let port = free_port();
    let mut agent = command(&["--listen", &format!("127.0.0.1:{port}"), "--valkey-url", "none", "--ebpf", "off"], &[]);
    agent.args(["--interval", "200ms", "--disk-interval", "0s", "--scope", "self"]).args(arguments);
    let agent = Agent::spawn({
        agent.env("CONTAINER_NAME", name);
        agent
    });
    await_ready(port);
    (agent, port)
}

pub(crate) fn await_ready(port: u16) {
    let ready = || TcpStream::connect(("127.0.0.1", port)).ok().filter(|_| get(port, "/readyz").status == 200);
    eventually(TIMEOUT, ready).expect("the server is not ready");
}

/// RFC 3339 of milliseconds since 1970, for these days.
pub(crate) fn humantime(millis: u64) -> String {
    let output = std::process::Command::new("date")
        .args(["-u", "-d", &format!("@{}.{:03}", millis / 1000, millis % 1000), "+%Y-%m-%dT%H:%M:%S.%3NZ"])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

pub(crate) fn encoded(name: &str) -> String {
    name.bytes().map(|byte| format!("%{byte:02x}")).collect()
}
