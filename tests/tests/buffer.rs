//! The buffer on disk: waiting entries survive the agent, and a failure of the disk costs the copy alone.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::ffi::CString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tests::agent::{Agent, command};
use tests::chain;
use tests::valkey::Valkey;
use tests::{eventually, skip};

const TIMEOUT: Duration = Duration::from_secs(20);
const INTERVAL: Duration = Duration::from_millis(200);

fn prepared(valkey: &Valkey, dir: &Path) -> Command {
    let dir = dir.to_str().unwrap();
    let arguments =
        ["--interval", "200ms", "--history", "1h", "--disk-interval", "0s", "--scope", "self", "--ebpf", "off"];
    let arguments = [&arguments[..], &["--buffer-dir", dir]].concat();
    let port = valkey.port.to_string();
    command(&arguments, &[("CONTAINER_NAME", "web"), ("VALKEY_HOST", "127.0.0.1"), ("VALKEY_PORT", &port)])
}

fn start(valkey: &Valkey, dir: &Path) -> Agent {
    Agent::spawn(prepared(valkey, dir))
}

fn samples(valkey: &Valkey) -> usize {
    valkey.query(&["XLEN", "system:history:web"])
}

/// The entries' times, which must grow.
fn times(valkey: &Valkey) -> Vec<String> {
    let time = |report: &str| serde_json::from_str::<serde_json::Value>(report).unwrap()["timestamp"].to_string();
    let times: Vec<String> = valkey.history("web").iter().map(|(_, report)| time(report)).collect();
    assert!(times.is_sorted_by(|one, next| one < next), "{times:?}");
    times
}

#[test]
fn what_waits_survives_the_agent_however_it_ends() {
    let Some(mut valkey) = Valkey::prepare(&["--appendonly", "yes"]) else { skip!("valkey-server is not installed") };
    let dir = tempfile::tempdir().unwrap();
    let mut lives = Vec::new();
    for signal in [libc::SIGKILL, libc::SIGTERM, libc::SIGKILL] {
        let agent = start(&valkey, dir.path());
        assert!(agent.says("Error storing metrics", TIMEOUT), "{}", agent.said());
        std::thread::sleep(Duration::from_secs(3));
        lives.push(agent.end(signal).said);
    }
    assert!(lives[1].contains("of an earlier run wait"), "{}", lives[1]);
    valkey.restart();
    let agent = start(&valkey, dir.path());
    // A reading every 200 ms for three seconds, less the time that a busy machine needs for the start.
    eventually(TIMEOUT, || (samples(&valkey) >= 30).then_some(())).unwrap_or_else(|| panic!("{}", agent.said()));
    std::thread::sleep(Duration::from_secs(1));
    drop(agent);
    let times = times(&valkey);
    assert!(times.len() >= 33, "{times:?}");

    // An entry that has been written does not wait any more.
    let agent = start(&valkey, dir.path());
    assert!(agent.says("Connected to Valkey", TIMEOUT));
    assert!(!agent.end(libc::SIGTERM).said.contains("of an earlier run"));
}

#[test]
fn what_a_full_server_refuses_survives_the_agent_too() {
    let Some(valkey) = Valkey::start(&[]) else { skip!("valkey-server is not installed") };
    let dir = tempfile::tempdir().unwrap();
    let agent = start(&valkey, dir.path());
    eventually(TIMEOUT, || (samples(&valkey) > 0).then_some(())).expect("no history");
    valkey.query::<()>(&["CONFIG", "SET", "maxmemory", "1"]);
    assert!(agent.says("Error storing metrics", TIMEOUT), "{}", agent.said());
    let before = samples(&valkey);
    std::thread::sleep(Duration::from_secs(4));
    agent.end(libc::SIGKILL);
    valkey.query::<()>(&["CONFIG", "SET", "maxmemory", "0"]);
    let agent = start(&valkey, dir.path());
    assert!(agent.says("of an earlier run wait", TIMEOUT), "{}", agent.said());
    // A reading every 200 ms for four seconds; the last ones before the end may not have been copied.
    let told = || (samples(&valkey) >= before + 15).then_some(());
    eventually(Duration::from_millis(1500), told).unwrap_or_else(|| panic!("{} {before}", samples(&valkey)));
    times(&valkey);
}

#[test]
fn a_second_agent_on_one_directory_says_so_and_goes_on_in_memory() {
    let Some(valkey) = Valkey::start(&[]) else { skip!("valkey-server is not installed") };
    let dir = tempfile::tempdir().unwrap();
    let _first = start(&valkey, dir.path());
    eventually(TIMEOUT, || (samples(&valkey) > 0).then_some(())).expect("no history");
    let second = start(&valkey, dir.path());
    assert!(second.says("another agent uses it", TIMEOUT), "{}", second.said());
    let before = samples(&valkey);
    eventually(TIMEOUT, || (samples(&valkey) > before + 10).then_some(())).expect("reports stop");
}

#[test]
fn without_the_option_nothing_is_written_to_disk_and_a_directory_that_refuses_is_said() {
    let Some(valkey) = Valkey::start(&[]) else { skip!("valkey-server is not installed") };
    let agent = start(&valkey, Path::new("/proc/nowhere"));
    assert!(agent.says("Disk buffer unavailable, buffering in memory", TIMEOUT), "{}", agent.said());
    eventually(TIMEOUT, || (samples(&valkey) > 3).then_some(())).expect("no history");
}

/// A disk that becomes full.
#[test]
fn a_full_disk_costs_the_copy_and_no_sample() {
    if !tests::is_root() {
        skip!("mounting takes root");
    }
    let Some(mut valkey) = Valkey::start(&["--appendonly", "yes", "--appendfsync", "always"]) else {
        skip!("valkey-server is not installed")
    };
    let dir = tempfile::tempdir().unwrap();
    let mut command = prepared(&valkey, dir.path());
    let [kind, target, size] =
        ["tmpfs", dir.path().to_str().unwrap(), "size=60k,mode=0700"].map(|text| CString::new(text).unwrap());
    let root = CString::new("/").unwrap();
    let mount = move || {
        // SAFETY: the texts end with a zero and outlive the calls.
        let done = unsafe {
            libc::unshare(libc::CLONE_NEWNS) == 0
                && libc::mount(
                    kind.as_ptr(),
                    root.as_ptr(),
                    kind.as_ptr(),
                    libc::MS_REC | libc::MS_PRIVATE,
                    std::ptr::null(),
                ) == 0
                && libc::mount(kind.as_ptr(), target.as_ptr(), kind.as_ptr(), 0, size.as_ptr().cast()) == 0
        };
        if done { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    };
    // SAFETY: the closure makes system calls only.
    unsafe { command.pre_exec(mount) };
    let agent = Agent::spawn(command);
    eventually(TIMEOUT, || (samples(&valkey) >= 5).then_some(())).unwrap_or_else(|| panic!("{}", agent.said()));
    valkey.kill();
    assert!(agent.says("cannot be written, buffering in memory", TIMEOUT), "{}", agent.said());
    std::thread::sleep(Duration::from_secs(7));
    assert_eq!(agent.said().matches("buffering in memory").count(), 1, "{}", agent.said());
    valkey.restart();
    let drained = || samples(&valkey) >= 40;
    eventually(TIMEOUT, || drained().then_some(())).unwrap_or_else(|| panic!("{}", agent.said()));
    std::thread::sleep(Duration::from_secs(1));
    let chain = chain::of(&valkey, "web", INTERVAL).unwrap();
    assert!(chain.samples >= 40, "{chain:?}");
}
