//! eBPF: programs in the kernel that count, and their maps.

mod btf;
mod facts;
mod lives;
mod load;
mod objects;
mod passes;
pub mod pins;
mod sys;
mod tally;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use aya::Ebpf;
use aya::maps::{Map, PerCpuArray};
use aya_log::EbpfLogger;
use bytemuck::Pod;
use monitor_common::{Lineage, Network, Processes, Retired};

pub use self::btf::Layouts;
pub use self::lives::Lives;
use self::load::{Host, Loaded, Target};
use self::objects::{LIFECYCLE, NETWORK, OBJECTS, Object, PROCESS};
use self::passes::Passes;
use self::pins::{Kept, Pins};
use self::sys::{Hash, PerCpuHash};
use self::tally::{Add, Tally};
use super::{Source, SourceError};
use crate::containers::Roots;
use crate::containers::own::Own;
use crate::metrics::{Metric, Origin};
use crate::preflight::refusal::Capability;
use crate::preflight::{Decision, Refusal, without_tree};
use crate::snapshot::{Cause, CgroupId, Scope, Snapshot, Stamp, Values};

/// Begins each cause that is a program's.
pub const PREFIX: &str = "eBPF ";

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
    /// Nobody wanted it.
    Off,
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
            Decision::Off(_) => Some(Self::Off),
            Decision::Refused(refusal) => Some(Self::Refused(refusal.clone())),
        }
    }

    fn why(&self) -> Option<String> {
        match self {
            Self::Attached => None,
            Self::Off => Some("switched off by --ebpf off".to_owned()),
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
    since: SystemTime,
    lost: Option<PerCpuArray<aya::maps::MapData, u64>>,
    log: Option<EbpfLogger<ToTracing>>,
}

/// The maps of one object.
struct Maps<V: Pod> {
    counts: PerCpuHash<V>,
    lineage: Hash<Lineage>,
    retired: Hash<Retired<V>>,
    add: Add<V>,
}

/// Reads what the programs count.
pub struct Bpf {
    network: Option<Counters<Network>>,
    processes: Option<Counters<Processes>>,
    lives: Option<Lives>,
    passes: Passes,
    programs: Vec<ProgramState>,
    lost: u64,
}

/// What a program needs of a machine.
#[derive(Clone, Copy, Debug)]
pub struct Needs {
    /// The program's name.
    pub name: &'static str,
    /// Whether it is for the agent of a whole machine alone.
    pub of_a_machine: bool,
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
            types: hook.takes_types(),
            capabilities: hook.takes(),
        })
    };
    let pass = |name| Needs { name, of_a_machine: false, types: true, capabilities: passes::TAKES };
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
    /// Its id; `None` for the whole tree.
    pub id: Option<CgroupId>,
    /// Whether cgroups that come and go are told of.
    pub lives: bool,
}

impl Part {
    /// One container and what is below it.
    pub fn of(own: &Own) -> Self {
        let id = Some(own.id).filter(|_| !own.identity.is_root);
        Self { scope: Scope::Own, top: own.identity.v2.clone(), id, lives: false }
    }
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
        let bpf = Bpf { network: None, processes: None, lives: None, passes, programs: programs.clone(), lost: 0 };
        return (bpf, programs);
    };
    let host = Host::of(roots, decisions);
    let target = Target { cgroup, scope: part.id.map_or(0, |id| id.0) };
    let mut opening = Opening { host, target, pins, now: clock().wall, programs: Vec::new() };
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
    let mut bpf = Bpf { network, processes, lives, passes, programs: programs.clone(), lost: 0 };
    // What was lost before has been told by the agent before.
    bpf.lost = bpf.lost();
    (bpf, programs)
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
        let loaded = load::load(object, &self.host, &self.target, kept.as_ref());
        let Loaded { ebpf, programs, links } = loaded;
        let attached = programs.iter().any(|(_, result)| result.is_ok());
        let opened =
            ebpf.filter(|_| attached).map(|ebpf| self.take(object, ebpf, links, add, kept.as_ref())).transpose();
        let broken = opened
            .as_ref()
            .err()
            .map(|error| Refusal { cause: format!("its map cannot be read: {error}"), cure: None });
        for (name, result) in programs {
            let state = match (result, &broken) {
                (Err(refusal), _) => State::Refused(refusal),
                (Ok(()), Some(refusal)) => State::Refused(refusal.clone()),
                (Ok(()), None) => State::Attached,
            };
            self.programs.push(ProgramState { name, state });
        }
        opened.ok().flatten()
    }

    fn take<V: Pod + Default>(
        &self,
        object: &Object,
        mut ebpf: Ebpf,
        links: Vec<OwnedFd>,
        add: Add<V>,
        kept: Option<&Kept>,
    ) -> io::Result<Counters<V>> {
        let mut maps = Maps::new(&ebpf, object.counters, add)?;
        let tally = Tally::new(add, &mut maps)?;
        let unix = self.now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let since = kept.and_then(Kept::since).map_or(unix, Duration::from_nanos);
        if kept.is_some_and(|kept| kept.since().is_some()) {
            let since = humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + since);
            tracing::info!("{}: goes on with what has been counted since {since}", object.name);
        }
        let complete = kept.map(|kept| {
            let programs: Vec<&str> = object.programs.iter().map(|(name, _)| *name).collect();
            let nanos = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
            kept.complete(&mut ebpf, &programs, self.target.scope, nanos)
        });
        if let Some(Err(error)) = complete {
            tracing::warn!("the counts of {} end with this agent: they cannot be pinned: {error}", object.name);
        }
        let lost = ebpf.take_map("LOST").and_then(|map| PerCpuArray::try_from(map).ok());
        let log = EbpfLogger::init_with_logger(&mut ebpf, ToTracing).ok();
        let since = SystemTime::UNIX_EPOCH + since;
        Ok(Counters { _ebpf: ebpf, _links: links, maps, tally, since, lost, log })
    }
}

impl<V: Pod + Default> Maps<V> {
    fn new(ebpf: &Ebpf, counts: &str, add: Add<V>) -> io::Result<Self> {
        let missing = |name: &str| io::Error::other(format!("the object has no map {name}"));
        let hash = |name: &str| match ebpf.map(name) {
            Some(Map::HashMap(map)) => Ok(map),
            _ => Err(missing(name)),
        };
        let counts = match ebpf.map(counts) {
            Some(Map::PerCpuHashMap(map)) => PerCpuHash::new(map)?,
            _ => return Err(missing(counts)),
        };
        Ok(Self { counts, lineage: Hash::new(hash("LINEAGE")?)?, retired: Hash::new(hash("RETIRED")?)?, add })
    }

    /// Over all CPUs.
    fn sum(add: Add<V>, values: &[V]) -> V {
        values.iter().fold(V::default(), |mut sum, value| {
            add(&mut sum, value);
            sum
        })
    }
}

impl<V: Pod + Default> tally::Kept<V> for Maps<V> {
    fn lineage(&self, id: u64) -> io::Result<Lineage> {
        self.lineage.get(id).map(Option::unwrap_or_default)
    }

    fn retired(&self) -> io::Result<Vec<(u64, Retired<V>)>> {
        self.retired.entries()
    }

    fn retire(&mut self, container: u64, retired: &Retired<V>) -> io::Result<()> {
        self.retired.put(container, retired)
    }

    fn release(&mut self, container: u64) -> io::Result<()> {
        self.retired.remove(container)
    }

    fn take(&mut self, id: u64) -> io::Result<Option<V>> {
        // First: should the cgroup count again, it gets a new one.
        self.lineage.remove(id)?;
        Ok(self.counts.take(id)?.map(|values| Self::sum(self.add, &values)))
    }
}

impl<V: Pod + Default> Counters<V> {
    /// What each cgroup of the snapshot has counted, over all CPUs and with all that is below it; and what could not be
    /// put away.
    fn read(&mut self, snapshot: &Snapshot) -> io::Result<(BTreeMap<CgroupId, V>, io::Result<()>)> {
        if let Some(log) = &mut self.log {
            log.flush();
        }
        self.tally.settle(&mut self.maps)?;
        let mut counts = Vec::new();
        let add = self.maps.add;
        self.maps.counts.for_each(|id, values| counts.push((CgroupId(id), Maps::sum(add, values))))?;
        Ok(self.tally.sort(&counts, snapshot, &mut self.maps))
    }

    fn lost(&self) -> u64 {
        let values = self.lost.as_ref().and_then(|lost| lost.get(&0, 0).ok());
        values.map_or(0, |values| values.iter().sum())
    }
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
        for (id, cgroup) in &mut into.cgroups {
            let sums = Sums {
                network: network.as_ref().ok().and_then(|read| read.as_ref()?.0.get(id)),
                processes: processes.as_ref().ok().and_then(|read| read.as_ref()?.0.get(id)),
                programs: &self.programs,
            };
            sums.fill(&mut cgroup.values);
        }
        let passed = self.passes.sample(into);
        let put_away = |read: io::Result<Option<io::Result<()>>>| read.and_then(|moved| moved.unwrap_or(Ok(())));
        put_away(network.map(|read| read.map(|(_, moved)| moved)))
            .and(put_away(processes.map(|read| read.map(|(_, moved)| moved))))
            .and(passed)
            .map_err(|error| SourceError(error.to_string()))?;
        self.complain_of_losses()
    }
}

impl Bpf {
    /// What the kernel tells of cgroups that come and go, for who follows it.
    pub fn take_lives(&mut self) -> Option<Lives> {
        self.lives.take()
    }

    fn lost(&self) -> u64 {
        self.network.as_ref().map_or(0, Counters::lost) + self.processes.as_ref().map_or(0, Counters::lost)
    }

    fn complain_of_losses(&mut self) -> Result<(), SourceError> {
        let lost = self.lost();
        let more = lost > std::mem::replace(&mut self.lost, lost);
        if more {
            Err(SourceError("a map is full; events of some cgroups below this one are not counted".to_owned()))
        } else {
            Ok(())
        }
    }
}

/// What one reading found.
struct Sums<'a> {
    network: Option<&'a Network>,
    processes: Option<&'a Processes>,
    programs: &'a [ProgramState],
}

impl Sums<'_> {
    fn fill(&self, values: &mut Values) {
        for (metric, rank, origin) in Metric::origins() {
            let (programs, value) = match origin {
                Origin::Network(programs, field) => (programs, self.network.map(field)),
                Origin::Processes(programs, field) => (programs, self.processes.map(field)),
                _ => continue,
            };
            match (self.lacking(programs), value) {
                (None, Some(value)) => values.put(metric, rank, value),
                (None, None) => values.miss(metric, rank, Cause::new("the eBPF map cannot be read")),
                (Some(cause), _) => values.miss(metric, rank, cause),
            }
        }
    }

    /// Why the first of these programs that does not count does not.
    fn lacking(&self, names: &[&str]) -> Option<Cause> {
        let states = self.programs.iter().filter(|program| names.contains(&program.name));
        states
            .filter_map(|program| Some(format!("{PREFIX}{}: {}", program.name, program.state.why()?)))
            .map(Cause::new)
            .next()
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
