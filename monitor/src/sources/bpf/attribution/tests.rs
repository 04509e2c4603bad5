use std::time::{Duration, SystemTime};

use proptest::prelude::*;

use super::*;
use crate::snapshot::{Cgroup, Identity, Place, Stamp};

const ROOT: u64 = 1;

/// A machine: containers with their parents, and plain cgroups with their owners.
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

/// The maps, and the number of calls before the agent is killed.
#[derive(Default)]
struct Maps {
    counts: BTreeMap<u64, u64>,
    lineages: BTreeMap<u64, Lineage>,
    previous: (BTreeMap<u64, u64>, BTreeMap<u64, Lineage>),
    retired: BTreeMap<u64, Retired<u64>>,
    life: Option<u32>,
}

impl Maps {
    fn count(&mut self, id: u64, by: u64, way: &[u64]) {
        *self.counts.entry(id).or_default() += by;
        let lineage = self.lineages.entry(id).or_default();
        lineage.0[..way.len()].copy_from_slice(way);
    }

    /// Replaces the map of counters by a larger one, unless there is a previous one already.
    fn grow(&mut self) {
        if self.previous.0.is_empty() {
            self.previous = (std::mem::take(&mut self.counts), std::mem::take(&mut self.lineages));
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

impl CounterStore<u64> for Maps {
    fn lineage(&self, id: u64) -> io::Result<Lineage> {
        let lineage = self.lineages.get(&id).or_else(|| self.previous.1.get(&id));
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
    fn take(&mut self, id: u64, of_previous: bool) -> io::Result<Option<u64>> {
        self.live()?;
        if of_previous {
            return Ok(self.previous.0.remove(&id));
        }
        self.lineages.remove(&id);
        Ok(self.counts.remove(&id))
    }
    fn previous(&mut self) -> io::Result<Vec<(u64, u64)>> {
        Ok(self.previous.0.iter().map(|(id, count)| (*id, *count)).collect())
    }
    fn forget_previous(&mut self) {
        assert!(self.previous.0.is_empty());
        self.previous.1.clear();
    }
}

fn attribution(maps: &mut Maps) -> Attribution<u64> {
    Attribution::new(|sum, count| *sum += count, maps).unwrap()
}

fn attribute(attribution: &mut Attribution<u64>, maps: &mut Maps, now: &Snapshot) -> Vec<(u64, u64)> {
    attribution.finish_moves(maps).unwrap();
    attribution.fold_previous(now, maps).unwrap();
    let counts: Vec<_> = maps.counts.iter().map(|(id, count)| (*id, *count)).collect();
    let (sums, moved) = attribution.attribute(&counts, now, maps);
    assert!(moved.is_ok() || maps.life == Some(0), "{moved:?}");
    sums.into_iter().map(|(id, sum)| (id.0, sum)).collect()
}

#[test]
fn a_cgroups_counts_are_its_containers_and_all_around_it() {
    let mut maps = Maps::default();
    [(11, 1), (21, 2), (20, 4), (2, 8)].into_iter().for_each(|(id, by)| maps.count(id, by, &[]));
    let now = snapshot(&[(10, ROOT), (20, 10)], &[(11, 10), (21, 20), (2, ROOT)]);
    assert_eq!(attribute(&mut attribution(&mut maps), &mut maps, &now), [(ROOT, 15), (10, 7), (20, 6)]);
    assert_eq!(maps.counts.len(), 4);
}

#[test]
fn in_the_own_scope_everything_is_the_containers() {
    let mut now = snapshot(&[], &[]);
    now.scope = Scope::SelfContainer;
    let mut maps = Maps::default();
    [(5, 1), (6, 2)].into_iter().for_each(|(id, by)| maps.count(id, by, &[]));
    assert_eq!(attribute(&mut attribution(&mut maps), &mut maps, &now), [(ROOT, 3)]);
}

#[test]
fn the_counts_of_a_cgroup_that_is_gone_stay_with_its_container_also_for_the_next_agent() {
    let mut maps = Maps::default();
    maps.count(11, 6, &[10, 11]);
    let now = snapshot(&[(10, ROOT)], &[]);
    for _ in 0..2 {
        let mut attribution = attribution(&mut maps);
        for _ in 0..=READINGS {
            assert_eq!(attribute(&mut attribution, &mut maps, &now), [(ROOT, 6), (10, 6)]);
        }
        assert!(maps.counts.is_empty() && maps.lineages.is_empty());
        assert_eq!(attribute(&mut attribution, &mut maps, &now), [(ROOT, 6), (10, 6)]);
    }
}

#[test]
fn what_came_and_went_while_no_agent_ran_belongs_to_what_it_lay_in() {
    let mut maps = Maps::default();
    maps.count(22, 5, &[10, 20, 21, 22]);
    let now = snapshot(&[(10, ROOT)], &[]);
    assert_eq!(attribute(&mut attribution(&mut maps), &mut maps, &now), [(ROOT, 5), (10, 5)]);
}

#[test]
fn the_counts_of_a_container_that_ended_stay_with_the_machine_and_nothing_else_is_kept() {
    let mut maps = Maps::default();
    maps.count(11, 2, &[10, 11]);
    maps.count(10, 5, &[10]);
    let mut attribution = attribution(&mut maps);
    let there = snapshot(&[(10, ROOT)], &[]);
    (0..=READINGS).for_each(|_| drop(attribute(&mut attribution, &mut maps, &there)));
    let mut ended = snapshot(&[], &[]);
    ended.cgroups.insert(CgroupId(10), Cgroup::default());
    assert_eq!(attribute(&mut attribution, &mut maps, &ended), [(ROOT, 7), (10, 7)]);
    let now = snapshot(&[], &[]);
    for _ in 0..=READINGS {
        assert_eq!(attribute(&mut attribution, &mut maps, &now), [(ROOT, 7)]);
    }
    assert!(maps.counts.is_empty() && maps.retired.keys().eq(&[ROOT]) && attribution.gone.is_empty());
}

#[test]
fn a_container_that_lived_between_two_readings_has_its_counts_and_so_has_all_around_it() {
    let mut maps = Maps::default();
    [(10, 5, &[10][..]), (20, 1, &[10, 20]), (21, 2, &[10, 20, 21])]
        .into_iter()
        .for_each(|(id, by, way)| maps.count(id, by, way));
    let mut attribution = attribution(&mut maps);
    let mut between = snapshot(&[], &[]);
    (between.coverage, between.places) = (Coverage::Exited, BTreeMap::new());
    between.cgroups = BTreeMap::from([(CgroupId(20), Cgroup::default())]);
    for _ in 0..2 * READINGS {
        assert_eq!(attribute(&mut attribution, &mut maps, &between), [(20, 3)]);
    }
    let now = snapshot(&[(10, ROOT)], &[]);
    for _ in 0..2 * READINGS {
        assert_eq!(attribute(&mut attribution, &mut maps, &now), [(ROOT, 8), (10, 8)]);
    }
    assert!(maps.counts.keys().eq(&[10]) && attribution.gone.is_empty());
}

#[test]
fn without_a_lineage_the_place_tells_that_was_known() {
    let mut maps = Maps::default();
    maps.count(20, 1, &[]);
    let mut now = snapshot(&[(10, ROOT)], &[]);
    now.gone.insert(CgroupId(20), Place { owner: CgroupId(20), outer: Some(CgroupId(10)) });
    assert_eq!(attribute(&mut attribution(&mut maps), &mut maps, &now), [(ROOT, 1), (10, 1)]);
}

#[test]
fn what_still_counts_while_it_moves_is_not_lost() {
    let mut maps = Maps { life: Some(1), ..Maps::default() };
    maps.count(11, 5, &[10, 11]);
    let now = snapshot(&[(10, ROOT)], &[]);
    let mut first = attribution(&mut maps);
    (0..=READINGS).for_each(|_| drop(attribute(&mut first, &mut maps, &now)));
    maps.count(11, 2, &[10, 11]);
    maps.life = None;
    assert_eq!(attribute(&mut attribution(&mut maps), &mut maps, &now), [(ROOT, 7), (10, 7)]);
}

#[test]
fn what_a_smaller_map_has_counted_is_each_cgroups_own_also_when_it_is_gone() {
    let mut maps = Maps::default();
    [(11, 6, &[10, 11][..]), (10, 1, &[10])].into_iter().for_each(|(id, by, way)| maps.count(id, by, way));
    maps.grow();
    maps.count(11, 2, &[10, 11]);
    let mut attribution = attribution(&mut maps);
    let there = snapshot(&[(10, ROOT)], &[(11, 10)]);
    assert_eq!(attribute(&mut attribution, &mut maps, &there), [(ROOT, 9), (10, 9)]);
    assert!(maps.previous.0.is_empty());
    let gone = snapshot(&[], &[]);
    (0..3 * READINGS).for_each(|_| drop(attribute(&mut attribution, &mut maps, &gone)));
    assert!(maps.counts.is_empty() && maps.retired.keys().eq(&[ROOT]));
    assert_eq!(attribute(&mut attribution, &mut maps, &gone), [(ROOT, 9)]);
}

#[test]
fn in_the_own_scope_a_smaller_map_moves_to_the_container() {
    let mut now = snapshot(&[], &[]);
    now.scope = Scope::SelfContainer;
    let mut maps = Maps::default();
    [(5, 1), (6, 2)].into_iter().for_each(|(id, by)| maps.count(id, by, &[]));
    maps.grow();
    maps.count(6, 4, &[]);
    assert_eq!(attribute(&mut attribution(&mut maps), &mut maps, &now), [(ROOT, 7)]);
    assert!(maps.retired.keys().eq(&[ROOT]));
    assert_eq!(attribute(&mut attribution(&mut maps), &mut maps, &now), [(ROOT, 7)]);
}

type Step = (std::collections::BTreeSet<u64>, Vec<u64>, Option<u32>, bool);

proptest! {
    #[test]
    fn whatever_comes_goes_and_grows_and_wherever_the_agent_is_killed_nothing_is_lost_doubled_or_left(steps in proptest::collection::vec((proptest::collection::btree_set(2u64..12, 0..6), proptest::collection::vec(0u64..5, 12), proptest::option::of(0u32..9), proptest::bool::weighted(0.2)), 1..60)) {
        let steps: Vec<Step> = steps;
        let mut maps = Maps::default();
        let mut agent = attribution(&mut maps);
        let mut all = 0;
        for (alive, counts, life, grows) in steps {
            // Even ids are containers; each odd one lies in the even one before it.
            let containers: Vec<_> = alive.iter().filter(|id| *id % 2 == 0).map(|id| (*id, ROOT)).collect();
            let holds = |id: u64| containers.contains(&(id, ROOT));
            let plain: Vec<_> =
                alive.iter().filter(|id| *id % 2 == 1 && holds(*id - 1)).map(|id| (*id, id - 1)).collect();
            for (id, count) in (0u64..).zip(counts) {
                // Events may still be counted for a removed cgroup, or for one that no walk has seen.
                if id > 1 && count > 0 {
                    let way = if id % 2 == 1 { vec![id - 1, id] } else { vec![id] };
                    maps.count(id, count, &way);
                    all += count;
                }
            }
            let now = snapshot(&containers, &plain);
            agent.finish_moves(&mut maps).unwrap();
            if grows {
                maps.grow();
            }
            maps.life = life;
            // A sample in which a previous map cannot be moved has no values.
            if agent.fold_previous(&now, &mut maps).is_ok() {
                let sums = attribute(&mut agent, &mut maps, &now);
                prop_assert_eq!(sums.iter().find(|(id, _)| *id == ROOT).unwrap().1, all);
            }
            // A failed call for one agent is the death of another.
            let killed = maps.life == Some(0) && all % 2 == 0;
            maps.life = None;
            if killed {
                agent = attribution(&mut maps);
            }
            prop_assert!(maps.retired.len() <= 12 && maps.counts.len() <= 12);
        }
        let end = snapshot(&[], &[]);
        (0..=2 * READINGS + 2).for_each(|_| drop(attribute(&mut agent, &mut maps, &end)));
        prop_assert!(maps.counts.is_empty() && maps.previous.0.is_empty() && maps.lineages.is_empty() && maps.retired.len() <= 1);
        prop_assert_eq!(attribute(&mut agent, &mut maps, &end), [(ROOT, all)]);
    }
}
