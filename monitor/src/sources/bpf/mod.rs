//! eBPF: programs in the kernel that count, and their maps.

mod btf;
mod load;
mod objects;
mod refusal;
mod sys;
mod tally;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::SystemTime;

use aya::Ebpf;
use aya::maps::{Map, PerCpuArray};
use aya_log::EbpfLogger;
use bytemuck::Pod;
use monitor_common::{Network, Processes};
use rustix::thread::CapabilitySet;

pub use self::btf::Layouts;
use self::load::{Host, Loaded, Types};
use self::objects::{NETWORK, Object, PROCESS};
pub use self::refusal::Refusal;
use self::sys::PerCpuHash;
use self::tally::{Add, Tally};
use super::{Source, SourceError};
use crate::config::Ebpf as Mode;
use crate::containers::Roots;
use crate::containers::own::Own;
use crate::metrics::{Metric, Origin};
use crate::snapshot::{Cause, CgroupId, Snapshot, Stamp, Values};

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

    fn why(&self) -> Option<String> {
        match self {
            Self::Attached => None,
            Self::Off => Some("switched off by --ebpf off".to_owned()),
            Self::Refused(refusal) => Some(refusal.cause.clone()),
        }
    }
}

/// The counters of one object, while they are attached.
struct Counters<V> {
    /// Keeps programs and links alive.
    _ebpf: Ebpf,
    map: PerCpuHash<V>,
    tally: Tally<V>,
    lost: Option<PerCpuArray<aya::maps::MapData, u64>>,
    log: Option<EbpfLogger<ToTracing>>,
}

/// Reads what the programs count.
pub struct Bpf {
    network: Option<Counters<Network>>,
    processes: Option<Counters<Processes>>,
    programs: Vec<ProgramState>,
    since: SystemTime,
    lost: u64,
}

/// Whether the limit of descriptors has room for programs, maps and links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// It has.
    Enough,
    /// It is this low.
    None(usize),
}

/// The part of the tree that is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The v2 directory at its top; `None` where no v2 tree can be seen.
    pub top: Option<PathBuf>,
    /// Its id; `None` for the whole tree.
    pub id: Option<CgroupId>,
}

impl Part {
    /// One container and what is below it.
    pub fn of(own: &Own) -> Self {
        Self { top: own.identity.v2.clone(), id: Some(own.id).filter(|_| !own.identity.is_root) }
    }
}

/// Loads and attaches what the host allows, for a part of the tree.
pub fn open(mode: Mode, part: &Part, roots: &Roots, room: Room, clock: fn() -> Stamp) -> (Bpf, Vec<ProgramState>) {
    let none = |state: State| {
        let programs: Vec<_> = all().map(|name| ProgramState { name, state: state.clone() }).collect();
        (Bpf { network: None, processes: None, programs: programs.clone(), since: clock().wall, lost: 0 }, programs)
    };
    let cgroup = match (mode, &part.top, room) {
        (Mode::Off, ..) => return none(State::Off),
        (_, None, _) => return none(State::Refused(without_v2())),
        (_, _, Room::None(most)) => return none(State::Refused(without_descriptors(most))),
        (_, Some(cgroup), _) => cgroup,
    };
    let mut programs = Vec::new();
    let host = Host { capabilities: capabilities(), types: Types::read(&roots.sys) };
    let scope = part.id.map_or(0, |id| id.0);
    let network = counters(&NETWORK, load::load(&NETWORK, &host, cgroup, scope), Network::add, &mut programs);
    let processes = counters(&PROCESS, load::load(&PROCESS, &host, cgroup, scope), Processes::add, &mut programs);
    drop(host);
    sys::release_memory();
    let bpf = Bpf { network, processes, programs: programs.clone(), since: clock().wall, lost: 0 };
    (bpf, programs)
}

fn without_v2() -> Refusal {
    Refusal::new(
        "no cgroup v2 tree can be seen, and eBPF knows only that one",
        "on the host: mount -t cgroup2 none /sys/fs/cgroup/unified; for a container: docker run --cgroupns host -v /sys/fs/cgroup:/sys/fs/cgroup:ro",
    )
}

fn without_descriptors(most: usize) -> Refusal {
    Refusal::new(
        format!("this process may have only {most} descriptors"),
        "ulimit -n 1024, or docker run --ulimit nofile=1024",
    )
}

fn all() -> impl Iterator<Item = &'static str> {
    [&NETWORK, &PROCESS].into_iter().flat_map(|object| object.programs).map(|(name, _)| *name)
}

fn capabilities() -> CapabilitySet {
    rustix::thread::capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective)
}

/// Takes hold of the maps, if some program fills them.
fn counters<V: Pod + Default>(
    object: &Object,
    loaded: Loaded,
    add: Add<V>,
    programs: &mut Vec<ProgramState>,
) -> Option<Counters<V>> {
    let attached = loaded.programs.iter().any(|(_, result)| result.is_ok());
    let opened = loaded.ebpf.filter(|_| attached).map(|ebpf| take(object, ebpf, add)).transpose();
    let broken =
        opened.as_ref().err().map(|error| Refusal { cause: format!("its map cannot be read: {error}"), cure: None });
    for (name, result) in loaded.programs {
        let state = match (result, &broken) {
            (Err(refusal), _) => State::Refused(refusal),
            (Ok(()), Some(refusal)) => State::Refused(refusal.clone()),
            (Ok(()), None) => State::Attached,
        };
        programs.push(ProgramState { name, state });
    }
    opened.ok().flatten()
}

fn take<V: Pod + Default>(object: &Object, mut ebpf: Ebpf, add: Add<V>) -> std::io::Result<Counters<V>> {
    let map = match ebpf.map(object.counters) {
        Some(Map::PerCpuHashMap(map)) => PerCpuHash::new(map)?,
        _ => return Err(std::io::Error::other(format!("the object has no map {}", object.counters))),
    };
    let lost = ebpf.take_map("LOST").and_then(|map| PerCpuArray::try_from(map).ok());
    let log = EbpfLogger::init_with_logger(&mut ebpf, ToTracing).ok();
    Ok(Counters { _ebpf: ebpf, map, tally: Tally::new(add), lost, log })
}

impl<V: Pod + Default> Counters<V> {
    /// What each cgroup of the snapshot has counted, over all CPUs and with all that is below it.
    fn read(&mut self, add: Add<V>, snapshot: &Snapshot) -> std::io::Result<BTreeMap<CgroupId, V>> {
        if let Some(log) = &mut self.log {
            log.flush();
        }
        let mut counts = Vec::new();
        self.map.for_each(|id, values| {
            let mut count = V::default();
            values.iter().for_each(|value| add(&mut count, value));
            counts.push((CgroupId(id), count));
        })?;
        let (sums, leaving) = self.tally.sort(&counts, snapshot);
        leaving.into_iter().try_for_each(|id| self.map.remove(id.0))?;
        Ok(sums)
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
        let network = self.network.as_mut().map(|counters| counters.read(Network::add, into)).transpose();
        let processes = self.processes.as_mut().map(|counters| counters.read(Processes::add, into)).transpose();
        if self.network.is_some() || self.processes.is_some() {
            into.counting_since = Some(self.since);
        }
        for (id, cgroup) in &mut into.cgroups {
            let sums = Sums {
                network: network.as_ref().ok().and_then(|sums| sums.as_ref()?.get(id)),
                processes: processes.as_ref().ok().and_then(|sums| sums.as_ref()?.get(id)),
                programs: &self.programs,
            };
            sums.fill(&mut cgroup.values);
        }
        if let Some(error) = network.err().or(processes.err()) {
            return Err(SourceError(error.to_string()));
        }
        self.complain_of_losses()
    }
}

impl Bpf {
    fn complain_of_losses(&mut self) -> Result<(), SourceError> {
        let lost = self.network.as_ref().map_or(0, Counters::lost) + self.processes.as_ref().map_or(0, Counters::lost);
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
