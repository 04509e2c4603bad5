//! The agent as a process.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use tests::agent::Agent;
use tests::valkey::Valkey;
use tests::{binary, eventually, oracle};

use crate::against::{self, Measured};
use crate::cpu::{cpu, mib};
use crate::table::Row;

/// Starts of an agent for the time of a start.
const STARTS: usize = 5;

/// The size of the binary.
pub fn size() -> Row {
    let size = mib(fs::metadata(binary()).unwrap().len());
    Row::new("release binary, eBPF objects inside", format!("{size:.1} MiB"), Some(("10 MiB", size < 10.0)))
}

/// The time from the start of the process to the first report in Valkey.
pub fn start(valkey: &Valkey) -> Row {
    let median = start_of(&binary(), valkey);
    let is_kept = median < Duration::from_millis(300);
    let what = "start to first written report, `--interval 100ms`";
    Row::new(what, format!("{} ms", median.as_millis()), Some(("300 ms", is_kept)))
}

fn start_of(binary: &Path, valkey: &Valkey) -> Duration {
    let start = |round: usize| {
        let name = format!("start-{round}");
        let began = Instant::now();
        let agent = against::start(binary, valkey.port, &["--interval", "100ms"], &[("CONTAINER_NAME", &name)]);
        let report = valkey.report(&name, Duration::from_secs(10)).expect("no report");
        let took = began.elapsed();
        oracle::report(&name, &report).unwrap();
        drop(agent);
        took
    };
    let mut times: Vec<Duration> = (0..STARTS).map(start).collect();
    times.sort();
    times[times.len() / 2]
}

/// Measures the whole agent at its default interval, after the first walk of the root filesystem: CPU time, memory at
/// the end, and growth.
pub fn long_run(valkey: &Valkey, ebpf: &str, long: Duration) -> [Row; 3] {
    let name = format!("long-{ebpf}");
    let agent = against::start(&binary(), valkey.port, &["--ebpf", ebpf], &[("CONTAINER_NAME", &name)]);
    wait_for_walk(valkey, &name, &agent);
    let (share, end, grown) = watch(&agent, long);
    let (most, promised) = if ebpf == "off" { (8.0, "8 MiB") } else { (10.0, "10 MiB") };
    let row = |what: &str, measured: String, promised: &str, is_kept| {
        Row::new(format!("{what}, `--ebpf {ebpf}`, {} s", long.as_secs()), measured, Some((promised, is_kept)))
    };
    [
        row("CPU of one core at 5 s", format!("{share:.3} %"), "0.050 %", share < 0.05),
        row("resident memory", format!("{end:.1} MiB"), promised, end < most),
        row("growth of it in that time", format!("{} KiB", grown / 1024), "128 KiB", grown <= 128 * 1024),
    ]
}

/// Percent of a core, MiB at the end, and bytes of growth in that time.
fn watch(agent: &Agent, long: Duration) -> (f64, f64, u64) {
    let (before, resident) = (cpu(agent), agent.resident());
    std::thread::sleep(long);
    let share = (cpu(agent) - before).as_secs_f64() / long.as_secs_f64() * 100.0;
    let end = agent.resident();
    (share, mib(end), end.saturating_sub(resident))
}

fn wait_for_walk(valkey: &Valkey, name: &str, agent: &Agent) {
    let began = Instant::now();
    let walked = eventually(Duration::from_secs(900), || {
        let report = oracle::report(name, &valkey.report(name, Duration::from_secs(10))?).unwrap();
        std::thread::sleep(Duration::from_secs(1));
        report.number("disk_usage_bytes").map(drop)
    });
    walked.expect("the first walk of the root filesystem does not end");
    let spent = cpu(agent).as_secs_f64();
    println!(
        "the first walk of the root filesystem: {spent:.1} s of CPU within {:.0} s",
        began.elapsed().as_secs_f64()
    );
}

/// One turn of two binaries: everything above except the walk of the root filesystem, which would take most of the
/// time.
pub fn turn(binary: &Path, long: Duration) -> Measured {
    let valkey = Valkey::start(&[]).expect("valkey-server is not installed");
    let start = start_of(binary, &valkey);
    let agent = against::start(binary, valkey.port, &["--disk-interval", "0s"], &[("CONTAINER_NAME", "turn")]);
    valkey.report("turn", Duration::from_secs(30)).expect("no report");
    let (share, resident, _) = watch(&agent, long);
    vec![
        ("binary", mib(fs::metadata(binary).unwrap().len()), "MiB"),
        ("start to first written report", start.as_secs_f64() * 1e3, "ms"),
        ("CPU of one core at 5 s", share, "%"),
        ("resident memory", resident, "MiB"),
    ]
}
