//! Loads and attaches all programs that the host allows.

use std::io;
use std::time::{Duration, SystemTime};

use aya::Ebpf;
use monitor_common::{Network, Processes, add_counters};
use rustix::process::{Resource, Rlimit, setrlimit};

use super::attribution::Attribution;
use super::counters::Counters;
use super::group::CounterGroup;
use super::group_source::{CounterSource, Group};
use super::growable::{self, GrowableMaps};
use super::iterators::{self, Iterators};
use super::load::{self, Host, Loaded, Target, decision};
use super::objects::{LIFECYCLE, Object};
use super::part::Part;
use super::pins::{PinnedObject, Pins};
use super::source::Bpf;
use super::{cgroup_events, sys};
use crate::containers::{Roots, walk};
use crate::programs::{ITERATORS, ProgramState, State};
use crate::refusal::{Decision, Refusal, without_tree};
use crate::snapshot::Stamp;

/// A group of counters, opened for any value type.
struct GroupEntry {
    object: &'static Object,
    open: fn(Option<&mut Opening<'_>>, &mut Vec<ProgramState>) -> Box<dyn CounterSource>,
}

impl GroupEntry {
    const fn of<V: CounterGroup>() -> Self {
        Self { object: V::OBJECT, open: group::<V> }
    }
}

/// All groups of counters.
const GROUPS: [GroupEntry; 2] = [GroupEntry::of::<Network>(), GroupEntry::of::<Processes>()];

/// Opens a group. If nothing can be attached, its metrics are absent for the causes in `programs`.
fn group<V: CounterGroup>(
    opening: Option<&mut Opening<'_>>,
    programs: &mut Vec<ProgramState>,
) -> Box<dyn CounterSource> {
    let counters = opening.and_then(|opening| opening.counters::<V>(programs));
    Box::new(Group::new(counters, programs))
}

/// Before Linux 5.11 maps count against the limit of locked memory (`RLIMIT_MEMLOCK`), which is often low.
fn allow_locked_memory() {
    // A limit that cannot be raised shows as an error when a map is created.
    _ = setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None });
}

/// Loads and attaches the programs that the host allows, for a part of the tree. With pins the kernel keeps counting
/// when this agent ends, and the pins of the previous agent are taken over.
pub fn open(
    decisions: &[(&'static str, Decision)],
    part: &Part,
    roots: &Roots,
    pins: Option<&Pins>,
    clock: fn() -> Stamp,
) -> (Bpf, Vec<ProgramState>) {
    let wanted = decisions.iter().any(|(_, decision)| decision.is_take());
    let Some(cgroup) = part.top.as_ref().filter(|_| wanted) else {
        return unattached(decisions, part);
    };
    allow_locked_memory();
    let target = Target { cgroup, scope: part.id.map_or(0, |id| id.0) };
    let entries = growable::entries(walk::tree(cgroup).map_or(0, |found| found.len()), part.least);
    let mut opening = Opening { host: Host::of(roots, decisions), target, pins, entries, now: clock().wall };
    let mut programs = Vec::new();
    let groups = GROUPS.iter().map(|entry| (entry.open)(Some(&mut opening), &mut programs)).collect();
    let known: Vec<&str> = GROUPS.iter().map(|entry| entry.object.name).collect();
    if let Some(Err(error)) = pins.map(|pins| pins.forget_others(&known)) {
        tracing::warn!(%error, "Pins of another version not removed: end the agent and run `system-monitor detach`");
    }
    let cgroup_events = cgroup_events::open(part, &opening.host, &mut programs);
    let (iterators, states) = iterators::open(part, roots, &opening.host);
    programs.extend(states);
    drop(opening.host);
    sys::release_memory();
    (Bpf { groups, cgroup_events, iterators }, programs)
}

/// The source when nothing is attached: each program with its reason.
fn unattached(decisions: &[(&'static str, Decision)], part: &Part) -> (Bpf, Vec<ProgramState>) {
    let state = |name| State::of(&decision(decisions, name)).unwrap_or_else(|| State::Refused(without_tree()));
    let mut programs: Vec<_> = all(part).map(|name| ProgramState { name, state: state(name) }).collect();
    let groups = GROUPS.iter().map(|entry| (entry.open)(None, &mut programs)).collect();
    (Bpf { groups, cgroup_events: None, iterators: Iterators::default() }, programs)
}

fn all(part: &Part) -> impl Iterator<Item = &'static str> {
    let cgroup_events = part.cgroup_events.then_some(&LIFECYCLE);
    let objects = GROUPS.iter().map(|entry| entry.object).chain(cgroup_events);
    objects.flat_map(|object| object.programs).map(|(name, _)| *name).chain(ITERATORS)
}

/// The environment in which objects are loaded.
struct Opening<'a> {
    host: Host,
    target: Target<'a>,
    pins: Option<&'a Pins>,
    /// The initial number of cgroups with room in the maps.
    entries: u32,
    now: SystemTime,
}

impl Opening<'_> {
    /// Loads the object of a group and opens its maps, if at least one program is attached.
    fn counters<V: CounterGroup>(&mut self, states: &mut Vec<ProgramState>) -> Option<Counters<V>> {
        let object = V::OBJECT;
        let pinned = self.pins.map(|pins| pins.object(object.name, self.target.scope)).transpose();
        let pinned = pinned.unwrap_or_else(|error| {
            tracing::warn!(object = object.name, %error, "eBPF counters will not survive a restart: pins unusable");
            None
        });
        let mut maps = None;
        let open_maps = |ebpf: &Ebpf| {
            let dir = pinned.as_ref().map(PinnedObject::maps);
            maps = Some(GrowableMaps::open(ebpf, object.counters, add_counters, dir.as_deref(), self.entries)?);
            Ok(())
        };
        let mut loaded = load::load(object, &self.host, &self.target, pinned.as_ref(), open_maps);
        let programs = std::mem::take(&mut loaded.programs);
        let attached = programs.iter().any(|(_, result)| result.is_ok());
        let opened = maps.filter(|_| attached).map(|maps| self.take(object, loaded, maps, pinned.as_ref())).transpose();
        let broken = opened
            .as_ref()
            .err()
            .map(|error| Refusal { cause: format!("its map cannot be read: {error}"), remedy: None });
        for (name, result) in programs {
            let decided = State::of(&decision(&self.host.decisions, name));
            let state = match (decided, result, &broken) {
                (Some(decided), ..) => decided,
                (None, Err(refusal), _) => State::Refused(refusal),
                (None, Ok(()), Some(refusal)) => State::Refused(refusal.clone()),
                (None, Ok(()), None) => State::Attached,
            };
            states.push(ProgramState { name, state });
        }
        opened.ok().flatten().flatten()
    }

    /// Takes over the counters of a loaded group; `None` if the object was not loaded.
    fn take<V: CounterGroup>(
        &self,
        object: &Object,
        loaded: Loaded,
        mut maps: GrowableMaps<V>,
        pinned: Option<&PinnedObject>,
    ) -> io::Result<Option<Counters<V>>> {
        let Some(mut ebpf) = loaded.ebpf else { return Ok(None) };
        let attribution = Attribution::new(add_counters, &mut maps)?;
        let unix = self.now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let since = pinned.and_then(PinnedObject::since).map_or(unix, Duration::from_nanos);
        if pinned.is_some_and(|pinned| pinned.since().is_some()) {
            let since = humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + since);
            tracing::info!(object = object.name, %since, "Counting continues in pinned maps");
        }
        if let Some(Err(error)) = pinned.map(|pinned| self.complete(object, &mut ebpf, pinned, since)) {
            tracing::warn!(object = object.name, %error, "eBPF counters will not survive a restart: cannot pin them");
        }
        let counted = (self.target.cgroup.to_owned(), SystemTime::UNIX_EPOCH + since);
        Ok(Some(Counters::new(ebpf, (loaded.links, loaded.trampolines), maps, attribution, counted)))
    }

    /// Marks the pins of an object as complete.
    fn complete(&self, object: &Object, ebpf: &mut Ebpf, pinned: &PinnedObject, since: Duration) -> io::Result<()> {
        let is_off = |name: &&str| matches!(decision(&self.host.decisions, name), Decision::Off(_));
        let (off, programs): (Vec<&str>, Vec<&str>) = object.programs.iter().map(|(name, _)| *name).partition(is_off);
        let nanos = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        pinned.complete(ebpf, &programs, &off, self.target.scope, nanos)
    }
}
