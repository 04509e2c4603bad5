//! The machine's own report, against `/proc`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tests::agent::Agent;
use tests::docker;
use tests::oracle::{self, Judged};
use tests::valkey::Valkey;
use tests::{eventually, skip};

use crate::world::{TIMEOUT, fresh, report, wait_for_the_machine};

#[test]
fn the_machine_itself_has_a_report() {
    let (_docker, valkey, _agent) = world!();
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let machine = report(&valkey, name.trim(), |report| report.number("cpu_percent").is_some());
    let processes = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()))
        .count() as f64;
    let counted = machine.number("process_count").unwrap();
    assert!((counted - processes).abs() < processes / 3.0, "{counted} of {processes}");
    assert!(machine.number("memory_usage_bytes").unwrap() > 1e7);
}

/// Lets one test at a time compare the machine with what its agent says: each of them is a load for the others.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Values of `/proc` from before the reading of a report about the machine, and from after it.
struct Bracketed<T> {
    before: T,
    report: Judged,
    after: T,
}

fn bracketed<T>(valkey: &Valkey, machine: &str, read: impl Fn() -> T) -> Bracketed<T> {
    let before = read();
    let report = fresh(valkey, machine);
    Bracketed { before, report, after: read() }
}

fn proc_file(name: &str) -> String {
    fs::read_to_string(Path::new("/proc").join(name)).unwrap()
}

/// A line of `/proc/meminfo`, in bytes.
fn memory(name: &str) -> f64 {
    let text = proc_file("meminfo");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    line.split_whitespace().next().unwrap().parse::<f64>().unwrap() * 1024.0
}

#[test]
fn the_machines_kinds_of_memory_are_those_of_proc() {
    let _alone = alone();
    let Some(valkey) = Valkey::start(&[]) else { skip!("valkey-server is not installed") };
    let agent = Agent::start(valkey.port, &["--scope", "host", "--interval", "300ms", "--disk-interval", "0s"], &[]);
    let machine = proc_file("sys/kernel/hostname").trim().to_owned();
    assert!(valkey.report(&machine, TIMEOUT).is_some(), "{}", agent.said());
    let event = |name: &str| {
        let text = proc_file("vmstat");
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse::<f64>().ok());
        value.unwrap()
    };
    let both = |kind: &str| event(&format!("{kind}_anon")) + event(&format!("{kind}_file"));
    let numbers: [(&str, &dyn Fn() -> f64, f64); 8] = [
        ("active_file_bytes", &|| memory("Active(file)"), 4e6),
        ("slab_reclaimable_bytes", &|| memory("SReclaimable"), 1e6),
        ("slab_unreclaimable_bytes", &|| memory("SUnreclaim"), 1e6),
        ("shmem_bytes", &|| memory("Shmem"), 1e6),
        ("dirty_bytes", &|| memory("Dirty"), 4e6),
        ("writeback_bytes", &|| memory("Writeback"), 4e6),
        ("refaults", &|| both("workingset_refault"), 0.0),
        ("reclaim_scanned_pages", &|| both("pgscan"), 0.0),
    ];
    for (field, proc, slack) in numbers {
        let within = || {
            let seen = bracketed(&valkey, &machine, proc);
            let told = seen.report.json["memory"][field].as_f64().unwrap();
            let range = seen.before.min(seen.after) - slack..=seen.before.max(seen.after) + slack;
            range.contains(&told).then_some(())
        };
        eventually(TIMEOUT, within).unwrap_or_else(|| panic!("{field} is another"));
    }
    let report = fresh(&valkey, &machine);
    for (field, words) in [("memory.sock_bytes", "sockets"), ("memory.high_hits", "memory.high")] {
        assert!(report.absent[field].contains(words), "{:?}", report.absent);
    }
}

#[test]
fn the_machines_filesystem_is_as_full_as_df_says() {
    let _alone = alone();
    let Some(valkey) = Valkey::start(&[]) else { skip!("valkey-server is not installed") };
    // Available bytes, and percent in use.
    let df = || {
        let output = Command::new("df").args(["-P", "-B1", "/"]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let words: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
        [words[3], words[4].trim_end_matches('%')].map(|word| word.parse::<f64>().unwrap())
    };
    let first = df();
    let agent = Agent::start(valkey.port, &["--scope", "host", "--interval", "300ms", "--disk-interval", "0s"], &[]);
    let machine = proc_file("sys/kernel/hostname").trim().to_owned();
    assert!(valkey.report(&machine, TIMEOUT).is_some(), "{}", agent.said());
    // The agent looks every ten seconds.
    let slack = f64::from(64 << 20);
    let mut all = vec![first];
    let within = || {
        let disk = fresh(&valkey, &machine).json["disk"].clone();
        all.push(df());
        let [available, percent] =
            ["available_bytes", "filesystem_used_percent"].map(|field| disk[field].as_f64().unwrap());
        let is_near = |known: &&[f64; 2]| (known[0] - available).abs() < slack;
        let near = all.iter().find(is_near)?;
        // It rounds up to whole percents.
        (near[1] - 1.1..=near[1] + 0.1).contains(&percent).then_some(())
    };
    eventually(TIMEOUT, within).expect("it is another");
}

/// CPU time that the machine has used, in seconds: without idle time, I/O wait and steal time.
fn used() -> f64 {
    let text = proc_file("stat");
    let ticks: Vec<f64> =
        text.lines().next().unwrap().split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [user, nice, system, _idle, _waiting, hard, soft, ..] = ticks[..] else { panic!("{ticks:?}") };
    // The unit of this file on every architecture (`proc(5)`: `USER_HZ`).
    (user + nice + system + hard + soft) / 100.0
}

/// The living processes, and the number of tasks that were ever created.
fn processes() -> (BTreeSet<u32>, f64) {
    let lives = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, fields)| !fields.starts_with(['Z', 'X']))
    };
    let names = fs::read_dir("/proc").unwrap().flatten();
    let pids = names.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(lives).collect();
    let made = proc_file("stat").lines().find_map(|line| line.strip_prefix("processes ")?.parse().ok()).unwrap();
    (pids, made)
}

#[test]
fn the_machines_cpu_memory_load_and_processes_are_those_of_proc() {
    let _alone = alone();
    if !tests::is_root() {
        skip!("the processes of others take root");
    }
    let Some(valkey) = Valkey::start(&[]) else { skip!("valkey-server is not installed") };
    let agent = Agent::start(valkey.port, &["--scope", "host", "--interval", "300ms", "--disk-interval", "0s"], &[]);
    let machine = proc_file("sys/kernel/hostname").trim().to_owned();
    assert!(valkey.report(&machine, TIMEOUT).is_some(), "{}", agent.said());

    // Load averages change every five seconds.
    let averages = || proc_file("loadavg").split(' ').take(3).map(|word| word.parse().unwrap()).collect::<Vec<f64>>();
    let same = || Some(bracketed(&valkey, &machine, averages)).filter(|it| it.before == it.after);
    let Bracketed { before, report: loaded, .. } = eventually(TIMEOUT, same).expect("the load never stays");
    let reported =
        ["load_average_1m", "load_average_5m", "load_average_15m"].map(|field| loaded.number(field).unwrap());
    assert_eq!(reported, before[..]);

    // A process that lives all the time is counted; one that has not been created by then is not. A hardened kernel may
    // hide a process from root, and from the programs that root loads.
    let is_kept = |pid: &&u32| fs::read_link(format!("/proc/{pid}/ns/pid")).is_err();
    let within = || {
        let Bracketed { before, report, after } = bracketed(&valkey, &machine, processes);
        let stayed: Vec<&u32> = before.0.intersection(&after.0).collect();
        let (kept, most) =
            (stayed.iter().filter(|pid| is_kept(pid)).count(), before.0.len() as f64 + after.1 - before.1);
        ((stayed.len() - kept) as f64..=most).contains(&report.number("process_count").unwrap()).then_some(report)
    };
    let counted = eventually(TIMEOUT, within).expect("the processes are others");

    // The root of a v1 tree is charged with the mapped and cached pages of the whole machine. If the root is charged
    // with nothing, memory that is not available counts as used.
    let is_charged = counted.json["sources"]["memory"] == "cgroup1";
    let charged = || match is_charged {
        true => ["AnonPages", "Buffers", "Cached", "SwapCached"].map(memory).iter().sum(),
        false => memory("MemTotal") - memory("MemAvailable"),
    };
    let quiet = || {
        let seen = bracketed(&valkey, &machine, charged);
        let usage = seen.report.number("memory_usage_bytes").unwrap();
        let slack = f64::from(8 << 20);
        let range = seen.before.min(seen.after) - slack..=seen.before.max(seen.after) + slack;
        range.contains(&usage).then_some(seen.report)
    };
    let remembered = eventually(TIMEOUT, quiet).expect("the memory is another");
    let percent = remembered.number("memory_usage_bytes").unwrap() / memory("MemTotal") * 100.0;
    assert!((remembered.number("memory_percent").unwrap() - percent).abs() < 0.01, "{percent}");

    // The CPU time used between two readings is at most that from before the first one to after the second one, and at
    // least that from after the first one to before the second one.
    let first = bracketed(&valkey, &machine, used);
    (0..5).for_each(|_| drop(fresh(&valkey, &machine)));
    let second = bracketed(&valkey, &machine, used);
    let (least, most) = (second.before - first.after, second.after - first.before);
    let history = valkey.history(&machine);
    let reports = history.iter().map(|(_, report)| oracle::report(&machine, report.as_bytes()).unwrap());
    let reports: Vec<Judged> =
        reports.filter(|it| it.timestamp > first.report.timestamp && it.timestamp <= second.report.timestamp).collect();
    assert!(reports.len() > 5, "{} reports", reports.len());
    let real = |value: &serde_json::Value| value.as_f64().unwrap();
    let used = |it: &Judged| real(&it.json["cpu"]["usage_cores"]) * real(&it.json["interval_seconds"]);
    let sum: f64 = reports.iter().map(used).sum();
    // Each of the file's five numbers is truncated to a hundredth of a second, each interval of a report to a
    // thousandth.
    let slack = 0.05 + 0.002 * reports.len() as f64;
    if second.report.json["sources"]["cpu"] == "cgroup1" {
        skip!("the tree of version 1 measures the time that the file estimates");
    }
    assert!((least - slack..=most + slack).contains(&sum), "{least} to {most}, not {sum}");
}
