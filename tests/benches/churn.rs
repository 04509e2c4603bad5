//! Checks that removed containers leave nothing behind.
//!
//! `cargo xtask bench churn [N]`: N containers (100000), each with a process, made and removed while an agent of the
//! machine samples once a second.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods, reason = "a benchmark")]

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tests::agent::Agent;
use tests::cgroup::Group;
use tests::leftovers::Held;
use tests::valkey::Valkey;

/// The number of containers after which resources are first read: by then the allocator has grown.
const FIRST: usize = 1000;
/// Time after which nothing is left of removed containers.
const SETTLED: Duration = Duration::from_secs(8);
/// Tolerance for other cgroups that come and go on this machine.
const OTHERS: usize = 50;

fn main() {
    let number = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(100_000);
    if !tests::is_root() {
        println!("SKIPPED: control groups take root");
        return;
    }
    let Some(valkey) = Valkey::start(&[]) else {
        println!("SKIPPED: valkey-server is not installed");
        return;
    };
    let arguments = ["--scope", "host", "--interval", "1s", "--disk-interval", "0s", "--history", "off"];
    let agent = Agent::start(valkey.port, &arguments, &[]);
    let machine = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    valkey.report(machine.trim(), Duration::from_secs(30)).expect("no report");
    come_and_go(FIRST);
    std::thread::sleep(SETTLED);
    let before = Held::by(&agent);
    let began = Instant::now();
    come_and_go(number);
    let took = began.elapsed();
    std::thread::sleep(SETTLED);
    let after = Held::by(&agent);
    println!("{number} containers in {:.0} s, {:.0} a second", took.as_secs_f64(), number as f64 / took.as_secs_f64());
    let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
    let verdict = |is_kept: bool| if is_kept { "kept" } else { "BROKEN" };
    println!("| What the agent holds | Before | After | |\n|---|---|---|---|");
    let memory = after.resident < before.resident + (4 << 20);
    println!("| resident memory | {} | {} | {} |", mib(before.resident), mib(after.resident), verdict(memory));
    for (what, before, after) in
        [("descriptors", before.descriptors, after.descriptors), ("map entries", before.entries, after.entries)]
    {
        println!("| {what} | {before} | {after} | {} |", verdict(after <= before + OTHERS));
    }
}

/// Makes containers, each with a process that ends, and removes them.
fn come_and_go(number: usize) {
    for _ in 0..number {
        let (group, _) = Group::docker().unwrap();
        let mut command = Command::new("busybox");
        command.arg("true").stdin(Stdio::null());
        group.enter(&mut command);
        command.status().unwrap();
    }
}
