//! Carries out the schedule, and records what was done and when.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use tests::agent::{self, Agent};
use tests::cgroup::Group;
use tests::docker::{BUSYBOX, Docker};
use tests::valkey::Valkey;
use tests::watched::Load;
use tests::{eventually, free_port};

use crate::plan::{Counts, Fault, Step};

pub(crate) const INTERVAL: &str = "1s";
/// Expiry of log entries under keys: they are gone before the remaining keys are checked.
const LOG_TTL: &str = "60s";
pub(crate) const TIMEOUT: Duration = Duration::from_secs(120);

/// A container and its work.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) name: String,
    /// Its cgroup; `None` of Docker's.
    pub(crate) id: Option<u64>,
    pub(crate) made: SystemTime,
    /// The times before and after its exit.
    pub(crate) ended: (SystemTime, SystemTime),
    /// The work done in it; `None` if others worked in it as well.
    pub(crate) counts: Option<Counts>,
}

/// A time without an agent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gap {
    pub(crate) signal: i32,
    pub(crate) from: SystemTime,
    pub(crate) to: SystemTime,
}

/// Waits until it is time.
pub(crate) fn wait(began: Instant, at: Duration) {
    std::thread::sleep(at.saturating_sub(began.elapsed()));
}

/// Unmounts the file system of the pins.
pub(crate) fn unmount(pins: &Path) {
    let point = CString::new(pins.parent().unwrap().to_str().unwrap()).unwrap();
    // SAFETY: the text ends with a zero.
    unsafe { libc::umount2(point.as_ptr(), libc::MNT_DETACH) };
}

/// A server that keeps acknowledged writes, on a port that no connection gets automatically.
pub(crate) fn valkey() -> Option<Valkey> {
    let mut valkey = Valkey::prepare(&["--appendonly", "yes", "--appendfsync", "always"])?;
    let ephemeral = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
    let lowest: u16 = ephemeral.split_whitespace().next().unwrap().parse().unwrap();
    valkey.port = 10_000 + free_port() % (lowest.max(12_000) - 11_000);
    valkey.restart();
    Some(valkey)
}

/// An agent of the machine, which leaves out the containers of others.
pub(crate) fn machine(port: u16, run: &str, pins: &Path, buffer: &Path) -> Agent {
    let port = port.to_string();
    let arguments = ["--scope", "host", "--buffer-dir", buffer.to_str().unwrap(), "--log-ttl", LOG_TTL];
    let environment =
        [("VALKEY_HOST", "127.0.0.1"), ("VALKEY_PORT", port.as_str()), ("MONITOR_PIN", pins.to_str().unwrap())];
    let mut command = agent::command(&arguments, &environment);
    command.args(["--interval", INTERVAL, "--history", "4h", "--containers", &format!("{run},{run}-*")]);
    Agent::spawn(command)
}

/// An agent that is never ended, in a group of its own.
pub(crate) fn witness(port: u16, group: &Group, name: &str) -> Agent {
    let port = port.to_string();
    let environment = [("VALKEY_HOST", "127.0.0.1"), ("VALKEY_PORT", port.as_str()), ("CONTAINER_NAME", name)];
    let mut command = agent::command(&["--scope", "self", "--interval", INTERVAL, "--history", "4h"], &environment);
    group.enter(&mut command);
    Agent::spawn(command)
}

struct Living {
    group: Group,
    loads: Vec<Load>,
    life: Life,
}

/// Makes and removes containers.
pub(crate) fn churn(around: &Group, run: &str, steps: Vec<(Duration, Step)>, began: Instant) -> Vec<Life> {
    let mut living: BTreeMap<usize, Living> = BTreeMap::new();
    let mut lives = Vec::new();
    for (at, step) in steps {
        wait(began, at);
        match step {
            Step::Make(number) => {
                let group = around.numbered_container(number as u64);
                let now = SystemTime::now();
                let life = Life {
                    name: format!("{run}-{number}"),
                    id: Some(group.own().id.0),
                    made: now,
                    ended: (now, now),
                    counts: Some(Counts::default()),
                };
                living.insert(number, Living { group, loads: Vec::new(), life });
            }
            Step::Work(number, work) => {
                let Some(container) = living.get_mut(&number) else { continue };
                let words: Vec<&str> = work.arguments.iter().map(String::as_str).collect();
                container.loads.push(Load::start_as(&container.group, &words, &container.life.name));
                *container.life.counts.get_or_insert_default() += work.counts;
            }
            Step::End(number) => lives.extend(living.remove(&number).map(end)),
        }
    }
    lives
}

fn end(container: Living) -> Life {
    let Living { group, mut loads, mut life } = container;
    loads.iter_mut().for_each(|load| _ = load.done());
    life.ended.0 = SystemTime::now();
    loads.into_iter().for_each(Load::end);
    drop(group);
    life.ended.1 = SystemTime::now();
    life
}

/// Runs containers of Docker's, one after the other.
pub(crate) fn dockers(docker: &Docker, run: &str, plan: Vec<(Duration, Duration)>, began: Instant) -> Vec<Life> {
    let mut lives = Vec::new();
    for (number, (at, lasts)) in plan.into_iter().enumerate() {
        wait(began, at);
        let name = format!("{run}-docker-{number}");
        let container = docker.run(&["--env", &format!("CONTAINER_NAME={name}")], BUSYBOX, &["sleep", "100000"]);
        let made = SystemTime::now();
        std::thread::sleep(lasts);
        let from = SystemTime::now();
        drop(container);
        lives.push(Life { name, id: None, made, ended: (from, SystemTime::now()), counts: None });
    }
    lives
}

/// Makes Valkey fail, in one way at a time. Returns the server, and the total time of the failures.
pub(crate) fn faults(mut valkey: Valkey, plan: Vec<(Duration, Fault, Duration)>, began: Instant) -> (Valkey, Duration) {
    let mut away = Duration::ZERO;
    for (at, fault, lasts) in plan {
        wait(began, at);
        let from = Instant::now();
        match fault {
            Fault::Killed => {
                valkey.kill();
                std::thread::sleep(lasts);
                valkey.restart();
                let loaded = || redis::cmd("DBSIZE").query::<u64>(&mut valkey.connection()).ok();
                eventually(TIMEOUT, loaded).expect("the server loads for ever");
            }
            Fault::Frozen => {
                valkey.signal(libc::SIGSTOP);
                std::thread::sleep(lasts);
                valkey.signal(libc::SIGCONT);
            }
            Fault::Full => {
                let _: () = valkey.query(&["CONFIG", "SET", "maxmemory", "1"]);
                std::thread::sleep(lasts);
                let _: () = valkey.query(&["CONFIG", "SET", "maxmemory", "0"]);
            }
            Fault::Disconnected => {
                let _: u64 = valkey.query(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
            }
        }
        away += from.elapsed();
    }
    (valkey, away)
}

/// Runs agents that follow each other. Returns the last one, and the times without an agent.
pub(crate) fn restarts(
    mut agent: Agent,
    start: impl Fn() -> Agent,
    plan: &[(Duration, i32, Duration)],
    began: Instant,
) -> (Agent, Vec<Gap>) {
    let mut gaps = Vec::new();
    for &(at, signal, lasts) in plan {
        wait(began, at);
        let from = SystemTime::now();
        let ended = agent.end(signal);
        assert!(signal == libc::SIGKILL || ended.status.success(), "{ended:?}");
        assert!(!ended.said.contains("panicked"), "{}", ended.said);
        std::thread::sleep(lasts);
        gaps.push(Gap { signal, from, to: SystemTime::now() });
        agent = start();
    }
    (agent, gaps)
}

/// Open descriptors of a process.
pub(crate) fn descriptors(agent: &Agent) -> usize {
    fs::read_dir(format!("/proc/{}/fd", agent.pid())).unwrap().count()
}
