//! The fault matrix: whatever becomes of Valkey or of the way to it, nothing that fits the buffer is lost, nothing is there
//! twice, and the agent goes on.
//!
//! Each case is a real server and a real agent. Every sample of the history is accounted for: a report says how long before
//! it the reading before it was; and every log entry: each sample has a heartbeat, by whose time it is known (`tests::chain`).
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::fmt;
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use tests::agent::Agent;
use tests::certificates::Certificates;
use tests::chain::{self, Chain};
use tests::proxy::{Mode, Proxy};
use tests::valkey::Valkey;
use tests::{eventually, skip};

const PATIENCE: Duration = Duration::from_secs(30);
const INTERVAL: Duration = Duration::from_millis(200);
/// Between two heartbeats: each tick has one, unless it is close behind a late one.
const HEARTBEAT: Duration = Duration::from_millis(100);
/// Written again within this time of the server's return. The bar is five seconds; a second is for a machine that does
/// many things at once.
const BACK: Duration = Duration::from_secs(6);
/// Beyond what waits, an outage costs so much memory at most.
const GROWTH: u64 = 4 << 20;

/// A server, and what stands before it.
struct Stage {
    valkey: Valkey,
    proxy: Option<Proxy>,
    /// Opened before anything went wrong.
    admin: redis::Connection,
    idle: Vec<TcpStream>,
    certificates: Option<(Certificates, u16)>,
}

impl Stage {
    fn run(&mut self, words: &[&str]) -> redis::Value {
        let (name, arguments) = words.split_first().unwrap();
        redis::cmd(name).arg(arguments).query(&mut self.admin).unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    fn set(&self, mode: Mode) {
        self.proxy.as_ref().expect("no proxy").set(mode);
    }

    /// Has the server show a certificate, to those who come back.
    fn show(&mut self, name: &str) {
        let (made, _) = self.certificates.as_ref().expect("no certificates");
        let (cert, key) = (made.text(&format!("{name}.pem")), made.text(&format!("{name}.key")));
        self.run(&["CONFIG", "SET", "tls-cert-file", &cert, "tls-key-file", &key]);
        self.disconnect();
    }

    /// Ends the connections of all others.
    fn disconnect(&mut self) {
        self.run(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    }
}

/// Something that goes wrong, and is mended.
struct Case {
    name: &'static str,
    /// What the agent says of it, so that one knows that it was met.
    says: &'static str,
    server: &'static [&'static str],
    /// Whether the agent comes through a proxy.
    proxied: bool,
    /// Whether TLS is spoken.
    tls: bool,
    /// Whether the agent has a login of its own, which is `monitor` with the password `right`.
    login: bool,
    /// How long it lasts.
    lasts: Duration,
    /// Whether the server forgets what it had.
    forgets: bool,
    break_it: fn(&mut Stage),
    mend_it: fn(&mut Stage),
}

impl Case {
    const fn new(name: &'static str, says: &'static str, break_it: fn(&mut Stage), mend_it: fn(&mut Stage)) -> Self {
        let lasts = Duration::from_secs(5);
        Self {
            name,
            says,
            server: AOF,
            proxied: false,
            tls: false,
            login: false,
            lasts,
            forgets: false,
            break_it,
            mend_it,
        }
    }

    /// The server shows another certificate.
    const fn tls(name: &'static str, says: &'static str, break_it: fn(&mut Stage)) -> Self {
        Self { tls: true, ..Self::new(name, says, break_it, |stage| stage.show("server")) }
    }

    const fn proxied(name: &'static str, says: &'static str, mode: fn(&mut Stage)) -> Self {
        Self { proxied: true, ..Self::new(name, says, mode, |stage| stage.set(Mode::Pass)) }
    }
}

/// What was acknowledged survives the server.
const AOF: &[&str] = &[
    "--appendonly",
    "yes",
    "--appendfsync",
    "always",
    "--enable-debug-command",
    "yes",
    "--enable-protected-configs",
    "yes",
];

const CASES: &[Case] = &[
    Case::new("nothing, for comparison", "Connected to Valkey", |_| (), |_| ()),
    Case::new(
        "refused, and back with its data",
        "refused",
        |stage| stage.valkey.kill(),
        |stage| stage.valkey.restart(),
    ),
    Case {
        server: &[],
        forgets: true,
        ..Case::new("killed, and back empty", "refused", |stage| stage.valkey.kill(), |stage| stage.valkey.restart())
    },
    Case::new(
        "frozen",
        "no answer within 3 s",
        |stage| stage.valkey.signal(libc::SIGSTOP),
        |stage| stage.valkey.signal(libc::SIGCONT),
    ),
    Case::proxied("silent: connections stay and nothing passes", "no answer within 3 s", |stage| stage.set(Mode::Hold)),
    Case::proxied("connections are reset", "Error storing metrics", |stage| stage.set(Mode::Reset)),
    Case::proxied("answers end, questions pass", "Error storing metrics", |stage| stage.set(Mode::HalfClose)),
    Case::proxied("answers are cut in half", "Error storing metrics", |stage| stage.set(Mode::CutAnswers(40))),
    Case::proxied("questions are cut in half", "Error storing metrics", |stage| stage.set(Mode::CutQuestions(3_000))),
    Case::proxied("answers are garbage", "Error storing metrics", |stage| stage.set(Mode::Garble)),
    Case {
        lasts: Duration::from_secs(12),
        ..Case::proxied("1 KiB a second", "no answer within", |stage| stage.set(Mode::Slow(1024)))
    },
    Case {
        proxied: true,
        ..Case::new(
            "killed in the middle of a pipeline",
            "Error storing metrics",
            |stage| {
                stage.set(Mode::CutQuestions(3_000));
                std::thread::sleep(Duration::from_millis(300));
                stage.valkey.kill();
            },
            |stage| {
                stage.set(Mode::Pass);
                stage.valkey.restart();
            },
        )
    },
    Case::new(
        "NOAUTH",
        "NOAUTH",
        |stage| {
            stage.run(&["CONFIG", "SET", "requirepass", "other"]);
            stage.disconnect();
        },
        |stage| _ = stage.run(&["CONFIG", "SET", "requirepass", ""]),
    ),
    Case {
        login: true,
        ..Case::new(
            "WRONGPASS",
            "check VALKEY_USERNAME and the password",
            |stage| {
                stage.run(&["ACL", "SETUSER", "monitor", "resetpass", ">other"]);
                stage.disconnect();
            },
            |stage| _ = stage.run(&["ACL", "SETUSER", "monitor", ">right"]),
        )
    },
    Case {
        login: true,
        ..Case::new(
            "NOPERM for XADD alone",
            "the history of reports (XADD)",
            |stage| _ = stage.run(&["ACL", "SETUSER", "monitor", "-xadd"]),
            |stage| _ = stage.run(&["ACL", "SETUSER", "monitor", "+xadd"]),
        )
    },
    Case {
        login: true,
        ..Case::new(
            "NOPERM for SET alone",
            "NOPERM",
            |stage| _ = stage.run(&["ACL", "SETUSER", "monitor", "-set"]),
            |stage| _ = stage.run(&["ACL", "SETUSER", "monitor", "+set"]),
        )
    },
    Case::new(
        "OOM with noeviction",
        "OOM",
        |stage| _ = stage.run(&["CONFIG", "SET", "maxmemory", "1"]),
        |stage| _ = stage.run(&["CONFIG", "SET", "maxmemory", "0"]),
    ),
    Case::new(
        "READONLY, and promoted",
        "READONLY",
        |stage| _ = stage.run(&["REPLICAOF", "127.0.0.1", "1"]),
        |stage| _ = stage.run(&["REPLICAOF", "NO", "ONE"]),
    ),
    Case::new(
        "LOADING",
        "LOADING",
        |stage| {
            let words = "for i = 1, 300 do redis.call('set', 'filling' .. i, i) end";
            stage.run(&["EVAL", words, "0"]);
            stage.run(&["CONFIG", "SET", "loading-process-events-interval-bytes", "1024"]);
            stage.run(&["CONFIG", "SET", "key-load-delay", "16000"]);
            let port = stage.valkey.port;
            std::thread::spawn(move || {
                let client = redis::Client::open(format!("redis://127.0.0.1:{port}/")).unwrap();
                let mut connection = client.get_connection().unwrap();
                _ = redis::cmd("DEBUG").arg("RELOAD").exec(&mut connection);
            });
        },
        |stage| {
            let loaded = || redis::cmd("GET").arg("filling1").query::<String>(&mut stage.admin).ok();
            eventually(PATIENCE, loaded).expect("loads for ever");
            stage.run(&["CONFIG", "SET", "key-load-delay", "0"]);
        },
    ),
    Case::new(
        "MISCONF",
        "MISCONF",
        |stage| {
            let gone = stage.valkey.path("gone");
            std::fs::create_dir_all(&gone).unwrap();
            stage.run(&["CONFIG", "SET", "dir", gone.to_str().unwrap()]);
            std::fs::remove_dir(&gone).unwrap();
            stage.run(&["CONFIG", "SET", "save", "3600 1"]);
            stage.run(&["BGSAVE"]);
        },
        |stage| {
            let dir = stage.valkey.dir.path().to_str().unwrap().to_owned();
            stage.run(&["CONFIG", "SET", "dir", &dir]);
            stage.run(&["CONFIG", "SET", "save", ""]);
            stage.run(&["CONFIG", "SET", "stop-writes-on-bgsave-error", "no"]);
        },
    ),
    Case::new(
        "BUSY",
        "BUSY",
        |stage| {
            stage.run(&["CONFIG", "SET", "busy-reply-threshold", "100"]);
            let port = stage.valkey.port;
            std::thread::spawn(move || {
                let client = redis::Client::open(format!("redis://127.0.0.1:{port}/")).unwrap();
                let mut connection = client.get_connection().unwrap();
                _ = redis::cmd("EVAL").arg("while true do end").arg(0).exec(&mut connection);
            });
        },
        |stage| _ = stage.run(&["SCRIPT", "KILL"]),
    ),
    Case::new(
        "another type at the history's key",
        "WRONGTYPE",
        |stage| {
            stage.run(&["RENAME", "system:history:web", "aside"]);
            stage.run(&["SET", "system:history:web", "x"]);
        },
        |stage| _ = stage.run(&["RENAME", "aside", "system:history:web"]),
    ),
    Case::new("nothing, later", "Connected to Valkey", |_| (), |_| ()),
    Case::tls("TLS: the certificate has expired", "expired", |stage| stage.show("expired")),
    Case::tls("TLS: a certificate for another name", "not valid for name", |stage| stage.show("elsewhere")),
    Case::tls("TLS: a certificate of another authority", "UnknownIssuer", |stage| stage.show("foreign")),
    Case::new(
        "as many clients as the server takes",
        "too many clients",
        |stage| {
            let port = stage.valkey.port;
            stage.run(&["CONFIG", "SET", "maxclients", "20"]);
            stage.idle = (0..40).filter_map(|_| TcpStream::connect(("127.0.0.1", port)).ok()).collect();
            std::thread::sleep(Duration::from_millis(100));
            // The agent's connection is the one that has said something; its place is taken at once.
            stage.run(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
            stage.idle = (0..40).filter_map(|_| TcpStream::connect(("127.0.0.1", port)).ok()).collect();
        },
        |stage| {
            stage.idle.clear();
            stage.run(&["CONFIG", "SET", "maxclients", "1000"]);
        },
    ),
];

/// What was measured.
struct Row {
    name: &'static str,
    lasted: Duration,
    back: Duration,
    chain: Chain,
    entries: usize,
    resent: u64,
    grown: u64,
    exit: Duration,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, lasted, back, chain, entries, resent, grown, exit } = self;
        let seconds = |duration: &Duration| format!("{:.1} s", duration.as_secs_f64());
        write!(
            f,
            "| {name} | {} | {} | 0 of {} | 0 of {entries} | {resent} ",
            seconds(lasted),
            seconds(back),
            chain.samples
        )?;
        write!(f, "| {} KiB | {} ms | {:.2} s |", grown >> 10, chain.longest.as_millis(), exit.as_secs_f64())
    }
}

fn number(report: &serde_json::Value, field: &str) -> u64 {
    report["agent"]["valkey"][field].as_u64().unwrap_or(u64::MAX)
}

/// The latest report, if the server shows it.
fn latest(stage: &mut Stage) -> Option<serde_json::Value> {
    let client = redis::Client::open(format!("redis://127.0.0.1:{}/", stage.valkey.port)).unwrap();
    let mut connection = client.get_connection_with_timeout(Duration::from_secs(1)).ok()?;
    connection.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
    let text: Vec<u8> = redis::cmd("GET").arg("system:metrics:web").query(&mut connection).ok()?;
    serde_json::from_slice(&text).ok()
}

fn start(stage: &mut Stage, case: &Case, dir: &Path) -> Agent {
    if case.login {
        stage.run(&["ACL", "SETUSER", "monitor", "on", ">right", "~*", "+@all"]);
    }
    let port = stage.proxy.as_ref().map_or(stage.valkey.port, |proxy| proxy.port);
    let interval = format!("{}ms", INTERVAL.as_millis());
    let heartbeat = format!("{}ms", HEARTBEAT.as_millis());
    let often = ["--interval", &interval, "--log-interval", &heartbeat];
    let arguments = ["--history", "1h", "--disk-interval", "0s", "--scope", "self", "--ebpf", "off"];
    let arguments = [&often[..], &arguments].concat();
    let mut environment = vec![("CONTAINER_NAME", "web")];
    let secured = stage.certificates.as_ref().map(|(made, port)| {
        let files = ["ca.pem", "client.pem", "client.key"].map(|file| made.text(file));
        (format!("valkeys://127.0.0.1:{port}"), files)
    });
    if let Some((url, [ca, cert, key])) = &secured {
        let names = ["VALKEY_URL", "VALKEY_TLS_CA", "VALKEY_TLS_CERT", "VALKEY_TLS_KEY"];
        environment.extend(names.into_iter().zip([url.as_str(), ca, cert, key]));
    }
    let file = tests::secret_file(dir, "right");
    if case.login {
        environment.extend([("VALKEY_USERNAME", "monitor"), ("VALKEY_PASSWORD_FILE", file.as_str())]);
    }
    Agent::start(port, &arguments, &environment)
}

fn run(case: &Case) -> Result<Row, String> {
    let certificates =
        if case.tls { Some((Certificates::new().ok_or("no openssl")?, tests::free_port())) } else { None };
    let tls: Vec<String> = certificates.iter().flat_map(|(made, port)| made.server(*port)).collect();
    let arguments: Vec<&str> = case.server.iter().copied().chain(tls.iter().map(String::as_str)).collect();
    let valkey = Valkey::start(&arguments).ok_or("no server")?;
    let proxy = case.proxied.then(|| Proxy::start(valkey.port));
    let mut stage = Stage { admin: valkey.connection(), valkey, proxy, idle: Vec::new(), certificates };
    let dir = tempfile::tempdir().unwrap();
    let began = SystemTime::now();
    let mut agent = start(&mut stage, case, dir.path());
    let entries = |stage: &mut Stage| match stage.run(&["XLEN", "system:history:web"]) {
        redis::Value::Int(entries) => (entries >= 10).then_some(()),
        _ => None,
    };
    eventually(PATIENCE, || entries(&mut stage)).ok_or_else(|| format!("does not start: {}", agent.said()))?;
    let resident = agent.resident();

    let broken = (SystemTime::now(), Instant::now());
    (case.break_it)(&mut stage);
    std::thread::sleep(case.lasts);
    (case.mend_it)(&mut stage);
    let mended = (SystemTime::now(), Instant::now());
    if !agent.is_alive() {
        return Err(format!("has ended: {}", agent.said()));
    }
    let grown = agent.resident().saturating_sub(resident);
    let since = |report: &serde_json::Value| {
        humantime::parse_rfc3339(report["timestamp"].as_str().unwrap()).is_ok_and(|at| at > mended.0)
    };
    eventually(PATIENCE, || latest(&mut stage).filter(since))
        .ok_or_else(|| format!("is not written again: {}", agent.said()))?;
    let back = mended.1.elapsed();
    let drained = |report: &serde_json::Value| since(report) && number(report, "backlog") == 0;
    let report = eventually(PATIENCE, || latest(&mut stage).filter(drained)).ok_or_else(|| {
        format!("the backlog stays: {:?}\n{}", latest(&mut stage).map(|r| r["agent"].clone()), agent.said())
    })?;
    let chain = chain::of(&stage.valkey, "web", INTERVAL)?;
    // What the server had acknowledged and then forgot is not the agent's.
    let whole = if case.forgets { broken.0 + 2 * INTERVAL } else { began + Duration::from_secs(3) };
    let since = if case.forgets { whole } else { SystemTime::UNIX_EPOCH };
    let entries = chain::logged(&stage.valkey, "web", since, HEARTBEAT)?;

    (case.break_it)(&mut stage);
    std::thread::sleep(Duration::from_millis(700));
    let ended = agent.end(libc::SIGTERM);
    (case.mend_it)(&mut stage);

    let row = Row {
        name: case.name,
        lasted: mended.1 - broken.1,
        back,
        resent: number(&report, "resent"),
        grown,
        exit: ended.took,
        chain,
        entries,
    };
    let checks = [
        (row.back <= BACK, "is written again too late"),
        (row.grown <= GROWTH, "grows"),
        (number(&report, "dropped") == 0, "has dropped something"),
        (row.exit <= Duration::from_millis(1500) && ended.status.code() == Some(0), "ends too late or badly"),
        (row.chain.first <= whole && row.chain.last > mended.0, "has not written all samples"),
        (row.chain.longest < INTERVAL + Duration::from_secs(1), "was held up"),
        (ended.said.contains(case.says), "did not meet the fault"),
        (!ended.said.contains("panicked"), "panicked"),
    ];
    let failed: Vec<&str> = checks.iter().filter(|(kept, _)| !kept).map(|(_, what)| *what).collect();
    if failed.is_empty() { Ok(row) } else { Err(format!("{}: {row}\n{}", failed.join(", "), ended.said)) }
}

#[test]
fn nothing_is_lost_and_nothing_is_twice_whatever_goes_wrong() {
    if !tests::has("valkey-server") || !tests::has("openssl") {
        skip!("valkey-server or openssl is not installed");
    }
    let mut failed = Vec::new();
    println!(
        "| fault | lasted | written again after | samples lost | log entries lost | sent again | memory | longest interval | end |"
    );
    // All at once would make a small machine the fault.
    for some in CASES.chunks(8) {
        std::thread::scope(|scope| {
            let running: Vec<_> = some.iter().map(|case| (case.name, scope.spawn(|| run(case)))).collect();
            for (name, thread) in running {
                match thread.join().unwrap_or_else(|_| Err("the test itself failed".to_owned())) {
                    Ok(row) => println!("{row}"),
                    Err(why) => failed.push(format!("{name}: {why}")),
                }
            }
        });
    }
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}

/// As the case of the matrix, for as long as operators know it.
#[test]
#[ignore = "takes more than a minute; its figures are in docs/reliability.md"]
fn a_server_that_is_frozen_for_a_minute_costs_no_sample() {
    let frozen = CASES.iter().find(|case| case.name == "frozen").unwrap();
    match run(&Case { lasts: Duration::from_secs(60), ..*frozen }) {
        Ok(row) => println!("{row}"),
        Err(why) => panic!("{why}"),
    }
}
