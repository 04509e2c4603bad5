//! The agent as a process.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use tests::cgroup::Group;
use tests::valkey::Valkey;
use tests::watched::Load;

use crate::against::{self, Measured};
use crate::cpu::{cpu, mib};
use crate::table::Row;

/// The time for which the agent is watched.
const LONG: Duration = Duration::from_secs(30);
/// The number of containers that end.
const ENDS: usize = 50;
/// The same number in one of the turns of two binaries.
const ENDS_IN_A_TURN: usize = 10;

/// Arguments of an agent that samples once a second; the length of history follows them.
const EACH_SECOND: [&str; 9] =
    ["--scope", "host", "--interval", "1s", "--disk-interval", "0s", "--pin", "off", "--history"];
/// Arguments of an agent that reports exits: no tick comes in between.
const ON_ENDS: [&str; 8] = ["--scope", "host", "--interval", "60s", "--disk-interval", "0s", "--pin", "off"];

/// Measures the agent with a real server, with history and without.
pub fn whole_agent(number: usize) -> Vec<Row> {
    let Some(valkey) = Valkey::start(&[]) else {
        println!("SKIPPED: valkey-server is not installed");
        return Vec::new();
    };
    let mut rows = Vec::new();
    for history in ["off", "24h"] {
        let (share, resident) = watch(&tests::binary(), &valkey, history);
        let what = format!("{number} containers at 1 s, `--history {history}`, {} s", LONG.as_secs());
        rows.push(Row::new(format!("{what}: CPU of one core"), format!("{share:.2} %"), Some(("1 %", share < 1.0))));
        rows.push(Row::new(
            format!("{what}: resident memory"),
            format!("{resident:.1} MiB"),
            Some(("24 MiB", resident < 24.0)),
        ));
    }
    rows
}

/// Starts an agent and measures it: percent of a core, and MiB.
fn watch(binary: &Path, valkey: &Valkey, history: &str) -> (f64, f64) {
    let agent = against::start(binary, valkey.port, &[&EACH_SECOND[..], &[history]].concat(), &[]);
    first_report(valkey);
    std::thread::sleep(Duration::from_secs(8));
    let before = cpu(&agent);
    std::thread::sleep(LONG);
    ((cpu(&agent) - before).as_secs_f64() / LONG.as_secs_f64() * 100.0, mib(agent.resident()))
}

/// Waits for a report of the machine, newer than this call.
fn first_report(valkey: &Valkey) {
    let machine = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    redis::cmd("DEL").arg(format!("system:metrics:{}", machine.trim())).exec(&mut valkey.connection()).unwrap();
    valkey.report(machine.trim(), Duration::from_secs(60)).expect("no report");
}

/// Measures the time from the exit of a container until its last report is in Valkey.
pub fn ends() -> Vec<Row> {
    let Some(valkey) = Valkey::start(&[]) else { return Vec::new() };
    let mut rows = Vec::new();
    for ebpf in ["auto", "off"] {
        let took = ends_of(&tests::binary(), &valkey, ebpf, ENDS);
        let (median, most) = (took[took.len() / 2], took[took.len() - 1]);
        rows.push(Row::new(
            format!("the last report of a container that is gone (--ebpf {ebpf}): median, most of {}", took.len()),
            format!("{:.0} ms, {:.0} ms", median.as_secs_f64() * 1e3, most.as_secs_f64() * 1e3),
            Some(("100 ms", most < Duration::from_millis(100))),
        ));
    }
    rows
}

/// The sorted times of `number` exits.
fn ends_of(binary: &Path, valkey: &Valkey, ebpf: &str, number: usize) -> Vec<Duration> {
    let _agent = against::start(binary, valkey.port, &[&ON_ENDS[..], &["--ebpf", ebpf]].concat(), &[]);
    first_report(valkey);
    let mut connection = valkey.connection();
    let mut end = || {
        let (group, id) = Group::docker().unwrap();
        let mut load = Load::start_as(&group, &["idle"], &id);
        load.done();
        // By then its name is known.
        std::thread::sleep(Duration::from_millis(300));
        load.end();
        let began = Instant::now();
        drop(group);
        let key = format!("system:metrics:{id}");
        while redis::cmd("EXISTS").arg(&key).query::<u32>(&mut connection).unwrap() == 0 {
            assert!(began.elapsed() < Duration::from_secs(30), "no last report of {id}");
        }
        began.elapsed()
    };
    let mut took: Vec<Duration> = (0..number).map(|_| end()).collect();
    took.sort();
    took
}

/// One turn of two binaries: everything above that needs only the agent.
pub fn turn(binary: &Path) -> Measured {
    let valkey = Valkey::start(&[]).expect("valkey-server is not installed");
    let (share, resident) = watch(binary, &valkey, "24h");
    let ends = ends_of(binary, &valkey, "auto", ENDS_IN_A_TURN);
    vec![
        ("CPU of one core at 1 s", share, "%"),
        ("resident memory", resident, "MiB"),
        ("last report of a container that is gone", ends[ends.len() / 2].as_secs_f64() * 1e3, "ms"),
    ]
}
