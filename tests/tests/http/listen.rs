//! Addresses and sockets that the agent listens on.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::time::Duration;

use tests::agent::{Agent, command};
use tests::eventually;
use tests::http::ask;

use crate::server::{TIMEOUT, await_ready};

#[test]
fn nothing_listens_unless_it_is_asked_to() {
    let agent = Agent::spawn(command(&["--valkey-url", "none", "--ebpf", "off", "--disk-interval", "0s"], &[]));
    assert!(agent.says("Starting system monitor", TIMEOUT));
    std::thread::sleep(Duration::from_millis(500));
    let sockets: BTreeSet<String> = std::fs::read_dir(format!("/proc/{}/fd", agent.pid()))
        .unwrap()
        .filter_map(|fd| Some(std::fs::read_link(fd.ok()?.path()).ok()?.to_string_lossy().into_owned()))
        .filter_map(|link| Some(link.strip_prefix("socket:[")?.trim_end_matches(']').to_owned()))
        .collect();
    for table in ["tcp", "tcp6", "udp", "udp6"] {
        let table = std::fs::read_to_string(format!("/proc/{}/net/{table}", agent.pid())).unwrap_or_default();
        let inodes = table.lines().skip(1).filter_map(|line| line.split_whitespace().nth(9));
        assert!(inodes.into_iter().all(|inode| !sockets.contains(inode)), "{table}");
    }
}

#[test]
fn an_address_that_strangers_reach_or_a_token_that_all_can_read_ends_the_start_with_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, "0123456789abcdef0123456789abcdef\n").unwrap();
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o644)).unwrap();
    let token = token.to_str().unwrap();
    for (arguments, remedy) in [
        (&["--listen", "0.0.0.0:0"][..], "--listen-token-file"),
        (&["--listen", "[::]:0"], "--listen-open"),
        (&["--listen", "127.0.0.1"], "write ADDR:PORT"),
        (&["--listen", "0.0.0.0:0", "--listen-token-file", token], "chmod o="),
        (&["--listen", "127.0.0.1:0", "--listen-token-file", "/nowhere"], "cannot be read"),
        (&["dashboard", "--listen", "0.0.0.0:0"], "--listen-token-file"),
    ] {
        let output = command(arguments, &[]).stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(remedy), "{said}");
    }
}

#[test]
fn a_unix_socket_is_taken_over_from_the_dead_and_goes_with_the_agent() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("monitor.sock");
    // A stale socket of a listener that has died.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let listen = format!("unix:{}", path.display());
    let arguments =
        ["--listen", &listen, "--valkey-url", "none", "--ebpf", "off", "--disk-interval", "0s", "--scope", "self"];
    let agent = Agent::spawn(command(&arguments, &[("CONTAINER_NAME", "web"), ("MONITOR_INTERVAL", "200ms")]));
    let ask = || {
        ask(UnixStream::connect(&path).ok()?, b"GET /readyz HTTP/1.1\r\nHost: anything\r\nConnection: close\r\n\r\n")
    };
    eventually(TIMEOUT, || ask().filter(|answer| answer.status == 200)).expect("nobody answers");
    let ended = agent.end(libc::SIGTERM);
    assert!(ended.status.success() && ended.took < Duration::from_secs(1), "{ended:?}");
    assert!(!path.exists());
}

#[test]
fn a_port_that_is_taken_is_said_and_had_as_soon_as_it_is_free() {
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port();
    let arguments =
        ["--listen", &format!("127.0.0.1:{port}"), "--valkey-url", "none", "--ebpf", "off", "--disk-interval", "0s"];
    let agent = Agent::spawn(command(&arguments, &[("CONTAINER_NAME", "web")]));
    assert!(agent.says("Cannot listen", TIMEOUT), "{}", agent.said());
    drop(holder);
    await_ready(port);
}
