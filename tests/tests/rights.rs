//! Commands that the server may refuse, and secrets that must never appear.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::fs;
use std::net::TcpStream;
use std::time::{Duration, SystemTime};

use tests::agent::{Agent, command};
use tests::fleet;
use tests::http::get;
use tests::valkey::Valkey;
use tests::{eventually, free_port, skip};

const TIMEOUT: Duration = Duration::from_secs(20);
const ARGUMENTS: &[&str] = &[
    "--interval",
    "200ms",
    "--log-interval",
    "1s",
    "--disk-interval",
    "0s",
    "--history",
    "1h",
    "--scope",
    "self",
    "--ebpf",
    "off",
];

fn start(valkey: &Valkey, environment: &[(&str, &str)]) -> Agent {
    Agent::start(valkey.port, ARGUMENTS, environment)
}

/// The ACL rule of a user in docs/valkey.md, as words.
fn rule(user: &str) -> Vec<String> {
    let document = include_str!("../../docs/valkey.md");
    let rule = document
        .lines()
        .find_map(|line| line.strip_prefix(&format!("ACL SETUSER {user} ")))
        .unwrap_or_else(|| panic!("docs/valkey.md has no ACL rule for {user}"));
    rule.replace("PASSWORD", "secret").split(' ').map(str::to_owned).collect()
}

/// The words with which the agent reports a missing right, per command; empty if it changes nothing visible.
const COSTS: &[(&str, Option<&str>)] = &[
    ("+del", Some("the removal of old log entries (DEL)")),
    ("+scan", Some("the search for log entries of earlier runs (SCAN)")),
    ("+zadd", Some("the list system:containers (ZADD)")),
    ("+zremrangebyscore", Some("the removal of old names from system:containers (ZREMRANGEBYSCORE)")),
    ("+xadd", Some("the history of reports (XADD)")),
    ("+pexpire", Some("the expiry of streams (PEXPIRE)")),
    ("+xrange", None),
    ("+xrevrange", None),
    ("+ping", None),
    ("+get", None),
    ("+select", None),
];

#[test]
fn each_right_that_lacks_costs_what_it_is_for_and_nothing_else() {
    let Some(valkey) = Valkey::start(&[]) else { skip!("valkey-server is not installed") };
    let rule = rule("monitor");
    let known: Vec<&str> = COSTS.iter().map(|(right, _)| *right).collect();
    for right in rule.iter().filter(|word| word.starts_with('+') && *word != "+set") {
        assert!(known.contains(&right.as_str()), "{right} is in docs/valkey.md and not tested");
    }
    let agents: Vec<_> = COSTS
        .iter()
        .map(|(right, cost)| {
            let name = right.replace(['+', '|'], "");
            let words = rule.iter().filter(|word| word != right).map(String::as_str);
            let user: Vec<&str> = ["ACL", "SETUSER", &name].into_iter().chain(words).collect();
            assert_eq!(user.len(), rule.len() + 2, "{right} is not in docs/valkey.md");
            let _: () = valkey.query(&user);
            let login = [("CONTAINER_NAME", name.as_str()), ("VALKEY_USERNAME", &name), ("VALKEY_PASSWORD", "secret")];
            (start(&valkey, &login), name.clone(), cost)
        })
        .collect();
    for (agent, name, cost) in agents {
        valkey.report(&name, TIMEOUT).unwrap_or_else(|| panic!("{name}: no report: {}", agent.said()));
        if name != "xadd" {
            let entries = || valkey.query::<u64>(&["XLEN", &format!("system:history:{name}")]);
            eventually(TIMEOUT, || (entries() >= 5).then_some(()))
                .unwrap_or_else(|| panic!("{name}: {}", agent.said()));
        }
        assert!(cost.is_none_or(|cost| agent.says(cost, TIMEOUT)), "{name}: {}", agent.said());
        std::thread::sleep(Duration::from_secs(1));
        let said = agent.end(libc::SIGTERM).said;
        let warnings: Vec<&str> =
            said.lines().filter(|line| line.contains("WARN") && !line.contains("Error reading")).collect();
        let expected = if name == "xadd" { 2 } else { usize::from(cost.is_some()) };
        assert_eq!(warnings.len(), expected, "{name}: {said}");
        assert!(cost.is_none_or(|cost| warnings[0].contains(cost)), "{name}: {said}");
    }
}

/// The history of more than an hour is Valkey's, also for the agent's own server.
#[test]
fn the_documented_rights_suffice_to_read_the_history() {
    let Some(valkey) = Valkey::start(&[]) else { skip!("valkey-server is not installed") };
    let (now, hour) = (SystemTime::now(), Duration::from_secs(3600));
    let name = fleet::name(0);
    fleet::remember(&valkey, 0, (1..4).rev().map(|hours| now - hour * hours));
    valkey.query::<u64>(&["ZADD", "system:containers", &fleet::millis(now).to_string(), &name]);
    let login = |user: &str| {
        let words = rule(user);
        let user: Vec<&str> = ["ACL", "SETUSER", user].into_iter().chain(words.iter().map(String::as_str)).collect();
        let _: () = valkey.query(&user);
    };
    let url = format!("valkey://127.0.0.1:{}", valkey.port);
    for (user, arguments) in [("reader", &["dashboard", "--interval", "1s"][..]), ("monitor", ARGUMENTS)] {
        login(user);
        let port = free_port();
        let listen = format!("127.0.0.1:{port}");
        let arguments = [arguments, &["--listen", &listen, "--valkey-url", &url]].concat();
        let environment = [("CONTAINER_NAME", &*name), ("VALKEY_USERNAME", user), ("VALKEY_PASSWORD", "secret")];
        let reader = Agent::spawn(command(&arguments, &environment));
        let times = || {
            TcpStream::connect(("127.0.0.1", port)).ok()?;
            let history = get(port, &format!("/api/v1/history/{name}?metric=cpu_percent&since=4h"));
            let first = history.json()["times"].as_array()?.first()?.as_u64()?;
            (first < fleet::millis(now - hour * 2)).then_some(())
        };
        assert!(eventually(TIMEOUT, times).is_some(), "{user}: {}", reader.said());
        assert!(!reader.end(libc::SIGTERM).said.contains("NOPERM"), "{user}");
    }
}

/// RESP3 if the server has it. An unknown greeting, library name or command costs only itself.
#[test]
fn a_server_that_does_not_know_a_command_loses_that_alone() {
    let Some(valkey) = Valkey::start(&[]) else { skip!("valkey-server is not installed") };
    let agent = start(&valkey, &[("CONTAINER_NAME", "web")]);
    valkey.report("web", TIMEOUT).expect("no report");
    assert!(valkey.query::<String>(&["CLIENT", "LIST"]).contains("resp=3"));
    drop(agent);
    for (commands, words) in [
        (&["HELLO"][..], None),
        (&["CLIENT"], None),
        (&["HELLO", "CLIENT"], None),
        (&["XADD"], Some("the history of reports (XADD)")),
        (&["ZADD"], Some("the list system:containers (ZADD)")),
    ] {
        let renamed: Vec<&str> = commands.iter().flat_map(|name| ["--rename-command", name, ""]).collect();
        let valkey = Valkey::start(&renamed).unwrap();
        let agent = start(&valkey, &[("CONTAINER_NAME", "web")]);
        valkey.report("web", TIMEOUT).unwrap_or_else(|| panic!("{commands:?}: {}", agent.said()));
        eventually(TIMEOUT, || Some(valkey.keys("system:logs:web:")).filter(|keys| !keys.is_empty())).expect("no log");
        std::thread::sleep(Duration::from_secs(1));
        let said = agent.end(libc::SIGTERM).said;
        assert!(!said.contains("Error storing"), "{commands:?}: {said}");
        assert!(words.is_none_or(|words| said.matches(words).count() == 1), "{commands:?}: {said}");
    }
}

const SECRET: &str = "hunter2-and-more";

/// Every place where a secret could appear: messages at every level, with and without a connection, arguments, core
/// limits.
#[test]
fn a_password_is_never_seen() {
    let Some(valkey) = Valkey::start(&["--requirepass", SECRET]) else { skip!("valkey-server is not installed") };
    let Some(other) = Valkey::start(&["--requirepass", "another"]) else { skip!("valkey-server is not installed") };
    let file = valkey.path("password");
    fs::write(&file, SECRET).unwrap();
    let file = file.to_str().unwrap();
    let url = |port: u16| format!("valkey://default:{SECRET}@127.0.0.1:{port}");
    let (good, wrong, nobody) = (url(valkey.port), url(other.port), url(1));
    let broken = format!("valkey://default:{SECRET}@host:port/");
    for (name, value) in [
        ("VALKEY_URL", good.as_str()),
        ("VALKEY_URL", &wrong),
        ("VALKEY_URL", &nobody),
        ("VALKEY_PASSWORD", SECRET),
        ("VALKEY_PASSWORD_FILE", file),
    ] {
        let level = ["--log", "trace", "--interval", "200ms", "--disk-interval", "0s", "--ebpf", "off"];
        let agent = Agent::start(valkey.port, &level, &[("CONTAINER_NAME", "web"), (name, value)]);
        let met = || agent.said().contains("Connected to Valkey") || agent.said().contains("Error storing");
        eventually(TIMEOUT, || met().then_some(())).unwrap_or_else(|| panic!("{}", agent.said()));
        std::thread::sleep(Duration::from_secs(1));
        let proc = |file: &str| fs::read_to_string(format!("/proc/{}/{file}", agent.pid())).unwrap();
        assert!(!proc("cmdline").contains(SECRET));
        let cores = proc("limits").lines().find_map(|line| line.strip_prefix("Max core file size").map(str::to_owned));
        // A limit of one byte is too small for any core, and the one for which the kernel starts no handler.
        assert!(matches!(cores.unwrap().split_whitespace().next(), Some("0" | "1")), "a core would hold the password");
        let said = agent.end(libc::SIGTERM).said;
        assert!(!said.contains(SECRET), "{name}={value}: {said}");
    }
    for (arguments, url) in
        [(&["doctor"][..], &good), (&["doctor", "--json"], &wrong), (&["once"], &broken), (&["healthcheck"], &wrong)]
    {
        let output = command(arguments, &[("CONTAINER_NAME", "web"), ("VALKEY_URL", url)]).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert!(!String::from_utf8_lossy(&said).contains(SECRET), "{arguments:?}");
    }
}
