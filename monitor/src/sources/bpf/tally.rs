//! Whose the counts are: a cgroup's own belong to the container that it is in and to all around that one. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::snapshot::{CgroupId, Extent, Place, Scope, Snapshot};

/// A cgroup that is gone is counted in the map for so many readings more, for those whose tasks still end; then its counts
/// move to what it was in.
const READINGS: u32 = 2;

/// No tree is deeper.
const DEEPEST: usize = 64;

/// Adds one count to another.
pub(super) type Add<V> = fn(&mut V, &V);

/// What is remembered from reading to reading.
#[derive(Debug)]
pub(super) struct Tally<V> {
    add: Add<V>,
    /// What cgroups counted that are gone, by the containers that they were in.
    retired: BTreeMap<CgroupId, V>,
    /// The cgroups of the reading before, and those that are gone since.
    places: BTreeMap<CgroupId, Place>,
    gone: BTreeMap<CgroupId, u32>,
}

impl<V: Copy + Default> Tally<V> {
    pub(super) fn new(add: Add<V>) -> Self {
        Self { add, retired: BTreeMap::new(), places: BTreeMap::new(), gone: BTreeMap::new() }
    }

    /// The counts of each cgroup of the snapshot, and the keys that are to leave the map: their counts are kept here.
    pub(super) fn sort(
        &mut self,
        counts: &[(CgroupId, V)],
        snapshot: &Snapshot,
    ) -> (BTreeMap<CgroupId, V>, Vec<CgroupId>) {
        let mut sums: BTreeMap<CgroupId, V> =
            snapshot.cgroups.keys().map(|id| (*id, self.retired.get(id).copied().unwrap_or_default())).collect();
        if snapshot.scope == Scope::Own {
            // The programs count nothing else.
            for sum in sums.values_mut() {
                counts.iter().for_each(|(_, count)| (self.add)(sum, count));
            }
            return (sums, Vec::new());
        }
        let root = snapshot.cgroups.iter().find(|(_, cgroup)| cgroup.identity.is_root).map(|(id, _)| *id);
        let mut leaving = Vec::new();
        for (id, count) in counts {
            let chain = self.chain(*id, snapshot, root);
            for member in &chain {
                if let Some(sum) = sums.get_mut(member) {
                    (self.add)(sum, count);
                }
            }
            if snapshot.extent == Extent::Ended {
                continue;
            }
            if snapshot.places.contains_key(id) {
                self.gone.remove(id);
                continue;
            }
            let readings = self.gone.entry(*id).or_default();
            *readings += 1;
            if *readings > READINGS {
                for member in chain {
                    (self.add)(self.retired.entry(member).or_default(), count);
                }
                leaving.push(*id);
            }
        }
        if snapshot.extent == Extent::Whole {
            self.forget(&leaving, snapshot);
        }
        (sums, leaving)
    }

    /// The containers that a cgroup counts for, from the innermost to the machine.
    fn chain(&self, id: CgroupId, snapshot: &Snapshot, root: Option<CgroupId>) -> Vec<CgroupId> {
        let place =
            |id: CgroupId| snapshot.places.get(&id).or_else(|| snapshot.gone.get(&id)).or_else(|| self.places.get(&id));
        let mut chain: Vec<CgroupId> = place(id).map(|place| place.owner).into_iter().collect();
        while let Some(outer) = chain.last().and_then(|last| place(*last)?.outer).filter(|_| chain.len() < DEEPEST) {
            chain.push(outer);
        }
        // What nobody has seen the place of has been on the machine all the same.
        chain.extend(root.filter(|root| chain.last() != Some(root)));
        chain
    }

    fn forget(&mut self, leaving: &[CgroupId], snapshot: &Snapshot) {
        self.gone.retain(|id, _| !leaving.contains(id));
        self.retired.retain(|id, _| snapshot.cgroups.contains_key(id));
        // The place of what is gone is remembered while something may be counted for it, with those around it.
        let mut kept = snapshot.places.clone();
        let mut wanted: Vec<CgroupId> = self.gone.keys().chain(snapshot.gone.keys()).copied().collect();
        let mut seen = BTreeSet::new();
        while let Some(id) = wanted.pop() {
            let known = snapshot.gone.get(&id).or_else(|| self.places.get(&id));
            if let (false, true, Some(place)) = (kept.contains_key(&id), seen.insert(id), known) {
                kept.insert(id, *place);
                wanted.extend(place.outer);
                wanted.push(place.owner);
            }
        }
        self.places = kept;
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use proptest::prelude::*;

    use super::*;
    use crate::snapshot::{Cgroup, Identity, Stamp};

    const ROOT: u64 = 1;

    /// A machine: containers with the one that they lie in, and plain cgroups with their owner.
    fn snapshot(containers: &[(u64, u64)], plain: &[(u64, u64)]) -> Snapshot {
        let mut now = Snapshot::new(Stamp { mono: Duration::ZERO, wall: SystemTime::UNIX_EPOCH });
        now.scope = Scope::Host;
        let identity = Identity { is_root: true, ..Identity::default() };
        now.cgroups.insert(CgroupId(ROOT), Cgroup { identity: identity.into(), ..Cgroup::default() });
        now.places.insert(CgroupId(ROOT), Place { owner: CgroupId(ROOT), outer: None });
        for &(id, outer) in containers {
            now.cgroups.insert(CgroupId(id), Cgroup::default());
            now.places.insert(CgroupId(id), Place { owner: CgroupId(id), outer: Some(CgroupId(outer)) });
        }
        for &(id, owner) in plain {
            now.places.insert(CgroupId(id), Place { owner: CgroupId(owner), outer: None });
        }
        now
    }

    fn tally() -> Tally<u64> {
        Tally::new(|sum, count| *sum += count)
    }

    fn sort(tally: &mut Tally<u64>, counts: &[(u64, u64)], now: &Snapshot) -> (Vec<(u64, u64)>, Vec<u64>) {
        let counts: Vec<_> = counts.iter().map(|(id, count)| (CgroupId(*id), *count)).collect();
        let (sums, leaving) = tally.sort(&counts, now);
        (sums.into_iter().map(|(id, sum)| (id.0, sum)).collect(), leaving.into_iter().map(|id| id.0).collect())
    }

    #[test]
    fn a_cgroups_counts_are_its_containers_and_all_around_it() {
        let now = snapshot(&[(10, ROOT), (20, 10)], &[(11, 10), (21, 20), (2, ROOT)]);
        let (sums, leaving) = sort(&mut tally(), &[(11, 1), (21, 2), (20, 4), (2, 8)], &now);
        assert_eq!(sums, [(ROOT, 15), (10, 7), (20, 6)]);
        assert!(leaving.is_empty());
    }

    #[test]
    fn in_the_own_scope_everything_is_the_containers() {
        let mut now = snapshot(&[], &[]);
        now.scope = Scope::Own;
        assert_eq!(sort(&mut tally(), &[(5, 1), (6, 2)], &now).0, [(ROOT, 3)]);
    }

    #[test]
    fn the_counts_of_a_cgroup_that_is_gone_stay_with_its_container() {
        let mut tally = tally();
        sort(&mut tally, &[(11, 5)], &snapshot(&[(10, ROOT)], &[(11, 10)]));
        let now = snapshot(&[(10, ROOT)], &[]);
        for _ in 0..READINGS {
            assert_eq!(sort(&mut tally, &[(11, 6)], &now), (vec![(ROOT, 6), (10, 6)], vec![]));
        }
        assert_eq!(sort(&mut tally, &[(11, 6)], &now), (vec![(ROOT, 6), (10, 6)], vec![11]));
        assert_eq!(sort(&mut tally, &[], &now), (vec![(ROOT, 6), (10, 6)], vec![]));
    }

    #[test]
    fn the_counts_of_a_container_that_ended_stay_with_the_machine_and_nothing_else_is_kept() {
        let mut tally = tally();
        sort(&mut tally, &[(10, 5)], &snapshot(&[(10, ROOT)], &[]));
        let mut ended = snapshot(&[], &[]);
        ended.cgroups.insert(CgroupId(10), Cgroup::default());
        assert_eq!(sort(&mut tally, &[(10, 7)], &ended).0, [(ROOT, 7), (10, 7)]);
        let now = snapshot(&[], &[]);
        while sort(&mut tally, &[(10, 7)], &now).1.is_empty() {}
        assert_eq!(sort(&mut tally, &[], &now).0, [(ROOT, 7)]);
        assert!(tally.gone.is_empty() && tally.retired.len() == 1 && tally.places.len() == 1);
    }

    #[test]
    fn a_container_that_lived_between_two_readings_has_its_counts_and_so_has_all_around_it() {
        let mut tally = tally();
        sort(&mut tally, &[(10, 5)], &snapshot(&[(10, ROOT)], &[]));
        let mut between = snapshot(&[], &[]);
        between.extent = Extent::Ended;
        between.cgroups = BTreeMap::from([(CgroupId(20), Cgroup::default())]);
        between.gone.insert(CgroupId(20), Place { owner: CgroupId(20), outer: Some(CgroupId(10)) });
        between.gone.insert(CgroupId(21), Place { owner: CgroupId(20), outer: None });
        assert_eq!(sort(&mut tally, &[(10, 5), (20, 1), (21, 2)], &between), (vec![(20, 3)], vec![]));
        let mut now = snapshot(&[(10, ROOT)], &[]);
        now.gone = between.gone;
        let counts = [(10, 5), (20, 1), (21, 2)];
        assert_eq!(sort(&mut tally, &counts, &now), (vec![(ROOT, 8), (10, 8)], vec![]));
        now.gone.clear();
        while sort(&mut tally, &counts, &now).1.is_empty() {}
        assert_eq!(sort(&mut tally, &[(10, 5)], &now).0, [(ROOT, 8), (10, 8)]);
        assert!(tally.gone.is_empty() && tally.places.len() == 2);
    }

    proptest! {
        #[test]
        fn whatever_comes_and_goes_the_machine_never_counts_backwards_and_nothing_leaks(steps in proptest::collection::vec((proptest::collection::btree_set(2u64..12, 0..6), proptest::collection::vec(0u64..5, 12)), 1..40)) {
            let mut tally = tally();
            let mut map: BTreeMap<u64, u64> = BTreeMap::new();
            let mut before = 0;
            let mut all = 0;
            for (alive, counts) in steps {
                let containers: Vec<_> = alive.iter().map(|id| (*id, ROOT)).collect();
                for (id, count) in (0u64..).zip(counts) {
                    // Something may still be counted for a cgroup that is gone, or that no walk has seen.
                    if id > 1 && count > 0 {
                        *map.entry(id).or_default() += count;
                        all += count;
                    }
                }
                let counts: Vec<_> = map.iter().map(|(id, count)| (*id, *count)).collect();
                let (sums, leaving) = sort(&mut tally, &counts, &snapshot(&containers, &[]));
                for id in leaving {
                    map.remove(&id);
                }
                let root = sums.iter().find(|(id, _)| *id == ROOT).unwrap().1;
                prop_assert!(root >= before && root == all, "{} of {}", root, all);
                before = root;
                prop_assert!(tally.retired.len() <= alive.len() + 1 && tally.gone.len() <= map.len());
            }
        }
    }
}
