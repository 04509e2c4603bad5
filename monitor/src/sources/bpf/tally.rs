//! Whose the counts are: a cgroup's own belong to the container that it is in and to all around that one. Pure.
//!
//! Everything that must outlive the agent is in maps, behind [`Kept`]; what is only remembered here may be forgotten.

use std::collections::BTreeMap;
use std::io;

use bytemuck::Pod;
use monitor_common::{Lineage, Retired};

use crate::snapshot::{CgroupId, Coverage, Scope, Snapshot};

/// A cgroup that is gone is counted in the map for so many readings more, for those whose tasks still end; then its counts
/// move to what it was in.
const READINGS: u32 = 2;

/// No tree is deeper.
const DEEPEST: usize = 64;

/// Adds one count to another.
pub(super) type Add<V> = fn(&mut V, &V);

/// The maps beside the counts.
pub(super) trait Kept<V: Pod> {
    /// Where a cgroup of the counts lies.
    fn lineage(&self, id: u64) -> io::Result<Lineage>;
    /// All that has retired, by container.
    fn retired(&self) -> io::Result<Vec<(u64, Retired<V>)>>;
    /// Writes what has retired to a container, in one step.
    fn retire(&mut self, container: u64, retired: &Retired<V>) -> io::Result<()>;
    /// Removes a container's.
    fn release(&mut self, container: u64) -> io::Result<()>;
    /// Removes a cgroup from the counts, or from those of the smaller map before, in one step, and says what it had counted;
    /// `None` when it is not there.
    fn take(&mut self, id: u64, of_smaller: bool) -> io::Result<Option<V>>;
    /// What the smaller map holds that counted before the present one.
    fn smaller(&mut self) -> io::Result<Vec<(u64, V)>>;
    /// The smaller map holds nothing any more.
    fn forget_smaller(&mut self);
}

/// What is remembered from reading to reading.
#[derive(Debug)]
pub(super) struct Tally<V: Pod> {
    add: Add<V>,
    /// What cgroups counted that are gone, by the containers that they were in: as it stands in the map.
    retired: BTreeMap<u64, Retired<V>>,
    gone: BTreeMap<u64, Gone<V>>,
    /// Those that were asked for: of cgroups that are gone.
    lineages: BTreeMap<u64, Lineage>,
}

/// A cgroup that has counted and is not there any more.
#[derive(Debug)]
struct Gone<V> {
    /// For so many.
    readings: u32,
    lineage: Lineage,
    /// The innermost container around it that is still there.
    heir: Option<CgroupId>,
    /// What stands in the map under its own name.
    counted: Option<V>,
}

impl<V: Pod + Default> Tally<V> {
    /// Takes up what an agent before has left, also one that was killed in the middle.
    ///
    /// # Errors
    /// What the maps said.
    pub(super) fn new(add: Add<V>, kept: &mut impl Kept<V>) -> io::Result<Self> {
        let mut tally = Self {
            add,
            retired: kept.retired()?.into_iter().collect(),
            gone: BTreeMap::new(),
            lineages: BTreeMap::new(),
        };
        tally.settle(kept)?;
        Ok(tally)
    }

    /// How many containers have something retired.
    pub(super) fn retired(&self) -> usize {
        self.retired.len()
    }

    /// Whether nothing is half done. What is must be ended in the map in which it began.
    pub(super) fn is_settled(&self) -> bool {
        !self.retired.values().any(is_unsettled)
    }

    /// Ends what an agent that was killed, or a call that failed, has left half done. To be called before the counts are
    /// read: till then, a cgroup that moves is counted twice.
    ///
    /// # Errors
    /// What the maps said.
    pub(super) fn settle(&mut self, kept: &mut impl Kept<V>) -> io::Result<()> {
        let unsettled = self.retired.iter().filter(|(_, retired)| is_unsettled(retired));
        let heirs: Vec<u64> = unsettled.map(|(id, _)| *id).collect();
        heirs.into_iter().try_for_each(|heir| {
            self.remove_counts(heir, kept)?;
            self.remove_inherited(heir, kept)
        })
    }

    /// Moves all that a smaller map has counted to what has retired: of each cgroup to its own name, or in the own scope to
    /// the container's. To be called before the counts are read.
    ///
    /// # Errors
    /// What the maps said; what is left moves the next time.
    pub(super) fn move_up(&mut self, snapshot: &Snapshot, kept: &mut impl Kept<V>) -> io::Result<()> {
        let own = snapshot.cgroups.keys().next().filter(|_| snapshot.scope == Scope::Own);
        for (id, counted) in kept.smaller()? {
            let heir = own.map_or(id, |own| own.0);
            let lineage = kept.lineage(id)?.up_to(heir);
            self.put_away(heir, id, &counted, lineage, true, kept)?;
        }
        kept.forget_smaller();
        Ok(())
    }

    /// In the own scope: moves the counts of cgroups that are gone to the container's.
    ///
    /// # Errors
    /// What the maps said; what is left moves the next time.
    pub(super) fn clean(
        &mut self,
        own: CgroupId,
        counts: &[(u64, V)],
        is_there: impl Fn(u64) -> bool,
        kept: &mut impl Kept<V>,
    ) -> io::Result<()> {
        for (id, counted) in counts.iter().filter(|(id, _)| !is_there(*id)) {
            self.put_away(own.0, *id, counted, Lineage::default(), false, kept)?;
        }
        Ok(())
    }

    /// Adds what a cgroup has counted to what has retired, and removes it from the counts.
    fn put_away(
        &mut self,
        heir: u64,
        id: u64,
        counted: &V,
        lineage: Lineage,
        of_smaller: bool,
        kept: &mut impl Kept<V>,
    ) -> io::Result<()> {
        self.write(heir, kept, |retired, add| {
            retired.before = retired.sum;
            let mut sum = retired.sum;
            add(&mut sum, counted);
            (retired.sum, retired.pending, retired.smaller) = (sum, id, u64::from(of_smaller));
            if lineage.ids().next().is_some() {
                retired.lineage = lineage;
            }
        })?;
        self.remove_counts(heir, kept)
    }

    /// The counts of each cgroup of the snapshot. Those of cgroups that are gone then move to what these were in; what
    /// cannot move, for the reason that comes with the counts, stays for the next reading.
    pub(super) fn sort(
        &mut self,
        counts: &[(u64, V)],
        snapshot: &Snapshot,
        kept: &mut impl Kept<V>,
    ) -> (BTreeMap<CgroupId, V>, io::Result<()>) {
        let mut sums: BTreeMap<CgroupId, V> = snapshot.cgroups.keys().map(|id| (*id, V::default())).collect();
        if snapshot.scope == Scope::Own {
            // The programs count nothing else.
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
            let lineage = is_gone.then(|| self.lineage(id.0, kept));
            let chain = chain(id, lineage.as_ref(), snapshot, root);
            for member in &chain {
                if let Some(sum) = sums.get_mut(member) {
                    (self.add)(sum, &count);
                }
            }
            if let Some(lineage) = lineage {
                let readings = 1 + self.gone.get(&id.0).map_or(0, |gone| gone.readings);
                // One that has ended itself can take nothing over.
                let heir = chain.into_iter().find(|member| snapshot.places.contains_key(member)).or(root);
                gone.entry(id.0).or_insert(Gone { readings, lineage, heir, counted: is_own.then_some(count) });
            }
        }
        if snapshot.coverage == Coverage::Exited {
            // Of those that are not in it, it does not say that they are gone.
            return (sums, Ok(()));
        }
        self.lineages.retain(|id, _| gone.contains_key(id));
        self.gone = gone;
        (sums, self.retire(kept))
    }

    fn lineage(&mut self, id: u64, kept: &impl Kept<V>) -> Lineage {
        let retired = self.retired.get(&id).map(|retired| retired.lineage);
        // Without it, it has been on the machine all the same.
        let read = || retired.or_else(|| kept.lineage(id).ok()).unwrap_or_default();
        *self.lineages.entry(id).or_insert_with(read)
    }

    /// Moves the counts of those that have been gone long enough.
    fn retire(&mut self, kept: &mut impl Kept<V>) -> io::Result<()> {
        let due: Vec<u64> = self.gone.iter().filter(|(_, gone)| gone.readings > READINGS).map(|(id, _)| *id).collect();
        for id in due {
            let Some(&Gone { heir: Some(heir), lineage, counted, .. }) = self.gone.get(&id) else { continue };
            let heir = heir.0;
            if let Some(counted) = counted {
                self.put_away(heir, id, &counted, lineage.up_to(heir), false, kept)?;
            }
            if let Some(inherited) = self.retired.get(&id).map(|retired| retired.sum) {
                self.write(heir, kept, |retired, add| {
                    let mut sum = retired.sum;
                    add(&mut sum, &inherited);
                    (retired.sum, retired.inherits, retired.lineage) = (sum, id, lineage.up_to(heir));
                })?;
                self.remove_inherited(heir, kept)?;
            }
            self.gone.remove(&id);
        }
        Ok(())
    }

    /// Removes the counts that have been added to a container's, which takes over what they have become meanwhile.
    fn remove_counts(&mut self, heir: u64, kept: &mut impl Kept<V>) -> io::Result<()> {
        let pending = self.retired.get(&heir).map(|retired| (retired.pending, retired.smaller != 0));
        let Some((id, of_smaller)) = pending.filter(|(id, _)| *id != 0) else { return Ok(()) };
        if let (Some(own), Some(retired)) = (kept.take(id, of_smaller)?, self.retired.get_mut(&heir)) {
            // Remembered before anything else can fail: it cannot be taken twice.
            let mut sum = retired.before;
            (self.add)(&mut sum, &own);
            (retired.before, retired.sum) = (sum, sum);
        }
        self.write(heir, kept, |retired, _| {
            (retired.before, retired.pending, retired.smaller) = (V::default(), 0, 0);
        })
    }

    /// Removes what had retired to a container that is gone itself, and has been added to another's.
    fn remove_inherited(&mut self, heir: u64, kept: &mut impl Kept<V>) -> io::Result<()> {
        let Some(id) = self.retired.get(&heir).map(|retired| retired.inherits).filter(|id| *id != 0) else {
            return Ok(());
        };
        kept.release(id)?;
        self.retired.remove(&id);
        self.write(heir, kept, |retired, _| retired.inherits = 0)
    }

    /// Changes what has retired to a container, in the map first.
    fn write(
        &mut self,
        heir: u64,
        kept: &mut impl Kept<V>,
        change: impl FnOnce(&mut Retired<V>, Add<V>),
    ) -> io::Result<()> {
        let mut retired = self.retired.get(&heir).copied().unwrap_or_default();
        change(&mut retired, self.add);
        kept.retire(heir, &retired)?;
        self.retired.insert(heir, retired);
        Ok(())
    }
}

fn is_unsettled<V: Pod>(retired: &Retired<V>) -> bool {
    retired.pending != 0 || retired.inherits != 0
}

/// The containers that a cgroup counts for, from the innermost to the machine. Of one that is gone the lineage tells, or
/// the place that it had when it was last seen.
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
mod tests {
    use std::time::{Duration, SystemTime};

    use proptest::prelude::*;

    use super::*;
    use crate::snapshot::{Cgroup, Identity, Place, Stamp};

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

    /// The maps, and how many more calls the agent lives.
    #[derive(Default)]
    struct Maps {
        counts: BTreeMap<u64, u64>,
        lineages: BTreeMap<u64, Lineage>,
        smaller: (BTreeMap<u64, u64>, BTreeMap<u64, Lineage>),
        retired: BTreeMap<u64, Retired<u64>>,
        life: Option<u32>,
    }

    impl Maps {
        fn count(&mut self, id: u64, by: u64, way: &[u64]) {
            *self.counts.entry(id).or_default() += by;
            let lineage = self.lineages.entry(id).or_default();
            lineage.0[..way.len()].copy_from_slice(way);
        }

        /// A larger map takes the place of the counts, if there is no smaller one already.
        fn grow(&mut self) {
            if self.smaller.0.is_empty() {
                self.smaller = (std::mem::take(&mut self.counts), std::mem::take(&mut self.lineages));
            }
        }

        fn live(&mut self) -> io::Result<()> {
            match &mut self.life {
                Some(0) => return Err(io::Error::other("killed")),
                Some(left) => *left -= 1,
                None => {}
            }
            Ok(())
        }
    }

    impl Kept<u64> for Maps {
        fn lineage(&self, id: u64) -> io::Result<Lineage> {
            let lineage = self.lineages.get(&id).or_else(|| self.smaller.1.get(&id));
            Ok(lineage.copied().unwrap_or_default())
        }
        fn retired(&self) -> io::Result<Vec<(u64, Retired<u64>)>> {
            Ok(self.retired.iter().map(|(id, retired)| (*id, *retired)).collect())
        }
        fn retire(&mut self, container: u64, retired: &Retired<u64>) -> io::Result<()> {
            self.live()?;
            self.retired.insert(container, *retired);
            Ok(())
        }
        fn release(&mut self, container: u64) -> io::Result<()> {
            self.live()?;
            self.retired.remove(&container);
            Ok(())
        }
        fn take(&mut self, id: u64, of_smaller: bool) -> io::Result<Option<u64>> {
            self.live()?;
            if of_smaller {
                return Ok(self.smaller.0.remove(&id));
            }
            self.lineages.remove(&id);
            Ok(self.counts.remove(&id))
        }
        fn smaller(&mut self) -> io::Result<Vec<(u64, u64)>> {
            Ok(self.smaller.0.iter().map(|(id, count)| (*id, *count)).collect())
        }
        fn forget_smaller(&mut self) {
            assert!(self.smaller.0.is_empty());
            self.smaller.1.clear();
        }
    }

    fn tally(maps: &mut Maps) -> Tally<u64> {
        Tally::new(|sum, count| *sum += count, maps).unwrap()
    }

    fn sort(tally: &mut Tally<u64>, maps: &mut Maps, now: &Snapshot) -> Vec<(u64, u64)> {
        tally.settle(maps).unwrap();
        tally.move_up(now, maps).unwrap();
        let counts: Vec<_> = maps.counts.iter().map(|(id, count)| (*id, *count)).collect();
        let (sums, moved) = tally.sort(&counts, now, maps);
        assert!(moved.is_ok() || maps.life == Some(0), "{moved:?}");
        sums.into_iter().map(|(id, sum)| (id.0, sum)).collect()
    }

    #[test]
    fn a_cgroups_counts_are_its_containers_and_all_around_it() {
        let mut maps = Maps::default();
        [(11, 1), (21, 2), (20, 4), (2, 8)].into_iter().for_each(|(id, by)| maps.count(id, by, &[]));
        let now = snapshot(&[(10, ROOT), (20, 10)], &[(11, 10), (21, 20), (2, ROOT)]);
        assert_eq!(sort(&mut tally(&mut maps), &mut maps, &now), [(ROOT, 15), (10, 7), (20, 6)]);
        assert_eq!(maps.counts.len(), 4);
    }

    #[test]
    fn in_the_own_scope_everything_is_the_containers() {
        let mut now = snapshot(&[], &[]);
        now.scope = Scope::Own;
        let mut maps = Maps::default();
        [(5, 1), (6, 2)].into_iter().for_each(|(id, by)| maps.count(id, by, &[]));
        assert_eq!(sort(&mut tally(&mut maps), &mut maps, &now), [(ROOT, 3)]);
    }

    #[test]
    fn the_counts_of_a_cgroup_that_is_gone_stay_with_its_container_also_for_the_next_agent() {
        let mut maps = Maps::default();
        maps.count(11, 6, &[10, 11]);
        let now = snapshot(&[(10, ROOT)], &[]);
        for _ in 0..2 {
            let mut tally = tally(&mut maps);
            for _ in 0..=READINGS {
                assert_eq!(sort(&mut tally, &mut maps, &now), [(ROOT, 6), (10, 6)]);
            }
            assert!(maps.counts.is_empty() && maps.lineages.is_empty());
            assert_eq!(sort(&mut tally, &mut maps, &now), [(ROOT, 6), (10, 6)]);
        }
    }

    #[test]
    fn what_came_and_went_while_no_agent_ran_belongs_to_what_it_lay_in() {
        let mut maps = Maps::default();
        maps.count(22, 5, &[10, 20, 21, 22]);
        let now = snapshot(&[(10, ROOT)], &[]);
        assert_eq!(sort(&mut tally(&mut maps), &mut maps, &now), [(ROOT, 5), (10, 5)]);
    }

    #[test]
    fn the_counts_of_a_container_that_ended_stay_with_the_machine_and_nothing_else_is_kept() {
        let mut maps = Maps::default();
        maps.count(11, 2, &[10, 11]);
        maps.count(10, 5, &[10]);
        let mut tally = tally(&mut maps);
        let there = snapshot(&[(10, ROOT)], &[]);
        (0..=READINGS).for_each(|_| drop(sort(&mut tally, &mut maps, &there)));
        let mut ended = snapshot(&[], &[]);
        ended.cgroups.insert(CgroupId(10), Cgroup::default());
        assert_eq!(sort(&mut tally, &mut maps, &ended), [(ROOT, 7), (10, 7)]);
        let now = snapshot(&[], &[]);
        for _ in 0..=READINGS {
            assert_eq!(sort(&mut tally, &mut maps, &now), [(ROOT, 7)]);
        }
        assert!(maps.counts.is_empty() && maps.retired.keys().eq(&[ROOT]) && tally.gone.is_empty());
    }

    #[test]
    fn a_container_that_lived_between_two_readings_has_its_counts_and_so_has_all_around_it() {
        let mut maps = Maps::default();
        [(10, 5, &[10][..]), (20, 1, &[10, 20]), (21, 2, &[10, 20, 21])]
            .into_iter()
            .for_each(|(id, by, way)| maps.count(id, by, way));
        let mut tally = tally(&mut maps);
        let mut between = snapshot(&[], &[]);
        (between.coverage, between.places) = (Coverage::Exited, BTreeMap::new());
        between.cgroups = BTreeMap::from([(CgroupId(20), Cgroup::default())]);
        for _ in 0..2 * READINGS {
            assert_eq!(sort(&mut tally, &mut maps, &between), [(20, 3)]);
        }
        let now = snapshot(&[(10, ROOT)], &[]);
        for _ in 0..2 * READINGS {
            assert_eq!(sort(&mut tally, &mut maps, &now), [(ROOT, 8), (10, 8)]);
        }
        assert!(maps.counts.keys().eq(&[10]) && tally.gone.is_empty());
    }

    #[test]
    fn without_a_lineage_the_place_tells_that_was_known() {
        let mut maps = Maps::default();
        maps.count(20, 1, &[]);
        let mut now = snapshot(&[(10, ROOT)], &[]);
        now.gone.insert(CgroupId(20), Place { owner: CgroupId(20), outer: Some(CgroupId(10)) });
        assert_eq!(sort(&mut tally(&mut maps), &mut maps, &now), [(ROOT, 1), (10, 1)]);
    }

    #[test]
    fn what_still_counts_while_it_moves_is_not_lost() {
        let mut maps = Maps { life: Some(1), ..Maps::default() };
        maps.count(11, 5, &[10, 11]);
        let now = snapshot(&[(10, ROOT)], &[]);
        let mut first = tally(&mut maps);
        (0..=READINGS).for_each(|_| drop(sort(&mut first, &mut maps, &now)));
        maps.count(11, 2, &[10, 11]);
        maps.life = None;
        assert_eq!(sort(&mut tally(&mut maps), &mut maps, &now), [(ROOT, 7), (10, 7)]);
    }

    #[test]
    fn what_a_smaller_map_has_counted_is_each_cgroups_own_also_when_it_is_gone() {
        let mut maps = Maps::default();
        [(11, 6, &[10, 11][..]), (10, 1, &[10])].into_iter().for_each(|(id, by, way)| maps.count(id, by, way));
        maps.grow();
        maps.count(11, 2, &[10, 11]);
        let mut tally = tally(&mut maps);
        let there = snapshot(&[(10, ROOT)], &[(11, 10)]);
        assert_eq!(sort(&mut tally, &mut maps, &there), [(ROOT, 9), (10, 9)]);
        assert!(maps.smaller.0.is_empty());
        let gone = snapshot(&[], &[]);
        (0..3 * READINGS).for_each(|_| drop(sort(&mut tally, &mut maps, &gone)));
        assert!(maps.counts.is_empty() && maps.retired.keys().eq(&[ROOT]));
        assert_eq!(sort(&mut tally, &mut maps, &gone), [(ROOT, 9)]);
    }

    #[test]
    fn in_the_own_scope_a_smaller_map_moves_to_the_container() {
        let mut now = snapshot(&[], &[]);
        now.scope = Scope::Own;
        let mut maps = Maps::default();
        [(5, 1), (6, 2)].into_iter().for_each(|(id, by)| maps.count(id, by, &[]));
        maps.grow();
        maps.count(6, 4, &[]);
        assert_eq!(sort(&mut tally(&mut maps), &mut maps, &now), [(ROOT, 7)]);
        assert!(maps.retired.keys().eq(&[ROOT]));
        assert_eq!(sort(&mut tally(&mut maps), &mut maps, &now), [(ROOT, 7)]);
    }

    type Step = (std::collections::BTreeSet<u64>, Vec<u64>, Option<u32>, bool);

    proptest! {
        #[test]
        fn whatever_comes_goes_and_grows_and_wherever_the_agent_is_killed_nothing_is_lost_doubled_or_left(steps in proptest::collection::vec((proptest::collection::btree_set(2u64..12, 0..6), proptest::collection::vec(0u64..5, 12), proptest::option::of(0u32..9), proptest::bool::weighted(0.2)), 1..60)) {
            let steps: Vec<Step> = steps;
            let mut maps = Maps::default();
            let mut agent = tally(&mut maps);
            let mut all = 0;
            for (alive, counts, life, grows) in steps {
                // Even ones are containers; each odd one lies in the even one before it.
                let containers: Vec<_> = alive.iter().filter(|id| *id % 2 == 0).map(|id| (*id, ROOT)).collect();
                let holds = |id: u64| containers.contains(&(id, ROOT));
                let plain: Vec<_> =
                    alive.iter().filter(|id| *id % 2 == 1 && holds(*id - 1)).map(|id| (*id, id - 1)).collect();
                for (id, count) in (0u64..).zip(counts) {
                    // Something may still be counted for a cgroup that is gone, or that no walk has seen.
                    if id > 1 && count > 0 {
                        let way = if id % 2 == 1 { vec![id - 1, id] } else { vec![id] };
                        maps.count(id, count, &way);
                        all += count;
                    }
                }
                let now = snapshot(&containers, &plain);
                agent.settle(&mut maps).unwrap();
                if grows {
                    maps.grow();
                }
                maps.life = life;
                // A reading in which a smaller map cannot be moved says nothing.
                if agent.move_up(&now, &mut maps).is_ok() {
                    let sums = sort(&mut agent, &mut maps, &now);
                    prop_assert_eq!(sums.iter().find(|(id, _)| *id == ROOT).unwrap().1, all);
                }
                // What was a call refused to one agent is the end of another.
                let killed = maps.life == Some(0) && all % 2 == 0;
                maps.life = None;
                if killed {
                    agent = tally(&mut maps);
                }
                prop_assert!(maps.retired.len() <= 12 && maps.counts.len() <= 12);
            }
            let end = snapshot(&[], &[]);
            (0..=2 * READINGS + 2).for_each(|_| drop(sort(&mut agent, &mut maps, &end)));
            prop_assert!(maps.counts.is_empty() && maps.smaller.0.is_empty() && maps.lineages.is_empty() && maps.retired.len() <= 1);
            prop_assert_eq!(sort(&mut agent, &mut maps, &end), [(ROOT, all)]);
        }
    }
}
