//! The costs of HTTP clients: the delay of readings, and memory.
//!
//! `cargo xtask bench http [SECONDS]`: SECONDS is the duration of each of the two runs.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods, reason = "a benchmark")]

use std::io::{BufRead, BufReader, Read, Write};
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tests::agent::{Agent, command};
use tests::cgroup::Group;
use tests::http::{Events, connect, get};
use tests::{eventually, free_port};

/// Clients of the event stream.
const CLIENTS: usize = 200;
/// Scrapes per second, and the connections that share them.
const SCRAPES: u64 = 1000;
const SCRAPERS: u64 = 8;
/// Containers in the run that measures memory.
const CONTAINERS: usize = 1000;
const INTERVAL: Duration = Duration::from_secs(1);

fn main() {
    let seconds = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(60);
    println!("| What | Measured | Promised | |\n|---|---|---|---|");
    let kept = [load(Duration::from_secs(seconds)), memory()];
    println!("\ncargo xtask bench http {seconds}");
    if kept.contains(&false) {
        std::process::exit(1);
    }
}

fn row(what: &str, measured: &str, promised: &str, kept: bool) -> bool {
    println!("| {what} | {measured} | {promised} | {} |", if kept { "kept" } else { "BROKEN" });
    kept
}

fn start(arguments: &[&str]) -> (Agent, u16) {
    let port = free_port();
    let listen = format!("127.0.0.1:{port}");
    let mut agent = command(&["--listen", &listen, "--valkey-url", "none", "--disk-interval", "0s"], &[]);
    agent.args(["--interval", "1s"]).args(arguments).env("CONTAINER_NAME", "bench");
    let agent = Agent::spawn(agent);
    let ready =
        || std::net::TcpStream::connect(("127.0.0.1", port)).ok().filter(|_| get(port, "/readyz").status == 200);
    eventually(Duration::from_secs(30), ready).expect("the server is not ready");
    (agent, port)
}

/// The deviation of readings from the grid of the interval, the largest and the mean, in milliseconds.
fn delays(port: u16, long: Duration) -> (f64, f64) {
    let mut events = Events::open(port);
    let began = Instant::now();
    let mut times = Vec::new();
    while began.elapsed() < long {
        times.extend(events.event().filter(|event| event.name == "tick").and_then(|event| event.id));
    }
    let millis = INTERVAL.as_millis() as f64;
    // The grid is at the phase of most readings: the first of a run may be late itself.
    let phases: Vec<f64> = times.iter().map(|time| *time as f64 % millis).collect();
    let mut sorted = phases.clone();
    sorted.sort_by(f64::total_cmp);
    let grid = sorted[sorted.len() / 10];
    let late: Vec<f64> = phases
        .iter()
        .map(|phase| (phase - grid).rem_euclid(millis))
        .map(|late| if late > millis / 2.0 { 0.0 } else { late })
        .collect();
    let missing = (times[times.len() - 1] - times[0]) as f64 / millis + 1.0 - times.len() as f64;
    assert!(missing.abs() < 1.0, "{missing} readings are missing");
    (late.iter().copied().fold(0.0, f64::max), late.iter().sum::<f64>() / late.len() as f64)
}

fn load(long: Duration) -> bool {
    let (agent, port) = start(&["--scope", "self"]);
    let (alone, _) = delays(port, long);
    let stop = Arc::new(AtomicBool::new(false));
    let (ticks, scrapes) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut threads = Vec::new();
    for _ in 0..CLIENTS {
        let (stop, ticks) = (Arc::clone(&stop), Arc::clone(&ticks));
        threads.push(std::thread::spawn(move || {
            let mut events = Events::open(port);
            while !stop.load(Ordering::Relaxed) && events.event().is_some() {
                ticks.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    for _ in 0..SCRAPERS {
        let (stop, scrapes) = (Arc::clone(&stop), Arc::clone(&scrapes));
        threads.push(std::thread::spawn(move || scrape(port, &stop, &scrapes)));
    }
    std::thread::sleep(Duration::from_secs(2));
    let (before, began) = ((ticks.load(Ordering::Relaxed), scrapes.load(Ordering::Relaxed)), Instant::now());
    let (worst, mean) = delays(port, long);
    let took = began.elapsed().as_secs_f64();
    let per_second = |now: u64, before: u64| (now - before) as f64 / took;
    let told = per_second(ticks.load(Ordering::Relaxed), before.0);
    let scraped = per_second(scrapes.load(Ordering::Relaxed), before.1);
    let resident = agent.resident() as f64 / f64::from(1 << 20);
    stop.store(true, Ordering::Relaxed);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let tenth = INTERVAL.as_millis() as f64 / 10.0;
    let kept = [
        row(
            &format!("readings behind their time at 1 s, nobody asks, {} s: the worst", long.as_secs()),
            &format!("{alone:.0} ms"),
            "",
            true,
        ),
        row(
            &format!(
                "the same with {CLIENTS} event streams and {SCRAPES} scrapes a second: the worst (mean {mean:.1} ms)"
            ),
            &format!("{worst:.0} ms"),
            &format!("{tenth:.0} ms"),
            worst <= tenth,
        ),
        row(
            "scrapes answered per second then",
            &format!("{scraped:.0}"),
            &format!("{SCRAPES}"),
            scraped >= SCRAPES as f64 * 0.95,
        ),
        row(
            "events received per second then",
            &format!("{told:.0}"),
            &format!("{CLIENTS}"),
            told >= CLIENTS as f64 * 0.95,
        ),
        row("resident memory then", &format!("{resident:.1} MiB"), "", true),
    ];
    !kept.contains(&false)
}

/// Sends requests at this rate on one connection, and reads every answer whole.
fn scrape(port: u16, stop: &AtomicBool, scrapes: &AtomicU64) {
    let mut stream = BufReader::new(connect(port));
    let pause = Duration::from_secs_f64(SCRAPERS as f64 / SCRAPES as f64);
    let mut due = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        stream
            .get_mut()
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: application/openmetrics-text\r\n\r\n")
            .unwrap();
        let (mut length, mut line) = (0, String::new());
        while line != "\r\n" {
            line.clear();
            assert!(stream.read_line(&mut line).unwrap() > 0, "the server has closed");
            if let Some(said) = line.strip_prefix("content-length: ") {
                length = said.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).unwrap();
        assert!(body.ends_with(b"# EOF\n"));
        scrapes.fetch_add(1, Ordering::Relaxed);
        due += pause;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}

/// The server's memory for a thousand containers: without it, with it and the beginning of an hour, and while it is
/// scraped.
fn memory() -> bool {
    let Some(first) = Group::container("bench-0") else {
        println!("SKIPPED: no cgroups can be made here");
        return true;
    };
    let groups: Vec<Group> = std::iter::once(first)
        .chain((1..CONTAINERS).filter_map(|number| Group::container(&format!("bench-{number}"))))
        .collect();
    let _processes: Vec<Child> = groups.iter().map(Group::occupy).collect();
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let (agent, port) = start(&["--scope", "host", "--pin", "off", "--ebpf", "off"]);
    let told = || get(port, "/api/v1/agent").json()["containers"].as_u64().filter(|told| *told >= groups.len() as u64);
    eventually(Duration::from_secs(60), told).expect("not all containers are found");
    std::thread::sleep(Duration::from_secs(30));
    let before = mib(agent.resident());
    let began = Instant::now();
    let text = get(port, "/metrics");
    let took = began.elapsed();
    for _ in 0..5 {
        std::thread::sleep(Duration::from_secs(1));
        get(port, "/metrics");
        get(port, "/api/v1/containers");
    }
    let after = mib(agent.resident());
    row(
        &format!(
            "`/metrics` of {} containers: {} series, {:.1} MiB, put together and read",
            groups.len(),
            text.text().lines().filter(|line| !line.starts_with('#')).count(),
            mib(text.body.len() as u64)
        ),
        &format!("{} ms", took.as_millis()),
        "",
        true,
    );
    row(
        &format!("resident memory with {} containers, the server on", groups.len()),
        &format!("{before:.1} MiB"),
        "",
        true,
    );
    row(
        "growth while `/metrics` and the reports are asked for each second",
        &format!("{:.1} MiB", after - before),
        "16 MiB",
        after - before < 16.0,
    )
}
