//! The way to the server: names that have several addresses, change them or get none, and a network that works in one
//! direction only.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::process::Command;
use std::time::{Duration, Instant};

use tests::agent::Agent;
use tests::chain;
use tests::dns::{Names, ip};
use tests::{binary, eventually, skip};

const TIMEOUT: Duration = Duration::from_secs(30);
/// Time within which reports are written again if names have to be resolved first: ten seconds, and one for a busy
/// machine.
const BACK_WITH_NAMES: Duration = Duration::from_secs(11);

const SETTINGS: &[(&str, &str)] = &[
    ("CONTAINER_NAME", "web"),
    ("MONITOR_INTERVAL", "200ms"),
    ("MONITOR_HISTORY", "1h"),
    ("MONITOR_DISK_INTERVAL", "0s"),
    ("MONITOR_SCOPE", "self"),
    ("MONITOR_EBPF", "off"),
];

macro_rules! names {
    ($label:literal) => {{
        if !tests::has("valkey-server") {
            skip!("valkey-server is not installed");
        }
        match Names::start($label) {
            Some(names) => names,
            None => skip!("network namespaces take root and iproute2"),
        }
    }};
}

fn agent(mut command: Command, host: &str) -> Agent {
    command.envs(SETTINGS.iter().copied()).env("VALKEY_HOST", host);
    Agent::spawn(command)
}

fn inside(names: &Names, host: &str) -> Agent {
    agent(names.command(binary().to_str().unwrap()), host)
}

fn samples(names: &Names, address: &str) -> usize {
    names.ask(address, &["XLEN", "system:history:web"]).and_then(|said| said.parse().ok()).unwrap_or(0)
}

fn more(names: &Names, address: &str, agent: &Agent) -> Duration {
    let (began, before) = (Instant::now(), samples(names, address));
    eventually(TIMEOUT, || (samples(names, address) > before).then_some(()))
        .unwrap_or_else(|| panic!("nothing is written to {address}: {}", agent.said()));
    began.elapsed()
}

#[test]
fn of_several_addresses_the_one_that_answers_is_taken_and_the_newer_kind_too() {
    let names = names!("several");
    let _old = names.valkey("127.0.0.2");
    let _new = names.valkey("::1");
    names.mean(&["127.0.0.9", "127.0.0.2"]);
    more(&names, "127.0.0.2", &inside(&names, "store.test"));
    names.mean(&["::1"]);
    more(&names, "::1", &inside(&names, "store.test"));
    more(&names, "::1", &inside(&names, "[::1]"));
}

#[test]
fn a_name_that_changes_its_meaning_is_followed_and_a_server_of_names_that_hangs_is_waited_for() {
    let names = names!("changes");
    let first = names.valkey("127.0.0.2");
    names.mean(&["127.0.0.2"]);
    let agent = inside(&names, "store.test");
    more(&names, "127.0.0.2", &agent);
    drop(first);
    let _second = names.valkey("127.0.0.3");
    std::thread::sleep(Duration::from_secs(2));
    names.mean(&["127.0.0.3"]);
    let back = more(&names, "127.0.0.3", &agent);
    println!("| the name means another server | {:.1} s |", back.as_secs_f64());
    assert!(back < BACK_WITH_NAMES, "{back:?}");

    names.fall_silent();
    drop(_second);
    assert!(agent.says("no name server answers", TIMEOUT), "{}", agent.said());
    let _third = names.valkey("127.0.0.4");
    std::thread::sleep(Duration::from_secs(3));
    names.mean(&["127.0.0.4"]);
    let back = more(&names, "127.0.0.4", &agent);
    println!("| the name server hangs | {:.1} s |", back.as_secs_f64());
    assert!(back < BACK_WITH_NAMES, "{back:?}");

    names.mean(&[]);
    drop(_third);
    assert!(agent.says("no such name", TIMEOUT), "{}", agent.said());
    names.fall_silent();
    std::thread::sleep(Duration::from_secs(1));
    let ended = agent.end(libc::SIGTERM);
    assert!(ended.took < Duration::from_millis(1500), "{:?}", ended.took);
}

/// The static binary alone in an otherwise empty root: no C library, no name service. Every runtime provides random
/// numbers.
#[test]
fn names_are_found_in_an_image_without_a_c_library() {
    let names = names!("image");
    let elf = std::fs::read(binary()).unwrap();
    // A binary that needs a dynamic loader names it.
    if elf.windows(11).any(|bytes| bytes == b"/ld-linux-x") {
        skip!("the binary under test is not static");
    }
    let _server = names.valkey("127.0.0.2");
    names.mean(&["127.0.0.2"]);
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("etc")).unwrap();
    std::fs::copy(binary(), root.path().join("system-monitor")).unwrap();
    std::fs::write(root.path().join("etc/resolv.conf"), "nameserver 127.0.0.1\n").unwrap();
    std::fs::create_dir(root.path().join("dev")).unwrap();
    for (name, minor) in [("random", "8"), ("urandom", "9")] {
        let device = root.path().join("dev").join(name);
        let made = Command::new("mknod").arg(device).args(["c", "1", minor]).status();
        assert!(made.unwrap().success());
    }
    let mut command = names.command("chroot");
    command.arg(root.path()).arg("/system-monitor");
    more(&names, "127.0.0.2", &agent(command, "store.test"));
}

/// Packets to the server arrive, answers do not.
#[test]
fn a_network_that_carries_one_way_only_costs_no_sample() {
    let names = names!("oneway");
    let other = Names::start("server").unwrap();
    let (here, there) = (names.name(), other.name());
    for words in [
        format!("link add end netns {here} type veth peer name end netns {there}"),
        format!("-n {here} address add 10.0.0.1/24 dev end"),
        format!("-n {there} address add 10.0.0.2/24 dev end"),
        format!("-n {here} link set end up"),
        format!("-n {there} link set end up"),
    ] {
        assert!(ip(&words), "{words}");
    }
    let _server = other.valkey("10.0.0.2");
    let agent = inside(&names, "10.0.0.2");
    eventually(TIMEOUT, || (samples(&other, "10.0.0.2") >= 10).then_some(()))
        .unwrap_or_else(|| panic!("{}", agent.said()));
    // A queue of one byte accepts no packet.
    let traffic = |action: &str| {
        let done = other.command("tc").args(format!("qdisc {action} dev end root bfifo limit 1").split(' ')).status();
        assert!(done.unwrap().success());
    };
    traffic("add");
    assert!(agent.says("no answer within 3 s", TIMEOUT), "{}", agent.said());
    std::thread::sleep(Duration::from_secs(4));
    let done = other.command("tc").args("qdisc delete dev end root".split(' ')).status();
    assert!(done.unwrap().success());
    let (began, before) = (Instant::now(), samples(&other, "10.0.0.2"));
    eventually(TIMEOUT, || (samples(&other, "10.0.0.2") > before).then_some(()))
        .unwrap_or_else(|| panic!("{}", agent.said()));
    let back = began.elapsed();
    std::thread::sleep(Duration::from_secs(2));
    let said = other
        .command("valkey-cli")
        .args(["-h", "10.0.0.2", "--json", "XRANGE", "system:history:web", "-", "+"])
        .output();
    let entries: Vec<(String, Vec<String>)> = serde_json::from_slice(&said.unwrap().stdout).unwrap();
    let chain =
        chain::check(entries.iter().map(|(_, fields)| fields[1].as_bytes()), Duration::from_millis(200)).unwrap();
    println!("| answers lost on the way | {:.1} s | 0 of {} |", back.as_secs_f64(), chain.samples);
    assert!(back < Duration::from_secs(6) && chain.samples >= 40, "{back:?} {chain:?}");
}
