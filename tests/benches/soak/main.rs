//! Endurance: containers come and go, Valkey fails, agents end and are followed by others, another agent is attacked, all
//! at random; afterwards no resource has grown, no data are missing, and every count is that of the work done.
//!
//! `cargo xtask soak [SECONDS] [SEED]`
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods, reason = "a benchmark")]

mod hostile;
mod judge;
mod plan;
mod world;

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use tests::agent::{self, Agent};
use tests::cgroup::Group;
use tests::valkey::Valkey;
use tests::{docker, eventually, oracle};

use plan::{Counts, Plan, Step};
use world::TIMEOUT;

/// Time after which everything has expired: the reports of exited containers, and log entries.
const EXPIRED: Duration = Duration::from_secs(75);
/// The accepted difference of an agent's memory between two readings.
const GROWTH: u64 = 4 << 20;
/// The same for an agent under attack: answers that no client reads may take 16 MiB.
const GROWTH_ATTACKED: u64 = 20 << 20;
/// Tolerance for descriptors of the agent's current work.
const FEW: usize = 16;

/// The resources that an agent holds.
#[derive(Clone, Copy)]
struct Held {
    resident: u64,
    descriptors: usize,
}

impl Held {
    /// The median of some measurements.
    fn by(agent: &Agent) -> Self {
        let mut looks: Vec<(u64, usize)> = (0..15)
            .map(|_| {
                std::thread::sleep(Duration::from_secs(1));
                (agent.resident(), world::descriptors(agent))
            })
            .collect();
        looks.sort_unstable();
        let resident = looks[looks.len() / 2].0;
        looks.sort_unstable_by_key(|look| look.1);
        Self { resident, descriptors: looks[looks.len() / 2].1 }
    }
}

/// The results, as a table.
#[derive(Default)]
struct Verdict {
    failed: Vec<String>,
}

impl Verdict {
    fn row(&mut self, what: &str, found: &str, wrong: &[String]) {
        println!("| {what} | {found} | {} |", if wrong.is_empty() { "as promised" } else { "BROKEN" });
        self.failed.extend(wrong.iter().map(|why| format!("{what}: {why}")));
    }

    fn check(&mut self, what: &str, found: &str, kept: bool) {
        let wrong = (!kept).then(|| found.to_owned());
        self.row(what, found, wrong.as_slice());
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter_map(|argument| argument.parse().ok());
    let (seconds, seed) = (arguments.next().unwrap_or(3600), arguments.next().unwrap_or(1));
    let dir = tempfile::tempdir().unwrap();
    tests::mounts::own_mounts(dir.path()).expect("mounting takes root");
    let pins = dir.path().join("bpf/pins");
    let run = format!("soak-{}", std::process::id());
    let around = Group::container(&run).expect("no control group can be made here");
    let aside = Group::new(&format!("{run}-witness")).expect("no control group can be made here");
    let verdict = soak(seconds, seed, &run, &pins, dir.path(), (&around, &aside));
    println!("\ncargo xtask soak {seconds} {seed}");
    for why in &verdict.failed {
        println!("BROKEN {why}");
    }
    // By now all containers have been removed.
    drop((around, aside));
    world::unmount(&pins);
    drop(dir);
    std::process::exit(i32::from(!verdict.failed.is_empty()));
}

fn soak(seconds: u64, seed: u64, run: &str, pins: &Path, dir: &Path, (around, aside): (&Group, &Group)) -> Verdict {
    let plan = Plan::new(Duration::from_secs(seconds), seed);
    let valkey = world::valkey().expect("valkey-server is not installed");
    let port = valkey.port;
    let watcher = format!("{run}-witness");
    let witness = world::witness(port, aside, &watcher);
    let start = || world::machine(port, run, pins, &dir.join("buffer"));
    // An agent reports no container that has not had a process. It stays to the end, so that counters of ended cgroups
    // have an ancestor to be added to, and begins before the programs count.
    let mut keeper = around.occupy();
    let agent = start();
    valkey.report(run, TIMEOUT).unwrap_or_else(|| panic!("no report: {}", agent.said()));
    valkey.report(&watcher, TIMEOUT).unwrap_or_else(|| panic!("no report: {}", witness.said()));
    let mut done = Counts::default();
    let attacked = hostile::AttackedAgent::start(seed);
    let docker = docker::daemon();
    let pinned = judge::pinned(pins);
    let (before_attacks, early, began) = (Held::by(&attacked.agent), Held::by(&witness), Instant::now());

    let (works, faults, restarts) = (
        plan.containers.iter().filter(|step| matches!(step.1, Step::Work(..))).count(),
        plan.faults.len(),
        plan.restarts.len(),
    );
    let mut lives = Vec::new();
    let (mut away, mut gaps, mut server, mut last) = (Duration::ZERO, Vec::new(), None, None);
    let (mut middle, mut not_survived) = (early, Vec::new());
    std::thread::scope(|scope| {
        let churn = scope.spawn(|| world::churn(around, run, plan.containers, began));
        let faulty = scope.spawn(|| world::faults(valkey, plan.faults, began));
        let hostile = scope.spawn(|| hostile::attacks(&attacked, &plan.attacks, began));
        let dockers =
            docker.as_ref().ok().map(|docker| scope.spawn(|| world::dockers(docker, run, plan.dockers, began)));
        let (agent, without) = world::restarts(agent, start, &plan.restarts, began);
        // The agent is not restarted in the remaining half of the time.
        std::thread::sleep((Duration::from_secs(seconds) * 11 / 20).saturating_sub(began.elapsed()));
        middle = Held::by(&agent);
        not_survived = hostile.join().unwrap();
        lives.extend(churn.join().unwrap());
        lives.extend(dockers.into_iter().flat_map(|thread| thread.join().unwrap()));
        (gaps, last) = (without, Some(agent));
        let (valkey, unavailable) = faulty.join().unwrap();
        (server, away) = (Some(valkey), unavailable);
    });
    let (valkey, agent) = (server.unwrap(), last.unwrap());
    std::thread::sleep(EXPIRED);
    drained(&valkey, run, &agent);
    for life in &lives {
        done += life.counts.unwrap_or_default();
    }

    let mut verdict = Verdict::default();
    let work = format!(
        "{} containers, {} of them Docker's; {works} processes with known work",
        lives.len(),
        lives.iter().filter(|life| life.id.is_none()).count()
    );
    println!("| What | Found | |\n|---|---|---|");
    verdict.row("done", &work, &[]);
    if let Err(reason) = docker {
        verdict.row("Docker", &format!("not here: {reason}"), &[]);
    }
    let (killed, all) = (gaps.iter().filter(|gap| gap.signal == libc::SIGKILL).count(), gaps.len());
    assert_eq!(all, restarts);
    verdict.row("agents that ended", &format!("{all}, {killed} of them by SIGKILL"), &[]);
    verdict.row("outages of Valkey", &format!("{faults}, {:.0} s in all", away.as_secs_f64()), &[]);
    verdict.row("attacks on another agent", &plan.attacks.len().to_string(), &not_survived);
    histories(&mut verdict, &valkey, (run, &watcher), &lives, &gaps);
    counters(&mut verdict, &valkey, run, done);
    let left = judge::keys(&valkey, &format!("{run}-"), &lives);
    let left: Vec<String> = left.into_iter().filter(|key| !key.contains(&watcher)).collect();
    verdict.row("keys of what has ended that stay", &left.len().to_string(), &left);
    let counted = judge::counted(pins);
    let stuck: Vec<String> = lives
        .iter()
        .filter(|life| life.id.is_some_and(|id| counted.contains(&id)))
        .map(|life| life.name.clone())
        .collect();
    verdict.row("entries of what has ended in the kernel's maps", &stuck.len().to_string(), &stuck);
    let now = judge::pinned(pins);
    verdict.check("what is pinned, before and after", &format!("{}, {}", pinned.len(), now.len()), pinned == now);
    for (who, agent, before, since, growth) in [
        ("the machine's agent, since its last start", &agent, middle, "after half of the time", GROWTH),
        ("an agent that was never ended", &witness, early, "at first", GROWTH),
        ("an agent that was attacked", &attacked.agent, before_attacks, "at first", GROWTH_ATTACKED),
    ] {
        let now = Held::by(agent);
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let found = format!("{:.1} MiB {since}, {:.1} MiB in the end", mib(before.resident), mib(now.resident));
        verdict.check(&format!("resident memory of {who}"), &found, now.resident <= before.resident + growth);
        let found = format!("{} {since}, {} in the end", before.descriptors, now.descriptors);
        verdict.check(&format!("descriptors of {who}"), &found, now.descriptors <= before.descriptors + FEW);
    }
    keeper.kill().and_then(|()| keeper.wait()).unwrap();
    for agent in [agent, witness, attacked.agent] {
        let ended = agent.end(libc::SIGTERM);
        let kept = ended.status.success() && !ended.said.contains("panicked");
        verdict.check("the agents' end", &format!("{:.2} s", ended.took.as_secs_f64()), kept);
    }
    detach(&mut verdict, pins);
    verdict
}

/// Waits until the agent has written everything.
fn drained(valkey: &Valkey, name: &str, agent: &Agent) {
    let written = || {
        let report = oracle::report(name, &valkey.report(name, Duration::ZERO)?).ok()?;
        (report.json["agent"]["valkey"]["backlog"] == 0).then_some(())
    };
    eventually(TIMEOUT, written).unwrap_or_else(|| panic!("the backlog stays: {}", agent.said()));
}

fn histories(
    verdict: &mut Verdict,
    valkey: &Valkey,
    (run, watcher): (&str, &str),
    lives: &[world::Life],
    gaps: &[world::Gap],
) {
    let witness = judge::history(valkey, watcher);
    let found = format!("{} samples", witness.len());
    verdict.row("history of an agent that was never ended", &found, &judge::holes(&witness, &[]));
    let outer = judge::history(valkey, run);
    verdict.row("history across all agents", &format!("{} samples", outer.len()), &judge::holes(&outer, gaps));
    let backwards = outer.windows(2).filter(|pair| !pair[1].counts.covers(&pair[0].counts));
    let backwards: Vec<String> = backwards.map(|pair| format!("{pair:?}")).collect();
    verdict.row("counters that went backwards", &backwards.len().to_string(), &backwards);
    let all = || witness.iter().chain(&outer);
    let dropped = all().map(|sample| sample.dropped).max().unwrap_or_default();
    let resent = all().map(|sample| sample.resent).max().unwrap_or_default();
    verdict.check("entries dropped; sent again by one agent at most", &format!("{dropped}; {resent}"), dropped == 0);
    let (mut exact, mut samples) = (0, 0);
    let wrong: Vec<String> =
        lives.iter().flat_map(|life| judge::life(valkey, life, gaps, &mut exact, &mut samples)).collect();
    verdict.row("histories of containers that ended", &format!("{}, {samples} samples", lives.len()), &wrong);
    let found = format!("{exact}; the others ended around the end of an agent, or are Docker's");
    verdict.check("of these, with exactly the counts of the plan in the last report", &found, exact > 0);
}

fn counters(verdict: &mut Verdict, valkey: &Valkey, run: &str, done: Counts) {
    let now = SystemTime::now();
    let fresh = || judge::history(valkey, run).pop().filter(|sample| sample.at > now);
    let counted = eventually(TIMEOUT, fresh).expect("no new report").counts;
    let found = format!(
        "{} processes made, {} threads, {} programs started, {} processes ended, {} bytes received, {} sent",
        counted.forks, counted.thread_starts, counted.execs, counted.exits, counted.received, counted.sent
    );
    let wrong = (counted != done).then(|| format!("counted {counted:?}, done was {done:?}"));
    verdict.row("counters of all together, against the plan's sum", &found, wrong.as_slice());
}

fn detach(verdict: &mut Verdict, pins: &Path) {
    let output = agent::command(&["detach"], &[("MONITOR_PIN", pins.to_str().unwrap())]).output().unwrap();
    let kept = output.status.success() && !pins.exists();
    verdict.check("what is pinned after `detach`", &judge::pinned(pins).len().to_string(), kept);
}
