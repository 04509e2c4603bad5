//! Attributes per-cgroup counters to containers and their ancestors. Pure.
//!
//! State that must survive the agent is in maps, behind [`CounterStore`]; state held only here may be lost.

use std::collections::BTreeMap;
use std::io;

use bytemuck::Pod;
use monitor_common::{Lineage, Retired};

use crate::snapshot::{CgroupId, Coverage, Scope, Snapshot};

/// Samples for which a removed cgroup keeps its entry in the map, because its last tasks may still be exiting. Then its
/// counters are folded into the container that it was in.
const READINGS: u32 = 2;

/// Bound on the depth of a cgroup tree.
const DEEPEST: usize = 64;

/// Adds one value to another.
pub(super) type Add<V> = fn(&mut V, &V);

/// The maps beside the counters.
pub(super) trait CounterStore<V: Pod> {
    /// Returns the place of a cgroup that has counters.
    fn lineage(&self, id: u64) -> io::Result<Lineage>;
    /// Returns the retired counters, by container.
    fn retired(&self) -> io::Result<Vec<(u64, Retired<V>)>>;
    /// Writes the retired counters of a container, atomically.
    fn retire(&mut self, container: u64, retired: &Retired<V>) -> io::Result<()>;
    /// Removes the retired counters of a container.
    fn release(&mut self, container: u64) -> io::Result<()>;
    /// Removes a cgroup's counters, from the previous map if `of_previous`, and returns them, atomically; `None` if it
    /// has none.
    fn take(&mut self, id: u64, of_previous: bool) -> io::Result<Option<V>>;
    /// Returns the counters in the previous, smaller map.
    fn previous(&mut self) -> io::Result<Vec<(u64, V)>>;
    /// Drops the previous map, which is empty.
    fn forget_previous(&mut self);
}

/// The attribution of one group of counters, from one sample to the next.
#[derive(Debug)]
pub(super) struct Attribution<V: Pod> {
    add: Add<V>,
    /// Counters of removed cgroups, by the containers that they were in: a copy of the map.
    retired: BTreeMap<u64, Retired<V>>,
    gone: BTreeMap<u64, Gone<V>>,
    /// Cached lineages of removed cgroups.
    lineages: BTreeMap<u64, Lineage>,
}

/// A removed cgroup that still has counters.
#[derive(Debug)]
struct Gone<V> {
    /// The number of samples since its removal.
    readings: u32,
    lineage: Lineage,
    /// The innermost container around it that still exists.
    heir: Option<CgroupId>,
    /// Its counters that are still in the map.
    counted: Option<V>,
}

impl<V: Pod + Default> Attribution<V> {
    /// Takes over the state that the previous agent has left, also one that was killed during a move.
    ///
    /// # Errors
    /// An error of the maps.
    pub(super) fn new(add: Add<V>, store: &mut impl CounterStore<V>) -> io::Result<Self> {
        let mut attribution = Self {
            add,
            retired: store.retired()?.into_iter().collect(),
            gone: BTreeMap::new(),
            lineages: BTreeMap::new(),
        };
        attribution.finish_moves(store)?;
        Ok(attribution)
    }

    /// Returns the number of containers with retired counters.
    pub(super) fn retired(&self) -> usize {
        self.retired.len()
    }

    /// True if no move is in progress; a move must finish in the map where it started.
    pub(super) fn has_no_pending_move(&self) -> bool {
        !self.retired.values().any(has_pending_move)
    }

    /// Finishes the moves that a killed agent or a failed call has left pending. Must run before the counters are read:
    /// until then a cgroup that is being moved is counted twice.
    ///
    /// # Errors
    /// An error of the maps.
    pub(super) fn finish_moves(&mut self, store: &mut impl CounterStore<V>) -> io::Result<()> {
        let pending = self.retired.iter().filter(|(_, retired)| has_pending_move(retired));
        let heirs: Vec<u64> = pending.map(|(id, _)| *id).collect();
        heirs.into_iter().try_for_each(|heir| {
            self.remove_counts(heir, store)?;
            self.remove_inherited(heir, store)
        })
    }

    /// Folds the counters of the previous map into the retired ones: each cgroup's under its own id, in scope `self`
    /// under the container's. Must run before the counters are read.
    ///
    /// # Errors
    /// An error of the maps. Counters that were not moved move at the next sample.
    pub(super) fn fold_previous(&mut self, snapshot: &Snapshot, store: &mut impl CounterStore<V>) -> io::Result<()> {
        let own = snapshot.cgroups.keys().next().filter(|_| snapshot.scope == Scope::SelfContainer);
        for (id, counted) in store.previous()? {
            let heir = own.map_or(id, |own| own.0);
            let lineage = store.lineage(id)?.up_to(heir);
            self.fold_into(heir, id, &counted, lineage, true, store)?;
        }
        store.forget_previous();
        Ok(())
    }

    /// Folds the counters of removed cgroups into the container's; for scope `self`.
    ///
    /// # Errors
    /// An error of the maps. Counters that were not moved move at the next sample.
    pub(super) fn clean(
        &mut self,
        own: CgroupId,
        counts: &[(u64, V)],
        is_there: impl Fn(u64) -> bool,
        store: &mut impl CounterStore<V>,
    ) -> io::Result<()> {
        for (id, counted) in counts.iter().filter(|(id, _)| !is_there(*id)) {
            self.fold_into(own.0, *id, counted, Lineage::default(), false, store)?;
        }
        Ok(())
    }

    /// Adds a cgroup's counters to the retired ones of `heir`, and removes them from the map.
    fn fold_into(
        &mut self,
        heir: u64,
        id: u64,
        counted: &V,
        lineage: Lineage,
        of_previous: bool,
        store: &mut impl CounterStore<V>,
    ) -> io::Result<()> {
        self.write(heir, store, |retired, add| {
            retired.before = retired.sum;
            let mut sum = retired.sum;
            add(&mut sum, counted);
            (retired.sum, retired.pending, retired.of_previous) = (sum, id, u64::from(of_previous));
            if lineage.ids().next().is_some() {
                retired.lineage = lineage;
            }
        })?;
        self.remove_counts(heir, store)
    }

    /// Returns the counters of each cgroup of the snapshot, then folds those of removed cgroups into the containers
    /// that they were in. The second value is the error of a move; what was not moved stays for the next sample.
    pub(super) fn attribute(
        &mut self,
        counts: &[(u64, V)],
        snapshot: &Snapshot,
        store: &mut impl CounterStore<V>,
    ) -> (BTreeMap<CgroupId, V>, io::Result<()>) {
        let mut sums: BTreeMap<CgroupId, V> = snapshot.cgroups.keys().map(|id| (*id, V::default())).collect();
        if snapshot.scope == Scope::SelfContainer {
            // In scope `self` the programs count nothing outside the container.
            for sum in sums.values_mut() {
                counts.iter().for_each(|(_, count)| (self.add)(sum, count));
                self.retired.values().for_each(|retired| (self.add)(sum, &{ retired.sum }));
            }
            return (sums, Ok(()));
        }
        let root = snapshot.cgroups.iter().find(|(_, cgroup)| cgroup.identity.is_root).map(|(id, _)| *id);
        let mut gone = BTreeMap::new();
        let retired: Vec<_> = self.retired.iter().map(|(id, retired)| (CgroupId(*id), retired.sum, false)).collect();
        let counts = counts.iter().map(|(id, count)| (CgroupId(*id), *count, true));
        for (id, count, is_own) in counts.chain(retired) {
            let is_gone = !snapshot.places.contains_key(&id);
            let lineage = is_gone.then(|| self.lineage(id.0, store));
            let chain = chain(id, lineage.as_ref(), snapshot, root);
            for member in &chain {
                if let Some(sum) = sums.get_mut(member) {
                    (self.add)(sum, &count);
                }
            }
            if let Some(lineage) = lineage {
                let readings = 1 + self.gone.get(&id.0).map_or(0, |gone| gone.readings);
                // A container that is removed itself cannot inherit.
                let heir = chain.into_iter().find(|member| snapshot.places.contains_key(member)).or(root);
                gone.entry(id.0).or_insert(Gone { readings, lineage, heir, counted: is_own.then_some(count) });
            }
        }
        if snapshot.coverage == Coverage::Exited {
            // A sample of exited containers does not list the living cgroups.
            return (sums, Ok(()));
        }
        self.lineages.retain(|id, _| gone.contains_key(id));
        self.gone = gone;
        (sums, self.retire(store))
    }

    fn lineage(&mut self, id: u64, store: &impl CounterStore<V>) -> Lineage {
        let retired = self.retired.get(&id).map(|retired| retired.lineage);
        // With an unknown lineage the cgroup still counts for the machine.
        let read = || retired.or_else(|| store.lineage(id).ok()).unwrap_or_default();
        *self.lineages.entry(id).or_insert_with(read)
    }

    /// Folds the counters of cgroups that were removed more than `READINGS` samples ago.
    fn retire(&mut self, store: &mut impl CounterStore<V>) -> io::Result<()> {
        let due: Vec<u64> = self.gone.iter().filter(|(_, gone)| gone.readings > READINGS).map(|(id, _)| *id).collect();
        for id in due {
            let Some(&Gone { heir: Some(heir), lineage, counted, .. }) = self.gone.get(&id) else { continue };
            let heir = heir.0;
            if let Some(counted) = counted {
                self.fold_into(heir, id, &counted, lineage.up_to(heir), false, store)?;
            }
            if let Some(inherited) = self.retired.get(&id).map(|retired| retired.sum) {
                self.write(heir, store, |retired, add| {
                    let mut sum = retired.sum;
                    add(&mut sum, &inherited);
                    (retired.sum, retired.inherits, retired.lineage) = (sum, id, lineage.up_to(heir));
                })?;
                self.remove_inherited(heir, store)?;
            }
            self.gone.remove(&id);
        }
        Ok(())
    }

    /// Removes the counters that were added to `heir`, and adds what they have gained meanwhile.
    fn remove_counts(&mut self, heir: u64, store: &mut impl CounterStore<V>) -> io::Result<()> {
        let pending = self.retired.get(&heir).map(|retired| (retired.pending, retired.of_previous != 0));
        let Some((id, of_previous)) = pending.filter(|(id, _)| *id != 0) else { return Ok(()) };
        if let (Some(own), Some(retired)) = (store.take(id, of_previous)?, self.retired.get_mut(&heir)) {
            // Kept in memory before the next fallible call: the counters can be taken only once.
            let mut sum = retired.before;
            (self.add)(&mut sum, &own);
            (retired.before, retired.sum) = (sum, sum);
        }
        self.write(heir, store, |retired, _| {
            (retired.before, retired.pending, retired.of_previous) = (V::default(), 0, 0);
        })
    }

    /// Removes the retired counters of a removed container that were added to `heir`.
    fn remove_inherited(&mut self, heir: u64, store: &mut impl CounterStore<V>) -> io::Result<()> {
        let Some(id) = self.retired.get(&heir).map(|retired| retired.inherits).filter(|id| *id != 0) else {
            return Ok(());
        };
        store.release(id)?;
        self.retired.remove(&id);
        self.write(heir, store, |retired, _| retired.inherits = 0)
    }

    /// Changes the retired counters of a container, in the map first.
    fn write(
        &mut self,
        heir: u64,
        store: &mut impl CounterStore<V>,
        change: impl FnOnce(&mut Retired<V>, Add<V>),
    ) -> io::Result<()> {
        let mut retired = self.retired.get(&heir).copied().unwrap_or_default();
        change(&mut retired, self.add);
        store.retire(heir, &retired)?;
        self.retired.insert(heir, retired);
        Ok(())
    }
}

fn has_pending_move<V: Pod>(retired: &Retired<V>) -> bool {
    retired.pending != 0 || retired.inherits != 0
}

/// Returns the containers that a cgroup counts for, from the innermost to the machine. For a removed cgroup they come
/// from its lineage, or from its last known place.
fn chain(id: CgroupId, lineage: Option<&Lineage>, snapshot: &Snapshot, root: Option<CgroupId>) -> Vec<CgroupId> {
    let place = |id: &CgroupId| snapshot.places.get(id).or_else(|| snapshot.gone.get(id));
    let mut chain: Vec<CgroupId> = match lineage.filter(|lineage| lineage.ids().next().is_some()) {
        Some(lineage) => {
            let above = lineage.ids().rev().map(CgroupId).filter(|other| *other != id);
            std::iter::once(id).chain(above).filter(|id| snapshot.cgroups.contains_key(id)).collect()
        }
        None => {
            let owner = place(&id).map(|place| place.owner);
            std::iter::successors(owner, |inner| place(inner)?.outer).take(DEEPEST).collect()
        }
    };
    chain.extend(root.filter(|root| chain.last() != Some(root)));
    chain
}

#[cfg(test)]
mod tests;
