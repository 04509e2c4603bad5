//! Many agents on one Valkey, and on a cluster: the cost of a report to the servers, and the reconnects after an
//! outage.
//!
//! `cargo xtask bench fleet [sidecars] [machines] [outages] [SECONDS [OUTAGE]]`: SECONDS is the time for each fleet,
//! OUTAGE the longest outage; without a word, everything is measured.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods, reason = "a benchmark")]

mod agents;
mod bare;
mod servers;

use std::time::{Duration, Instant};

use agents::{Fleet, INTERVAL};
use bare::Words;
use servers::Work;
use tests::valkey::Valkey;
use tests::{cluster, eventually};

/// One agent for each container, as sidecars; and one for each machine.
const FLEETS: [Fleet; 2] =
    [Fleet { agents: 1_000, containers: 1, history: false }, Fleet { agents: 200, containers: 100, history: true }];
const TIMEOUT: Duration = Duration::from_secs(120);
/// The mean share of a core that a server may use: the rest is for readers and for bursts.
const BUSY: f64 = 0.5;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut numbers = arguments.iter().filter_map(|argument| argument.parse().ok());
    let (seconds, outage) = (numbers.next().unwrap_or(60), numbers.next().unwrap_or(300));
    let parts: Vec<&str> = ["sidecars", "machines", "outages"]
        .into_iter()
        .filter(|part| arguments.iter().any(|argument| argument == part))
        .collect();
    let is_wanted = |part: &str| parts.is_empty() || parts.contains(&part);
    let long = Duration::from_secs(seconds);
    for (part, fleet) in ["sidecars", "machines"].into_iter().zip(FLEETS) {
        if is_wanted(part) {
            single(fleet, long);
            several(fleet, long);
        }
    }
    if is_wanted("outages") {
        returns(&[0, 3, 60, outage].map(Duration::from_secs));
    }
    println!("\ncargo xtask bench fleet {seconds} {outage}");
}

fn row(what: &str, measured: &str, promised: &str) {
    println!("| {what} | {measured} | {promised} |");
}

fn title(text: &str) {
    println!("\n## {text}\n\n| What | Measured | Promised |\n|---|---|---|");
}

/// Starts a fleet, waits until all write at their pace, and measures the work of the servers for some time.
fn look(fleet: Fleet, url: &str, servers: &[Valkey], long: Duration) -> Work {
    let running = fleet.start(url);
    let all = fleet.agents * fleet.containers;
    let written = || servers.iter().map(listed).sum::<usize>();
    eventually(TIMEOUT, || (written() == all).then_some(()))
        .unwrap_or_else(|| panic!("{} of {all} are there", written()));
    // The requests of the start have finished by then.
    std::thread::sleep(INTERVAL * 3);
    let before = Work::of(servers);
    std::thread::sleep(long);
    let work = Work::of(servers) - &before;
    running.shutdown_background();
    work
}

fn listed(server: &Valkey) -> usize {
    let answer = redis::cmd("ZCARD").arg("system:containers").query(&mut server.connection());
    // In a cluster only one node has the key.
    answer.unwrap_or_default()
}

fn micros(time: Duration) -> String {
    format!("{:.1} µs", time.as_secs_f64() * 1e6)
}

fn describe(fleet: &Fleet, work: &Work, long: Duration) -> Duration {
    let reports = work.reports();
    let planned = fleet.reports_in(long);
    row("reports written, of those that were due", &format!("{:.1} %", reports / planned * 100.0), "");
    let cpu = work.cpu.div_f64(reports);
    let each = |number: u64| number as f64 / reports;
    let calls: Vec<String> = work
        .calls
        .iter()
        .filter(|(name, _)| *name != "INFO")
        .map(|(name, calls)| format!("{name} {:.2}", each(*calls)))
        .collect();
    row("commands per container and tick", &format!("{:.2} ({})", each(work.commands()), calls.join(", ")), "");
    let kib = |bytes: u64| format!("{:.2} KiB", each(bytes) / 1024.0);
    row("on the wire per container and tick, to the servers", &kib(work.received), "1.2 KiB");
    row("and back", &kib(work.sent), "");
    row("reads per agent and tick", &format!("{:.2}", work.reads as f64 / reports * fleet.containers as f64), "");
    row("server CPU per container and tick", &micros(cpu), "");
    row("server CPU", &format!("{:.1} % of a core", work.cpu.as_secs_f64() / long.as_secs_f64() * 100.0), "");
    cpu
}

fn single(fleet: Fleet, long: Duration) {
    let server = Valkey::start(&["--maxclients", "15000"]).expect("valkey-server is not installed");
    let history = if fleet.history { "with" } else { "without" };
    title(&format!(
        "{} agents with {} containers each, {history} a history, one server",
        fleet.agents, fleet.containers
    ));
    let servers = std::slice::from_ref(&server);
    let work = look(fleet, &format!("valkey://127.0.0.1:{}", server.port), servers, long);
    let cpu = describe(&fleet, &work, long);
    let report: String = server.query(&["GET", "system:metrics:fleet-0000-000"]);
    let logged: Vec<tests::valkey::StreamEntry> =
        server.query(&["XREVRANGE", "system:logstream:fleet-0000-000", "+", "-", "COUNT", "1"]);
    let words = Words { report, entry: String::from_utf8(logged[0].1[0].1.clone()).unwrap() };
    row("a report", &format!("{:.2} KiB", words.report.len() as f64 / 1024.0), "");
    let paced = bare::replay(&server, fleet, &words, fleet.agents, true, long);
    let ratio = |other: Duration| format!("{:.2}", cpu.as_secs_f64() / other.as_secs_f64());
    row("the same commands by a bare client, as many connections, at the same pace: server CPU", &micros(paced), "");
    row("ratio", &ratio(paced), "1.3");
    let fast = bare::replay(&server, fleet, &words, 20, false, long / 2);
    row("the same by 20 connections without a pause", &micros(fast), "");
    row("ratio", &ratio(fast), "");
    let benched = benchmark(&server, &fleet, &work, &words, long);
    row("the same by `valkey-benchmark`, 50 connections without a pause", &micros(benched), "");
    row("ratio", &ratio(benched), "");
    let carries = BUSY * INTERVAL.as_secs_f64() / cpu.as_secs_f64();
    row(
        &format!("containers that keep a server busy for {:.0} % of a core", BUSY * 100.0),
        &format!("{carries:.0}"),
        "",
    );
    if fleet.history {
        memory(&server);
    }
}

/// Measures one kind of command after the other, as often as the fleet sent it.
fn benchmark(server: &Valkey, fleet: &Fleet, work: &Work, words: &Words, long: Duration) -> Duration {
    let _: () = server.query(&["FLUSHALL"]);
    let reports = work.reports();
    let ticks = fleet.agents as u64 * long.as_secs() / INTERVAL.as_secs();
    let pipeline = (work.commands() / ticks).clamp(1, 500);
    let commands: [&[&str]; 5] = [
        &["SET", "system:metrics:__rand_int__", &words.report, "PX", "30000"],
        &["ZADD", "system:containers", "1764000000000", "__rand_int__"],
        &["XADD", "system:history:__rand_int__", "MINID", "~", "1763900000000", "*", "report", &words.report],
        &["PEXPIRE", "system:history:__rand_int__", "86400000"],
        &["DEL", "system:logs:__rand_int__"],
    ];
    let cost = |command: &[&str]| {
        let calls = work.calls.get(command[0]).copied().unwrap_or_default() as f64 / reports;
        if calls > 0.0 { bare::benchmark(server, command, pipeline).mul_f64(calls) } else { Duration::ZERO }
    };
    commands.into_iter().map(cost).sum()
}

fn memory(server: &Valkey) {
    let _: () = server.query(&["FLUSHALL"]);
    let fleet = Fleet { agents: 1, containers: 1, history: true };
    let running = fleet.start(&format!("valkey://127.0.0.1:{}", server.port));
    let key = "system:history:fleet-0000-000";
    eventually(TIMEOUT, || (server.query::<u64>(&["XLEN", key]) >= 2).then_some(())).expect("no history");
    running.shutdown_background();
    let entries: Vec<tests::valkey::StreamEntry> = server.query(&["XRANGE", key, "-", "+"]);
    let report = &entries[1].1[0].1;
    let mut connection = server.connection();
    let before: u64 = server.query(&["MEMORY", "USAGE", key, "SAMPLES", "0"]);
    const MORE: u64 = 5_000;
    for number in 0..MORE {
        redis::cmd("XADD")
            .arg(key)
            .arg("*")
            .arg("report")
            .arg(report)
            .arg("number")
            .arg(number)
            .exec(&mut connection)
            .unwrap();
    }
    let after: u64 = server.query(&["MEMORY", "USAGE", key, "SAMPLES", "0"]);
    let each = (after - before) as f64 / MORE as f64;
    let day = each * 24.0 * 3600.0 / INTERVAL.as_secs_f64();
    row(
        "memory per container-day of history",
        &format!("{:.1} MiB ({each:.0} bytes a report)", day / f64::from(1 << 20)),
        "",
    );
}

fn several(fleet: Fleet, long: Duration) {
    let nodes = cluster::start(3, 0, &["--maxclients", "15000"]).expect("valkey-server is not installed");
    title(&format!("{} agents with {} containers each, a cluster of three", fleet.agents, fleet.containers));
    let work = look(fleet, &format!("valkey://127.0.0.1:{}/?cluster=true", nodes[0].port), &nodes, long);
    describe(&fleet, &work, long);
}

/// Measures how a fleet reconnects after outages.
fn returns(outages: &[Duration]) {
    let fleet = FLEETS[0];
    let mut server = Valkey::start(&["--maxclients", "15000"]).expect("valkey-server is not installed");
    title(&format!("{} agents, the server killed and back", fleet.agents));
    let running = fleet.start(&format!("valkey://127.0.0.1:{}", server.port));
    for outage in outages {
        eventually(TIMEOUT, || (listed(&server) == fleet.agents).then_some(())).expect("not all are there");
        std::thread::sleep(INTERVAL * 2);
        server.kill();
        std::thread::sleep(*outage);
        let began = Instant::now();
        server.restart();
        let cpu = servers::cpu(&server);
        let (connected, written) = watch(&server, &fleet, began);
        let spent = (servers::cpu(&server) - cpu).as_secs_f64() / written.last().unwrap().0.as_secs_f64() * 100.0;
        let what = format!("after {} s: ", outage.as_secs());
        let share = |counts: &[(Duration, usize)]| worst(counts) as f64 / fleet.agents as f64 * 100.0;
        let last = written.iter().find(|(_, count)| *count >= fleet.agents).map_or(Duration::MAX, |(at, _)| *at);
        let half = written.iter().find(|(_, count)| *count * 2 >= fleet.agents).map_or(Duration::MAX, |(at, _)| *at);
        row(
            &format!("{what}connections in the worst second"),
            &format!("{:.0} % of the fleet", share(&connected)),
            "10 %",
        );
        row(
            &format!("{what}half, all have written again after"),
            &format!("{:.1} s, {:.1} s", half.as_secs_f64(), last.as_secs_f64()),
            "5 s",
        );
        row(&format!("{what}server CPU meanwhile"), &format!("{spent:.1} % of a core"), "");
    }
    running.shutdown_background();
}

type Counts = Vec<(Duration, usize)>;

/// The numbers of agents that have connected and that have written since the server came back.
fn watch(server: &Valkey, fleet: &Fleet, began: Instant) -> (Counts, Counts) {
    let mut connection = server.connection();
    let (mut connected, mut written) = (Vec::new(), Vec::new());
    loop {
        let said: String = redis::cmd("INFO").arg("stats").query(&mut connection).unwrap();
        let connections = said.lines().find_map(|line| line.strip_prefix("total_connections_received:"));
        let there: usize = redis::cmd("ZCARD").arg("system:containers").query(&mut connection).unwrap();
        connected.push((began.elapsed(), connections.unwrap().trim().parse().unwrap()));
        written.push((began.elapsed(), there));
        if there >= fleet.agents || began.elapsed() > TIMEOUT {
            return (connected, written);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The largest number in any second.
fn worst(counts: &[(Duration, usize)]) -> usize {
    let since = |at: Duration| {
        let before = at.saturating_sub(Duration::from_secs(1));
        counts.iter().take_while(|(then, _)| *then <= before).last().map_or(0, |(_, count)| *count)
    };
    counts.iter().map(|(at, count)| count - since(*at)).max().unwrap_or_default()
}
