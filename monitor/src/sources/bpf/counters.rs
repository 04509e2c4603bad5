//! Counters of one object, while its programs are attached.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::SystemTime;

use aya::Ebpf;
use aya::maps::{MapData, PerCpuArray};
use aya_log::EbpfLogger;
use bytemuck::Pod;

use super::attribution::Attribution;
use super::growable::GrowableMaps;
use super::program_log::ToTracing;
use super::sys;
use crate::cause::{Cause, CauseKind};
use crate::containers::walk;
use crate::snapshot::{CgroupId, Scope, Snapshot};

/// The counters of one object, while its programs are attached.
pub(super) struct Counters<V: Pod> {
    /// Keeps programs, maps and links alive.
    _ebpf: Ebpf,
    _links: Vec<OwnedFd>,
    maps: GrowableMaps<V>,
    attribution: Attribution<V>,
    /// The directory of the cgroup that is counted, with its descendants.
    top: PathBuf,
    pub(super) since: SystemTime,
    lost: Option<PerCpuArray<MapData, u64>>,
    known_lost: u64,
    trampolines: Vec<Trampoline>,
    log: Option<EbpfLogger<ToTracing>>,
}

/// The counters of each cgroup of a sample, including its descendants.
pub(super) struct Counted<V> {
    sums: BTreeMap<CgroupId, V>,
    /// True if a map was full since the previous sample.
    is_short: bool,
    /// The programs that the kernel skipped at some of their events since then.
    pub(super) missed: Vec<&'static str>,
    /// An error that affected no metric.
    pub(super) failure: io::Result<()>,
}

impl<V: Copy + Default + PartialEq> Counted<V> {
    /// Returns the counters of a cgroup, or the cause if events were lost. A full map loses the events of cgroups that
    /// are not in it yet, and so the totals miss them as well.
    pub(super) fn of(&self, id: CgroupId, is_all: bool) -> Option<Result<V, Cause>> {
        let sum = *self.sums.get(&id)?;
        let is_short = self.is_short && (is_all || sum == V::default());
        let lost = || Cause::new(CauseKind::LostEvents, "an eBPF map is full: not all events are counted");
        Some(if is_short { Err(lost()) } else { Ok(sum) })
    }
}

impl<V: Pod + Default> Counters<V> {
    /// Takes over the counters of a loaded object, which count in and below the cgroup `top` since `since`.
    pub(super) fn new(
        mut ebpf: Ebpf,
        attached: (Vec<OwnedFd>, Vec<Trampoline>),
        maps: GrowableMaps<V>,
        attribution: Attribution<V>,
        (top, since): (PathBuf, SystemTime),
    ) -> Self {
        let lost = ebpf.take_map("LOST").and_then(|map| PerCpuArray::try_from(map).ok());
        // Already reported by the previous agent.
        let known_lost = lost.as_ref().and_then(lost_events).unwrap_or(0);
        let log = EbpfLogger::init_with_logger(&mut ebpf, ToTracing).ok();
        let (links, trampolines) = attached;
        Self { _ebpf: ebpf, _links: links, maps, attribution, top, since, lost, known_lost, trampolines, log }
    }

    /// Reads the counters of each cgroup of the snapshot, over all CPUs and including its descendants.
    pub(super) fn read(&mut self, snapshot: &Snapshot) -> io::Result<Counted<V>> {
        if let Some(log) = &mut self.log {
            log.flush();
        }
        self.attribution.finish_moves(&mut self.maps)?;
        self.attribution.fold_previous(snapshot, &mut self.maps)?;
        let counts = self.maps.counts()?;
        let (sums, failure) = self.attribution.attribute(&counts, snapshot, &mut self.maps);
        let grown = self.grow(snapshot, &counts);
        let lost = self.lost.as_ref().and_then(lost_events).unwrap_or(self.known_lost);
        let is_short = lost > std::mem::replace(&mut self.known_lost, lost);
        let missed = self.trampolines.iter_mut().filter_map(Trampoline::has_missed).collect();
        Ok(Counted { sums, is_short, missed, failure: failure.and(grown) })
    }

    /// Returns the total number of events that were not counted.
    pub(super) fn lost(&self) -> u64 {
        self.known_lost + self.trampolines.iter().map(|trampoline| trampoline.missed).sum::<u64>()
    }

    /// Grows the maps when they are nearly full. In scope `self` no events report removed cgroups: their entries are
    /// removed first.
    fn grow(&mut self, snapshot: &Snapshot, counts: &[(u64, V)]) -> io::Result<()> {
        if !self.attribution.has_no_pending_move()
            || !self.maps.is_nearly_full(counts.len(), self.attribution.retired())
        {
            return Ok(());
        }
        let mut there = snapshot.places.len().max(counts.len());
        if let (Scope::SelfContainer, Some(own)) = (snapshot.scope, snapshot.cgroups.keys().next()) {
            let found: BTreeSet<u64> = walk::tree(&self.top)?.iter().map(|directory| directory.id.0).collect();
            self.attribution.clean(*own, counts, |id| found.contains(&id), &mut self.maps)?;
            there = found.len();
            if !self.maps.is_nearly_full(there, 0) {
                return Ok(());
            }
        }
        self.maps.grow(there, self.attribution.retired()).map_err(|error| {
            io::Error::new(error.kind(), format!("a map is nearly full and cannot be enlarged: {error}"))
        })
    }
}

/// Returns the number of events dropped because a map was full, over all CPUs; `None` if it cannot be read.
pub(super) fn lost_events(lost: &PerCpuArray<MapData, u64>) -> Option<u64> {
    lost.get(&0, 0).ok().map(|values| values.iter().sum())
}

/// A trampoline, attached to a tracepoint or a function. While a task is preempted in it, the kernel skips it for other
/// tasks on the same CPU, and counts that (`recursion_misses` of `struct bpf_prog_info`).
pub(super) struct Trampoline {
    name: &'static str,
    program: OwnedFd,
    missed: u64,
}

impl Trampoline {
    /// Misses up to now were reported by the previous agent.
    pub(super) fn new(name: &'static str, program: OwnedFd) -> Self {
        let missed = sys::recursion_misses(program.as_fd()).unwrap_or(0);
        Self { name, program, missed }
    }

    /// Returns its name if it has missed events since the last call.
    fn has_missed(&mut self) -> Option<&'static str> {
        let missed = sys::recursion_misses(self.program.as_fd()).unwrap_or(self.missed);
        (missed > std::mem::replace(&mut self.missed, missed)).then_some(self.name)
    }
}
