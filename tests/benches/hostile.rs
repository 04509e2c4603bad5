//! A container that attacks its observer: the cost of a reading meanwhile.
//!
//! `cargo xtask bench hostile [MOST]`: at most MOST of each resource (100,000).
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods, reason = "a benchmark")]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tests::agent::{self, Agent};
use tests::cgroup::Group;
use tests::valkey::Valkey;
use tests::watched::Load;
use tests::{eventually, is_root, oracle};

const TIMEOUT: Duration = Duration::from_secs(120);
const INTERVAL: &str = "1s";
/// Reports that are measured under each attack.
const REPORTS: u32 = 8;
/// The most CPU time of a report: a tenth of a core at the default interval.
const BOUND: Duration = Duration::from_millis(500);
/// Time for which groups are made, however many.
const MAKING: Duration = Duration::from_secs(20);

/// The agent of one container, or of the machine, and its reports.
struct Observer {
    name: String,
    agent: Agent,
    valkey: Valkey,
}

impl Observer {
    fn start(group: Option<&Group>, name: &str) -> Self {
        let valkey = Valkey::start(&[]).expect("valkey-server is not installed");
        let scope = if group.is_some() { "self" } else { "host" };
        let arguments =
            ["--interval", INTERVAL, "--scope", scope, "--disk-interval", "0s", "--pin", "off", "--history", "off"];
        let mut command = agent::command(&arguments, &[("CONTAINER_NAME", name)]);
        command.env("VALKEY_HOST", "127.0.0.1").env("VALKEY_PORT", valkey.port.to_string());
        if let Some(group) = group {
            group.enter(&mut command);
        }
        let agent = Agent::spawn(command);
        let name = if group.is_some() { name.to_owned() } else { hostname() };
        let observer = Self { name, agent, valkey };
        observer.valkey.report(&observer.name, TIMEOUT).expect("no report");
        observer
    }

    /// The costs of the next reports: CPU time, which does not depend on other load, the longest reading, and memory.
    fn look(&self) -> Cost {
        let read = || oracle::report(&self.name, &self.valkey.report(&self.name, TIMEOUT).unwrap()).unwrap();
        let (mut last, mut cost) = (read().timestamp, Cost::default());
        let before = self.cpu();
        for _ in 0..REPORTS {
            let next =
                eventually(TIMEOUT, || Some(read()).filter(|report| report.timestamp > last)).expect("no new report");
            let micros = next.json["collect_micros"].as_u64().unwrap();
            cost.reading = cost.reading.max(Duration::from_micros(micros));
            last = next.timestamp;
        }
        cost.cpu = (self.cpu() - before) / REPORTS;
        cost.resident = self.agent.resident();
        cost
    }

    /// The CPU time of all its threads, from `/proc/PID/task/TID/schedstat`.
    fn cpu(&self) -> Duration {
        let threads = fs::read_dir(format!("/proc/{}/task", self.agent.pid())).unwrap().flatten();
        let texts = threads.filter_map(|thread| fs::read_to_string(thread.path().join("schedstat")).ok());
        texts.map(|text| Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())).sum()
    }
}

#[derive(Default)]
struct Cost {
    cpu: Duration,
    reading: Duration,
    resident: u64,
}

fn hostname() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim().to_owned()
}

fn main() {
    let most: u64 = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(100_000);
    if !is_root() {
        println!("SKIPPED: control groups take root");
        return;
    }
    let mut kept = true;
    println!(
        "| Attack | Own observer: CPU per report | longest reading | resident | The machine's: CPU | reading | resident |"
    );
    println!("|---|---|---|---|---|---|---|");
    for attack in ATTACKS {
        let group = Group::new(&format!("hostile-{}", attack.word)).expect("no control group can be made here");
        let (own, machine) = (Observer::start(Some(&group), attack.word), Observer::start(None, attack.word));
        let (what, held) = (attack.begin)(&group, most);
        let costs = [own.look(), machine.look()];
        let shown: Vec<String> = costs
            .iter()
            .map(|cost| {
                let millis = |time: Duration| time.as_secs_f64() * 1e3;
                let (cpu, reading) = (millis(cost.cpu), millis(cost.reading));
                format!("{cpu:.1} ms | {reading:.1} ms | {:.1} MiB", cost.resident as f64 / 1048576.0)
            })
            .collect();
        println!("| {what} | {} |", shown.join(" | "));
        kept &= costs.iter().all(|cost| cost.cpu < BOUND);
        drop(held);
    }
    println!("\ncargo xtask bench hostile {most}");
    if !kept {
        println!("BROKEN: a report took more than {BOUND:?} of CPU");
        std::process::exit(1);
    }
}

/// The resources that an attack holds until it is over.
enum Held {
    Loads(#[expect(dead_code, reason = "held")] Vec<Load>),
    Bomb(Child),
    Tree(PathBuf),
    Nothing,
}

impl Drop for Held {
    fn drop(&mut self) {
        match self {
            // Its children are killed with their group.
            Self::Bomb(child) => _ = child.kill().and_then(|()| child.wait()),
            Self::Tree(root) => remove(root),
            Self::Loads(_) | Self::Nothing => {}
        }
    }
}

struct Attack {
    word: &'static str,
    /// Begins the attack, and returns its size.
    begin: fn(&Group, u64) -> (String, Held),
}

const ATTACKS: &[Attack] = &[
    Attack { word: "nothing", begin: |_, _| ("nothing".to_owned(), Held::Nothing) },
    Attack { word: "processes", begin: processes },
    Attack { word: "descriptors", begin: descriptors },
    Attack { word: "bomb", begin: bomb },
    Attack { word: "names", begin: names },
    Attack { word: "groups", begin: groups },
    Attack { word: "memory", begin: memory },
];

fn processes(group: &Group, most: u64) -> (String, Held) {
    let count = most.min(10_000);
    let mut load = Load::start(group, &["fork-and-stay", &count.to_string()]);
    load.done();
    (format!("{count} processes"), Held::Loads(vec![load]))
}

fn descriptors(group: &Group, most: u64) -> (String, Held) {
    const EACH: u64 = 1000;
    let loads: Vec<Load> = (0..most.min(100_000) / EACH)
        .map(|_| {
            let mut load = Load::start(group, &["open", &EACH.to_string(), "0"]);
            load.done();
            load
        })
        .collect();
    (format!("{} descriptors in {} processes", loads.len() as u64 * EACH, loads.len()), Held::Loads(loads))
}

fn bomb(group: &Group, _: u64) -> (String, Held) {
    group.limit_tasks(500);
    let mut command = Command::new("sh");
    command.args(["-c", "f() { f & f & wait; }; while :; do f; done"]).stdout(Stdio::null()).stderr(Stdio::null());
    group.enter(&mut command);
    ("a fork bomb below a limit of 500 tasks".to_owned(), Held::Bomb(command.spawn().unwrap()))
}

fn names(group: &Group, _: u64) -> (String, Held) {
    let root = own_tree(group);
    let name = |number: u32| [b"\x1b[31m\"<script>\xff\xfe".as_slice(), number.to_string().as_bytes()].concat();
    for number in 0..1000 {
        fs::create_dir(root.join(OsStr::from_bytes(&name(number)))).unwrap();
    }
    ("1000 groups with escapes, markup and bytes that are no text for names".to_owned(), Held::Tree(root))
}

fn groups(group: &Group, most: u64) -> (String, Held) {
    let root = own_tree(group);
    let (began, mut made) = (Instant::now(), 0);
    while made < most && began.elapsed() < MAKING && fs::create_dir(root.join(made.to_string())).is_ok() {
        made += 1;
    }
    (
        format!("{made} groups below its own, as many as {:.0} s give", began.elapsed().as_secs_f64().ceil()),
        Held::Tree(root),
    )
}

/// Groups with memory of their own below the container's: the kernel sums all of them for each read of its
/// `memory.stat`.
fn memory(group: &Group, most: u64) -> (String, Held) {
    let root = group.dir("memory").unwrap().join("tree");
    fs::create_dir(&root).unwrap();
    let count = most.min(2000);
    for number in 0..count {
        let dir = root.join(number.to_string());
        fs::create_dir(&dir).unwrap();
        // The pages of a process stay charged to the group after it has ended.
        let words = format!("echo $$ > {}/cgroup.procs; exec true", dir.display());
        assert!(Command::new("sh").args(["-c", &words]).status().unwrap().success());
    }
    (format!("{count} groups with memory of their own behind its `memory.stat`"), Held::Tree(root))
}

/// A group below the container's, as a runtime delegates it: in the v2 tree, which eBPF and the walk read.
fn own_tree(group: &Group) -> PathBuf {
    let root = group.v2().or_else(|| group.dir("memory")).unwrap().join("tree");
    fs::create_dir(&root).unwrap();
    root
}

fn remove(root: &Path) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir()) {
        _ = fs::remove_dir(entry.path());
    }
    _ = fs::remove_dir(root);
}
