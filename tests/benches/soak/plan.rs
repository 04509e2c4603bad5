//! The schedule: fixed before the run begins, and the same for the same seed.

use std::ops::{AddAssign, Range};
use std::time::Duration;

use fastrand::Rng;

/// The largest number of containers at a time.
const MOST: usize = 24;

/// The counters of a container that eBPF programs keep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) forks: u64,
    pub(crate) thread_starts: u64,
    pub(crate) execs: u64,
    pub(crate) exits: u64,
    /// IP bytes.
    pub(crate) received: u64,
    pub(crate) sent: u64,
}

impl Counts {
    /// True if none of them is less.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        self.forks >= other.forks
            && self.thread_starts >= other.thread_starts
            && self.execs >= other.execs
            && self.exits >= other.exits
            && self.received >= other.received
            && self.sent >= other.sent
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, more: Self) {
        self.forks += more.forks;
        self.thread_starts += more.thread_starts;
        self.execs += more.execs;
        self.exits += more.exits;
        self.received += more.received;
        self.sent += more.sent;
    }
}

/// Work of a process in a container, to its end.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) arguments: Vec<String>,
    pub(crate) counts: Counts,
}

/// The schedule of containers.
#[derive(Debug)]
pub(crate) enum Step {
    Make(usize),
    Work(usize, Work),
    End(usize),
}

/// The ways in which Valkey fails.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    Killed,
    Frozen,
    Full,
    Disconnected,
}

/// An attack on an agent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Attack {
    /// A container whose environment and name are long.
    Environment,
    /// Nested cgroups with long names.
    Deep(usize),
    /// Cgroups with names of containers and no process.
    Empty(u64),
    /// A runtime's state file in a user's home.
    StateFile(Lie),
    /// Clients that send requests and read no answer.
    SlowReaders(usize),
    /// A request with two `Host` fields.
    TwoHosts,
}

/// A state file that is no list of containers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lie {
    EndlessFile,
    Pipe,
    TooLong,
    HostileName,
}

/// The whole schedule, by the time since the beginning.
pub(crate) struct Plan {
    pub(crate) containers: Vec<(Duration, Step)>,
    /// The failures, each with its duration.
    pub(crate) faults: Vec<(Duration, Fault, Duration)>,
    /// The signal that ends the agent, and the time without an agent; in the first half alone, so that the second one
    /// shows growth.
    pub(crate) restarts: Vec<(Duration, i32, Duration)>,
    /// Containers of Docker's, with their lifetimes.
    pub(crate) dockers: Vec<(Duration, Duration)>,
    pub(crate) attacks: Vec<(Duration, Attack)>,
}

impl Plan {
    pub(crate) fn new(long: Duration, seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        Self {
            containers: containers(&mut rng, long),
            faults: series(&mut rng, long, 10..50, |rng, at| {
                let fault = [Fault::Killed, Fault::Frozen, Fault::Full, Fault::Disconnected][rng.usize(0..4)];
                (at, fault, span(rng, 500..15_000))
            }),
            restarts: series(&mut rng, long / 2, 5..30, |rng, at| {
                let signal = if rng.bool() { libc::SIGKILL } else { libc::SIGTERM };
                (at, signal, span(rng, 0..4_000))
            }),
            dockers: series(&mut rng, long, 15..60, |rng, at| (at, span(rng, 500..20_000))),
            attacks: series(&mut rng, long, 3..12, |rng, at| (at, attack(rng))),
        }
    }
}

fn attack(rng: &mut Rng) -> Attack {
    match rng.u8(0..6) {
        0 => Attack::Environment,
        1 => Attack::Deep(rng.usize(1..12)),
        2 => Attack::Empty(rng.u64(50..300)),
        3 => Attack::StateFile([Lie::EndlessFile, Lie::Pipe, Lie::TooLong, Lie::HostileName][rng.usize(0..4)]),
        4 => Attack::SlowReaders(rng.usize(20..200)),
        _ => Attack::TwoHosts,
    }
}

fn span(rng: &mut Rng, millis: Range<u64>) -> Duration {
    Duration::from_millis(rng.u64(millis))
}

/// Repeated events, with a random number of seconds in between.
fn series<T>(rng: &mut Rng, long: Duration, pauses: Range<u64>, make: impl Fn(&mut Rng, Duration) -> T) -> Vec<T> {
    let mut all = Vec::new();
    let mut at = span(rng, pauses.start * 1000..pauses.end * 1000);
    while at < long {
        all.push(make(rng, at));
        at += span(rng, pauses.start * 1000..pauses.end * 1000);
    }
    all
}

fn containers(rng: &mut Rng, long: Duration) -> Vec<(Duration, Step)> {
    let mut steps = Vec::new();
    let mut ends: Vec<(Duration, usize)> = Vec::new();
    let (mut at, mut made) = (Duration::ZERO, 0);
    while at < long {
        ends.retain(|(end, number)| {
            let due = *end <= at;
            if due {
                steps.push((at, Step::End(*number)));
            }
            !due
        });
        if ends.len() < MOST && rng.u8(0..3) == 0 {
            // Some live for a moment, others for minutes.
            let lives = if rng.bool() { span(rng, 50..3_000) } else { span(rng, 3_000..120_000) };
            steps.push((at, Step::Make(made)));
            steps.push((at, Step::Work(made, work(rng))));
            ends.push((at + lives, made));
            made += 1;
        } else if let Some((_, number)) = rng.choice(&ends) {
            steps.push((at, Step::Work(*number, work(rng))));
        }
        at += span(rng, 50..1_500);
    }
    steps.extend(ends.into_iter().map(|(_, number)| (long, Step::End(number))));
    steps
}

fn work(rng: &mut Rng) -> Work {
    // The process itself is forked elsewhere, executes once, and exits.
    let mut counts = Counts { execs: 1, exits: 1, ..Counts::default() };
    let number = rng.u64(1..200);
    let mut words = vec![number.to_string()];
    let what = match rng.u8(0..5) {
        0 => "idle",
        1 => {
            counts += Counts { forks: number, exits: number, ..Counts::default() };
            "fork"
        }
        2 => {
            counts += Counts { forks: number, execs: number, exits: number, ..Counts::default() };
            "exec"
        }
        3 => {
            counts += Counts { thread_starts: number, ..Counts::default() };
            "threads"
        }
        _ => {
            let (datagrams, size) = (number * 50, rng.u64(1..1_400));
            words = ["127.0.0.1".to_owned(), datagrams.to_string(), size.to_string()].to_vec();
            // The headers of IPv4 and UDP.
            let bytes = datagrams * (size + 28);
            counts += Counts { received: bytes, sent: bytes, ..Counts::default() };
            "udp"
        }
    };
    Work { arguments: [vec![what.to_owned()], words].concat(), counts }
}
