//! Growable maps of one object, replaced by larger ones before they are full.
//!
//! The programs find their maps in outer maps of one entry (map in map), which the agent updates atomically. The
//! counters of the previous map move, cgroup by cgroup, to the retired ones: both together are the totals at each
//! moment, also for the next agent. The pins are `COUNTS_n`, `LINEAGE_n` and `RETIRED_n`; the highest `n` for which all
//! three exist is the current one.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use aya::Ebpf;
use aya::maps::Map;
use bytemuck::Pod;
use monitor_common::{Lineage, Retired};

use super::attribution::{Add, CounterStore};
use super::sys::{self, Hash, PerCpuHash};

const COUNTS: &str = "COUNTS";
const LINEAGE: &str = "LINEAGE";
const RETIRED: &str = "RETIRED";
/// In the order of pinning.
const KINDS: [&str; 3] = [RETIRED, LINEAGE, COUNTS];

/// Returns the size of the maps for `cgroups` cgroups: twice as many entries, since new cgroups need room until the
/// next sample.
pub(super) fn entries(cgroups: usize, least: u32) -> u32 {
    let twice = cgroups.saturating_mul(2).checked_next_power_of_two().unwrap_or(usize::MAX);
    u32::try_from(twice).unwrap_or(u32::MAX).max(least)
}

/// True if a map with room for `room` entries is due to be replaced by a larger one.
fn is_nearly_full(entries: usize, room: usize) -> bool {
    entries > room / 4 * 3
}

/// Returns the number behind the name of a pinned map of these kinds.
pub(super) fn number(name: &str) -> Option<u32> {
    let (kind, number) = name.rsplit_once('_')?;
    number.parse().ok().filter(|_| KINDS.contains(&kind))
}

/// The growable maps of one object.
pub(super) struct GrowableMaps<V: Pod> {
    number: u32,
    counts: PerCpuHash<V>,
    lineage: Hash<Lineage>,
    retired: Hash<Retired<V>>,
    /// The previous maps, until they are empty.
    previous: Option<(u32, PerCpuHash<V>, Hash<Lineage>)>,
    /// The outer maps in which the programs find counters and lineage.
    places: [OwnedFd; 2],
    /// The directory of the pins.
    dir: Option<PathBuf>,
    pub(super) add: Add<V>,
}

impl<V: Pod + Default> GrowableMaps<V> {
    /// Opens the maps that the previous agent has pinned in `dir`, or creates maps with `entries` entries, then
    /// publishes them to the programs. `counts` is the name of the outer map of the counters.
    ///
    /// # Errors
    /// The kernel's error, or a missing map of the object.
    pub(super) fn open(ebpf: &Ebpf, counts: &str, add: Add<V>, dir: Option<&Path>, entries: u32) -> io::Result<Self> {
        let place = |name: &str| match ebpf.map(name) {
            Some(Map::ArrayOfMaps(map)) => map.fd().as_fd().try_clone_to_owned(),
            _ => Err(io::Error::other(format!("the object has no map {name}"))),
        };
        let places = [place(counts)?, place(LINEAGE)?];
        let at = |kind: &str, number: u32| dir.map(|dir| dir.join(format!("{kind}_{number}")));
        let pinned: Vec<u32> = dir.map(numbers).transpose()?.unwrap_or_default();
        let is_whole = |number: &&u32| KINDS.iter().all(|kind| at(kind, **number).is_some_and(|path| path.exists()));
        let Some(&newest) = pinned.iter().filter(is_whole).max() else {
            let mut maps = Self::make(places, 1, entries, add)?;
            maps.dir = dir.map(Path::to_owned);
            maps.pin()?;
            maps.publish()?;
            return Ok(maps);
        };
        let open = |number: u32| {
            let path = |kind| at(kind, number).unwrap_or_default();
            Ok::<_, io::Error>((PerCpuHash::open(&path(COUNTS))?, Hash::open(&path(LINEAGE))?))
        };
        let mut previous = None;
        for &other in pinned.iter().filter(|other| **other != newest) {
            // A set that is incomplete, or whose counters have moved, is removed.
            match open(other) {
                Ok((counts, lineage)) if other < newest => previous = Some((other, counts, lineage)),
                _ => forget(dir, other, &KINDS),
            }
        }
        let (counts, lineage) = open(newest)?;
        let retired = Hash::open(&at(RETIRED, newest).unwrap_or_default())?;
        let dir = dir.map(Path::to_owned);
        let maps = Self { number: newest, counts, lineage, retired, previous, places, dir, add };
        maps.publish()?;
        Ok(maps)
    }

    fn make(places: [OwnedFd; 2], number: u32, entries: u32, add: Add<V>) -> io::Result<Self> {
        let counts = PerCpuHash::make(COUNTS, entries)?;
        let lineage = Hash::make(LINEAGE, entries)?;
        let retired = Hash::make(RETIRED, entries)?;
        Ok(Self { number, counts, lineage, retired, previous: None, places, dir: None, add })
    }

    fn pin(&self) -> io::Result<()> {
        let Some(dir) = &self.dir else { return Ok(()) };
        let maps = [self.retired.as_fd(), self.lineage.as_fd(), self.counts.as_fd()];
        KINDS.iter().zip(maps).try_for_each(|(kind, map)| sys::pin(map, &dir.join(format!("{kind}_{}", self.number))))
    }

    /// Publishes these maps to the programs. The lineage comes first: a cgroup's place must be recorded before it
    /// counts.
    fn publish(&self) -> io::Result<()> {
        sys::exchange(self.places[1].as_fd(), self.lineage.as_fd())?;
        sys::exchange(self.places[0].as_fd(), self.counts.as_fd())
    }

    /// True if this number of counters, or of retired ones, nearly fills the maps.
    pub(super) fn is_nearly_full(&self, counts: usize, retired: usize) -> bool {
        is_nearly_full(counts, self.room()) || is_nearly_full(retired, self.retired.room())
    }

    /// Returns the number of cgroups that fit.
    fn room(&self) -> usize {
        self.counts.room().min(self.lineage.room())
    }

    /// Replaces the maps by larger ones for `cgroups` cgroups and `retired` retired ones, unless the previous ones
    /// still have counters.
    ///
    /// # Errors
    /// The kernel's error if larger maps cannot be created: the current ones stay in use until they are full.
    pub(super) fn grow(&mut self, cgroups: usize, retired: usize) -> io::Result<()> {
        if self.previous.is_some() {
            return Ok(());
        }
        let least = u32::try_from(self.room()).unwrap_or(u32::MAX);
        let entries = entries(cgroups, least);
        let places = [self.places[0].try_clone()?, self.places[1].try_clone()?];
        let mut next = Self::make(places, self.number + 1, entries, self.add)?;
        if cgroups + retired > next.retired.room() / 2 {
            next.retired = Hash::make(RETIRED, self::entries(cgroups + retired, least))?;
        }
        for (id, retired) in self.retired.entries()? {
            next.retired.put(id, &retired)?;
        }
        next.dir.clone_from(&self.dir);
        if let Err(error) = next.pin().and_then(|()| next.publish()) {
            _ = self.publish();
            forget(self.dir.as_deref(), next.number, &KINDS);
            return Err(error);
        }
        forget(self.dir.as_deref(), self.number, &[RETIRED]);
        let before = std::mem::replace(self, next);
        self.previous = Some((before.number, before.counts, before.lineage));
        tracing::info!(from = least, to = entries, "Grew eBPF maps");
        Ok(())
    }

    /// Returns the sums over all CPUs, by cgroup, of the current map.
    pub(super) fn counts(&mut self) -> io::Result<Vec<(u64, V)>> {
        sums(&mut self.counts, self.add)
    }
}

/// Returns the distinct numbers of the pinned maps.
fn numbers(dir: &Path) -> io::Result<Vec<u32>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        numbers.extend(entry?.file_name().to_str().and_then(number));
    }
    numbers.sort_unstable();
    numbers.dedup();
    Ok(numbers)
}

/// Removes pins; those of the counters first, since an incomplete set is removed by the next agent.
fn forget(dir: Option<&Path>, number: u32, kinds: &[&str]) {
    for (kind, dir) in kinds.iter().rev().zip(std::iter::repeat(dir)).filter_map(|(kind, dir)| Some((kind, dir?))) {
        // A missing pin is fine, and one that cannot be removed is removed by the next agent.
        _ = std::fs::remove_file(dir.join(format!("{kind}_{number}")));
    }
}

fn sums<V: Pod + Default>(counts: &mut PerCpuHash<V>, add: Add<V>) -> io::Result<Vec<(u64, V)>> {
    let mut all = Vec::new();
    counts.for_each(|id, values| all.push((id, sum(add, values))))?;
    Ok(all)
}

/// Sums the values of all CPUs.
fn sum<V: Pod + Default>(add: Add<V>, values: &[V]) -> V {
    values.iter().fold(V::default(), |mut sum, value| {
        add(&mut sum, value);
        sum
    })
}

impl<V: Pod + Default> CounterStore<V> for GrowableMaps<V> {
    fn lineage(&self, id: u64) -> io::Result<Lineage> {
        let known = |lineage: Option<Lineage>| lineage.filter(|lineage| lineage.ids().next().is_some());
        if let Some(lineage) = known(self.lineage.get(id)?) {
            return Ok(lineage);
        }
        let previous = self.previous.as_ref().map(|(.., lineage)| lineage.get(id)).transpose()?;
        Ok(known(previous.flatten()).unwrap_or_default())
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

    fn take(&mut self, id: u64, of_previous: bool) -> io::Result<Option<V>> {
        let counts = if of_previous {
            let Some((_, counts, _)) = &mut self.previous else { return Ok(None) };
            counts
        } else {
            // Removed first: a cgroup that counts again gets a new lineage.
            self.lineage.remove(id)?;
            &mut self.counts
        };
        Ok(counts.take(id)?.map(|values| sum(self.add, &values)))
    }

    fn previous(&mut self) -> io::Result<Vec<(u64, V)>> {
        let add = self.add;
        self.previous.as_mut().map_or_else(|| Ok(Vec::new()), |(_, counts, _)| sums(counts, add))
    }

    fn forget_previous(&mut self) {
        if let Some((number, ..)) = self.previous.take() {
            forget(self.dir.as_deref(), number, &KINDS);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_twice_as_many_as_there_are() {
        assert_eq!([0, 100, 128, 129, 10_000].map(|cgroups| entries(cgroups, 256)), [256, 256, 256, 512, 32_768]);
        assert!(!is_nearly_full(192, 256) && is_nearly_full(193, 256));
    }

    #[test]
    fn the_names_of_pins_tell_which_maps_belong_together() {
        assert_eq!(
            ["COUNTS_1", "RETIRED_12", "LINEAGE", "TASK_NEWTASK", "COUNTS_x"].map(number),
            [Some(1), Some(12), None, None, None]
        );
    }
}
