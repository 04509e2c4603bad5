//! One fault from beginning to end, and its measurements.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use tests::agent::Agent;
use tests::certificates::Certificates;
use tests::chain::{self, Chain};
use tests::eventually;
use tests::proxy::Proxy;
use tests::valkey::Valkey;

use crate::case::Case;
use crate::stage::{Stage, TIMEOUT};

const INTERVAL: Duration = Duration::from_millis(200);
/// Interval of heartbeats: each tick has one, unless it follows closely on a late one.
const HEARTBEAT: Duration = Duration::from_millis(100);
/// Time within which reports are written again after the server's return. The promise is five seconds; a second is
/// added for a busy machine.
const BACK: Duration = Duration::from_secs(6);
/// The most memory that an outage costs beyond the waiting entries.
const GROWTH: u64 = 4 << 20;

/// Measurements of one case.
pub(crate) struct Row {
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

/// The latest report, if the server has it.
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

pub(crate) fn run(case: &Case) -> Result<Row, String> {
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
    eventually(TIMEOUT, || entries(&mut stage)).ok_or_else(|| format!("does not start: {}", agent.said()))?;
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
    eventually(TIMEOUT, || latest(&mut stage).filter(since))
        .ok_or_else(|| format!("is not written again: {}", agent.said()))?;
    let back = mended.1.elapsed();
    let drained = |report: &serde_json::Value| since(report) && number(report, "backlog") == 0;
    let report = eventually(TIMEOUT, || latest(&mut stage).filter(drained)).ok_or_else(|| {
        format!("the backlog stays: {:?}\n{}", latest(&mut stage).map(|r| r["agent"].clone()), agent.said())
    })?;
    let chain = chain::of(&stage.valkey, "web", INTERVAL)?;
    // Data that the server acknowledged and then lost are not the agent's responsibility.
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
