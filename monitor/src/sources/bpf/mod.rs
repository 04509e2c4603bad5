//! eBPF: programs in the kernel that count, and their maps.

mod btf;
mod facts;
mod lives;
mod load;
mod objects;
mod passes;
pub mod pins;
mod room;
mod rows;
mod sys;
mod tally;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use aya::Ebpf;
use aya::maps::PerCpuArray;
use aya_log::EbpfLogger;
use bytemuck::Pod;
use monitor_common::{Network, Processes};
use rustix::process::{Resource, Rlimit, setrlimit};

pub use self::btf::Layouts;
pub use self::lives::Lives;
use self::load::{Host, Loaded, Target};
use self::objects::{LIFECYCLE, NETWORK, OBJECTS, Object, PROCESS};
use self::passes::Passes;
use self::pins::{Kept, Pins};
use self::room::Maps;
use self::rows::Rows;
pub use self::sys::share_memory;
use self::tally::{Add, Tally};
use super::{Source, SourceError};
use crate::cause::{Cause, CauseKind};
use crate::containers::Roots;
use crate::containers::own::Own;
use crate::containers::tree;
use crate::refusal::{Capability, Decision, Refusal, without_tree};
use crate::snapshot::{CgroupId, Scope, Snapshot, Stamp};

/// Begins each cause that is a program's.
const PREFIX: &str = "eBPF ";

/// A program and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramState {
    /// Its name: that of its hook.
    pub name: &'static str,
    /// Attached, or why not.
    pub state: State,
}

/// What became of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It counts.
    Attached,
    /// Nobody wanted it, for this reason.
    Off(String),
    /// The host refused it.
    Refused(Refusal),
}

impl State {
    /// Whether it counts.
    pub fn is_attached(&self) -> bool {
        *self == Self::Attached
    }

    /// What follows from a decision alone; `None` when it is to try.
    fn of(decision: &Decision) -> Option<Self> {
        match decision {
            Decision::Take => None,
            Decision::Off(why) => Some(Self::Off(why.clone())),
            Decision::Refused(refusal) => Some(Self::Refused(refusal.clone())),
        }
    }

    fn why(&self) -> Option<String> {
        match self {
            Self::Attached => None,
            Self::Off(why) => Some(why.clone()),
            Self::Refused(refusal) => Some(refusal.cause.clone()),
        }
    }
}

/// The counters of one object, while they are attached.
struct Counters<V: Pod> {
    /// Keeps programs, maps and links alive.
    _ebpf: Ebpf,
    _links: Vec<OwnedFd>,
    maps: Maps<V>,
    tally: Tally<V>,
    /// The directory in and below which is counted.
    top: PathBuf,
    since: SystemTime,
    lost: Option<PerCpuArray<aya::maps::MapData, u64>>,
    known_lost: u64,
    entrances: Vec<Entrance>,
    log: Option<EbpfLogger<ToTracing>>,
}

/// Reads what the programs count.
pub struct Bpf {
    network: Option<Counters<Network>>,
    processes: Option<Counters<Processes>>,
    rows: Rows,
    lives: Option<Lives>,
    passes: Passes,
}

/// The program that stands at a tracepoint or a function. While a task is preempted in it, it does not begin for others on
/// the same CPU; the kernel counts these (`recursion_misses` of `struct bpf_prog_info`).
struct Entrance {
    name: &'static str,
    program: OwnedFd,
    missed: u64,
}

impl Entrance {
    /// The agent before has told of what was missed till now.
    fn new(name: &'static str, program: OwnedFd) -> Self {
        let missed = sys::recursion_misses(program.as_fd()).unwrap_or(0);
        Self { name, program, missed }
    }

    /// Its name, if it has missed anything since this was asked the last time.
    fn has_missed(&mut self) -> Option<&'static str> {
        let missed = sys::recursion_misses(self.program.as_fd()).unwrap_or(self.missed);
        (missed > std::mem::replace(&mut self.missed, missed)).then_some(self.name)
    }
}

/// What one object has counted of each cgroup of a reading, with all that is below it.
struct Counted<V> {
    sums: BTreeMap<CgroupId, V>,
    /// Whether events had no room since the reading before.
    is_short: bool,
    /// The programs that did not begin at each of their events since then.
    missed: Vec<&'static str>,
    /// What was refused on the way, and cost no number.
    trouble: io::Result<()>,
}

/// What a program needs of a machine.
#[derive(Clone, Copy, Debug)]
pub struct Needs {
    /// The program's name.
    pub name: &'static str,
    /// Whether it is for the agent of a whole machine alone.
    pub of_a_machine: bool,
    /// Whether it counts at each descriptor, which has to be asked for.
    pub of_descriptors: bool,
    /// Whether it takes the kernel's types.
    pub types: bool,
    pub(crate) capabilities: &'static [Capability],
}

/// All programs that there are.
pub fn programs() -> impl Iterator<Item = Needs> {
    let needs = |object: &'static Object| {
        object.programs.iter().map(|&(name, hook)| Needs {
            name,
            of_a_machine: object.name == LIFECYCLE.name,
            of_descriptors: hook.is_of_descriptors(),
            types: hook.takes_types(),
            capabilities: hook.takes(),
        })
    };
    let pass =
        |name| Needs { name, of_a_machine: false, of_descriptors: false, types: true, capabilities: passes::TAKES };
    OBJECTS.iter().copied().flat_map(needs).chain(passes::NAMES.map(pass))
}

/// The objects that they are in: name and content, which is empty where this binary was built without.
pub fn objects() -> impl Iterator<Item = (&'static str, &'static [u8])> {
    OBJECTS.iter().map(|object| (object.name, object.elf)).chain(passes::objects())
}

/// Whether this binary has them inside.
pub fn is_built() -> bool {
    objects().all(|(_, elf)| !elf.is_empty())
}

/// The part of the tree that is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Whether it is the own container, or all of them.
    pub scope: Scope,
    /// The v2 directory at its top; `None` where no v2 tree can be seen.
    pub top: Option<PathBuf>,
    /// Its directories in the trees of the v1 controllers.
    pub v1: BTreeMap<String, PathBuf>,
    /// Its id; `None` for the whole tree.
    pub id: Option<CgroupId>,
    /// Whether cgroups that come and go are told of.
    pub lives: bool,
    /// For so many cgroups there is room in the maps from the first.
    pub least: u32,
}

impl Part {
    /// A machine, below the directory of its v2 tree and those of the v1 controllers. Many a cgroup may come between two
    /// readings.
    pub fn machine(top: Option<PathBuf>, v1: BTreeMap<String, PathBuf>) -> Self {
        Self { scope: Scope::Host, top, v1, id: None, lives: true, least: 4096 }
    }

    /// One container and what is below it.
    pub fn of(own: &Own) -> Self {
        let id = Some(own.id).filter(|_| !own.identity.is_root);
        let (top, v1) = (own.identity.v2.clone(), own.identity.v1.clone());
        Self { scope: Scope::Own, top, v1, id, lives: false, least: 1024 }
    }
}

/// Before Linux 5.11 maps count as locked memory, of which a process may have little (`RLIMIT_MEMLOCK`).
fn allow_locked_memory() {
    // What is refused shows when a map is made that has no room.
    _ = setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None });
}

/// Loads and attaches what the host allows, for a part of the tree. With pins the kernel goes on counting when this agent
/// ends, and what one before has pinned is taken over.
pub fn open(
    decisions: &[(&'static str, Decision)],
    part: &Part,
    roots: &Roots,
    pins: Option<&Pins>,
    clock: fn() -> Stamp,
) -> (Bpf, Vec<ProgramState>) {
    let wanted = decisions.iter().any(|(_, decision)| decision.is_take());
    let Some(cgroup) = part.top.as_ref().filter(|_| wanted) else {
        let state = |decision: &Decision| match State::of(decision) {
            Some(state) => state,
            None => State::Refused(without_tree()),
        };
        let programs: Vec<_> =
            all(part).map(|name| ProgramState { name, state: state(&decision(decisions, name)) }).collect();
        let passes = Passes::default();
        let rows = Rows::new(&programs);
        return (Bpf { network: None, processes: None, rows, lives: None, passes }, programs);
    };
    allow_locked_memory();
    let host = Host::of(roots, decisions);
    let target = Target { cgroup, scope: part.id.map_or(0, |id| id.0) };
    let entries = room::entries(tree::walk(cgroup).map_or(0, |found| found.len()), part.least);
    let mut opening = Opening { host, target, pins, entries, now: clock().wall, programs: Vec::new() };
    let network = opening.counters(&NETWORK, Network::add);
    let processes = opening.counters(&PROCESS, Processes::add);
    if let Some(Err(error)) = pins.map(|pins| pins.forget_others(&[NETWORK.name, PROCESS.name])) {
        tracing::warn!("pins of another version cannot be removed: {error}");
    }
    let lives = lives::open(part, &opening.host, &mut opening.programs);
    let (passes, passing) = passes::open(part, roots, &opening.host);
    opening.programs.extend(passing);
    let programs = opening.programs;
    drop(opening.host);
    sys::release_memory();
    (Bpf { network, processes, rows: Rows::new(&programs), lives, passes }, programs)
}

/// What is decided about a program. One that nothing is known of is tried.
fn decision(decisions: &[(&'static str, Decision)], name: &str) -> Decision {
    decisions.iter().find(|(known, _)| *known == name).map_or(Decision::Take, |(_, decision)| decision.clone())
}

fn all(part: &Part) -> impl Iterator<Item = &'static str> {
    let lives = part.lives.then_some(&LIFECYCLE);
    let objects = [&NETWORK, &PROCESS].into_iter().chain(lives);
    objects.flat_map(|object| object.programs).map(|(name, _)| *name).chain(passes::NAMES)
}

/// What it takes to load the objects, and what has become of their programs.
struct Opening<'a> {
    host: Host,
    target: Target<'a>,
    pins: Option<&'a Pins>,
    /// For how many cgroups there is to be room at first.
    entries: u32,
    now: SystemTime,
    programs: Vec<ProgramState>,
}

impl Opening<'_> {
    /// Loads an object and takes hold of its maps, if some program fills them.
    fn counters<V: Pod + Default>(&mut self, object: &Object, add: Add<V>) -> Option<Counters<V>> {
        let kept = self.pins.map(|pins| pins.object(object.name, self.target.scope)).transpose();
        let kept = kept.unwrap_or_else(|error| {
            tracing::warn!("{} is not pinned: {error}", object.name);
            None
        });
        let mut maps = None;
        let found = |ebpf: &Ebpf| {
            let dir = kept.as_ref().map(Kept::maps);
            maps = Some(Maps::open(ebpf, object.counters, add, dir.as_deref(), self.entries)?);
            Ok(())
        };
        let loaded = load::load(object, &self.host, &self.target, kept.as_ref(), found);
        let Loaded { ebpf, programs, links, entrances } = loaded;
        let attached = programs.iter().any(|(_, result)| result.is_ok());
        let opened = ebpf
            .zip(maps)
            .filter(|_| attached)
            .map(|(ebpf, maps)| self.take(object, ebpf, (links, entrances), maps, kept.as_ref()))
            .transpose();
        let broken = opened
            .as_ref()
            .err()
            .map(|error| Refusal { cause: format!("its map cannot be read: {error}"), cure: None });
        for (name, result) in programs {
            let decided = State::of(&decision(&self.host.decisions, name));
            let state = match (decided, result, &broken) {
                (Some(decided), ..) => decided,
                (None, Err(refusal), _) => State::Refused(refusal),
                (None, Ok(()), Some(refusal)) => State::Refused(refusal.clone()),
                (None, Ok(()), None) => State::Attached,
            };
            self.programs.push(ProgramState { name, state });
        }
        opened.ok().flatten()
    }

    fn take<V: Pod + Default>(
        &self,
        object: &Object,
        mut ebpf: Ebpf,
        (links, entrances): (Vec<OwnedFd>, Vec<Entrance>),
        mut maps: Maps<V>,
        kept: Option<&Kept>,
    ) -> io::Result<Counters<V>> {
        let tally = Tally::new(maps.add, &mut maps)?;
        let unix = self.now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let since = kept.and_then(Kept::since).map_or(unix, Duration::from_nanos);
        if kept.is_some_and(|kept| kept.since().is_some()) {
            let since = humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + since);
            tracing::info!("{}: goes on with what has been counted since {since}", object.name);
        }
        let complete = kept.map(|kept| {
            let is_off = |name: &&str| matches!(decision(&self.host.decisions, name), Decision::Off(_));
            let (off, programs): (Vec<&str>, Vec<&str>) =
                object.programs.iter().map(|(name, _)| *name).partition(is_off);
            let nanos = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
            kept.complete(&mut ebpf, &programs, &off, self.target.scope, nanos)
        });
        if let Some(Err(error)) = complete {
            tracing::warn!("the counts of {} end with this agent: they cannot be pinned: {error}", object.name);
        }
        let lost = ebpf.take_map("LOST").and_then(|map| PerCpuArray::try_from(map).ok());
        // The agent before has told of it.
        let known_lost = lost.as_ref().map_or(0, events);
        let log = EbpfLogger::init_with_logger(&mut ebpf, ToTracing).ok();
        let since = SystemTime::UNIX_EPOCH + since;
        let top = self.target.cgroup.to_owned();
        Ok(Counters { _ebpf: ebpf, _links: links, maps, tally, top, since, lost, known_lost, entrances, log })
    }
}

impl<V: Pod + Default> Counters<V> {
    /// What each cgroup of the snapshot has counted, over all CPUs and with all that is below it.
    fn read(&mut self, snapshot: &Snapshot) -> io::Result<Counted<V>> {
        if let Some(log) = &mut self.log {
            log.flush();
        }
        self.tally.settle(&mut self.maps)?;
        self.tally.move_up(snapshot, &mut self.maps)?;
        let counts = self.maps.counts()?;
        let (sums, trouble) = self.tally.sort(&counts, snapshot, &mut self.maps);
        let grown = self.grow(snapshot, &counts);
        let lost = self.lost.as_ref().map_or(0, events);
        let is_short = lost > std::mem::replace(&mut self.known_lost, lost);
        let missed = self.entrances.iter_mut().filter_map(Entrance::has_missed).collect();
        Ok(Counted { sums, is_short, missed, trouble: trouble.and(grown) })
    }

    /// Events that are not counted, in all.
    fn lost(&self) -> u64 {
        self.known_lost + self.entrances.iter().map(|entrance| entrance.missed).sum::<u64>()
    }

    /// Takes larger maps when counts nearly fill these. In the own scope nobody tells of cgroups that are gone: they are
    /// looked for first.
    fn grow(&mut self, snapshot: &Snapshot, counts: &[(u64, V)]) -> io::Result<()> {
        if !self.tally.is_settled() || !self.maps.is_nearly_full(counts.len(), self.tally.retired()) {
            return Ok(());
        }
        let mut there = snapshot.places.len().max(counts.len());
        if let (Scope::Own, Some(own)) = (snapshot.scope, snapshot.cgroups.keys().next()) {
            let found: BTreeSet<u64> = tree::walk(&self.top)?.iter().map(|directory| directory.id.0).collect();
            self.tally.clean(*own, counts, |id| found.contains(&id), &mut self.maps)?;
            there = found.len();
            if !self.maps.is_nearly_full(there, 0) {
                return Ok(());
            }
        }
        self.maps.grow(there, self.tally.retired()).map_err(|error| {
            io::Error::new(error.kind(), format!("a map is nearly full, and there can be no larger one: {error}"))
        })
    }
}

/// Events that had no room, over all CPUs.
fn events(lost: &PerCpuArray<aya::maps::MapData, u64>) -> u64 {
    lost.get(&0, 0).map_or(0, |values| values.iter().sum())
}

impl Source for Bpf {
    fn name(&self) -> &'static str {
        "eBPF maps"
    }

    fn sample(&mut self, into: &mut Snapshot) -> Result<(), SourceError> {
        let network = self.network.as_mut().map(|counters| counters.read(into)).transpose();
        let processes = self.processes.as_mut().map(|counters| counters.read(into)).transpose();
        let (of_network, of_processes) = (self.network.as_ref(), self.processes.as_ref());
        into.counting_since = of_network.map(|of| of.since).or(of_processes.map(|of| of.since));
        into.lost_events = of_network.map_or(0, Counters::lost) + of_processes.map_or(0, Counters::lost);
        let (of_network, of_processes) = (network.as_ref().ok(), processes.as_ref().ok());
        for (id, cgroup) in &mut into.cgroups {
            let is_all = into.scope == Scope::Own || cgroup.identity.is_root;
            self.rows.network.fill(of_network.and_then(Option::as_ref), *id, is_all, &mut cgroup.values);
            self.rows.processes.fill(of_processes.and_then(Option::as_ref), *id, is_all, &mut cgroup.values);
        }
        let passed = self.passes.sample(into);
        trouble(network).and(trouble(processes)).and(passed).map_err(|error| SourceError(error.to_string()))
    }
}

fn trouble<V>(read: io::Result<Option<Counted<V>>>) -> io::Result<()> {
    read?.map_or(Ok(()), |counted| counted.trouble)
}

impl<V: Copy + Default + PartialEq> Counted<V> {
    /// What a cgroup has counted; why not, where events are missing: those of a cgroup that counts for the first time while
    /// the map is full, and so also those of everything together.
    fn of(&self, id: CgroupId, is_all: bool) -> Option<Result<V, Cause>> {
        let sum = *self.sums.get(&id)?;
        let is_short = self.is_short && (is_all || sum == V::default());
        Some(if is_short {
            Err(Cause::new(CauseKind::LostEvents, "an eBPF map is full: not all events are counted"))
        } else {
            Ok(sum)
        })
    }
}

impl Bpf {
    /// What the kernel tells of cgroups that come and go, for who follows it.
    pub fn take_lives(&mut self) -> Option<Lives> {
        self.lives.take()
    }
}

/// Brings what the programs say to the agent's own messages.
struct ToTracing;

impl log::Log for ToTracing {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        match record.level() {
            log::Level::Error => tracing::error!(target: "ebpf", "{}", record.args()),
            log::Level::Warn => tracing::warn!(target: "ebpf", "{}", record.args()),
            log::Level::Info => tracing::info!(target: "ebpf", "{}", record.args()),
            log::Level::Debug => tracing::debug!(target: "ebpf", "{}", record.args()),
            log::Level::Trace => tracing::trace!(target: "ebpf", "{}", record.args()),
        }
    }

    fn flush(&self) {}
}
