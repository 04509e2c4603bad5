//! Reported names of containers: each name belongs to one of them. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::containers::info::NameOrigin;
use crate::snapshot::CgroupId;

/// The first claim has the name: the more trusted origin, then the older container. Ids of cgroups grow with time, so
/// that the order is the same after each start of the agent.
type Claim = (NameOrigin, CgroupId);

/// The names that containers go by, and the names under which they are reported.
#[derive(Debug, Default)]
pub(super) struct NameTable {
    called: BTreeMap<CgroupId, Called>,
    /// Claims on each name.
    claims: BTreeMap<String, BTreeSet<Claim>>,
    /// The container that is reported under each name.
    reported: BTreeMap<String, CgroupId>,
}

#[derive(Debug)]
struct Called {
    name: String,
    origin: NameOrigin,
    /// Appended to the name where another container has it.
    suffix: String,
    reported: String,
}

/// A container and its new reported name.
pub(super) type Renamed = (CgroupId, String);

impl NameTable {
    /// Records the name that a container goes by; returns the containers whose reported name has changed.
    pub(super) fn call(&mut self, id: CgroupId, name: &str, origin: NameOrigin, suffix: &str) -> Vec<Renamed> {
        if self.called.get(&id).is_some_and(|called| called.name == name && called.origin == origin) {
            return Vec::new();
        }
        let freed = self.withdraw(id);
        let before = freed.as_ref().map(|called| called.reported.clone());
        let called = Called { name: name.to_owned(), origin, suffix: suffix.to_owned(), reported: String::new() };
        self.called.insert(id, called);
        self.claims.entry(name.to_owned()).or_default().insert((origin, id));
        let mut renamed = self.settle(name);
        renamed.extend(freed.into_iter().flat_map(|freed| self.settle(&freed.name)));
        renamed.retain(|(other, name)| *other != id || before.as_ref() != Some(name));
        renamed
    }

    /// Forgets a container; returns the containers whose reported name has changed.
    pub(super) fn remove(&mut self, id: CgroupId) -> Vec<Renamed> {
        self.withdraw(id).map(|freed| self.settle(&freed.name)).unwrap_or_default()
    }

    /// The name under which a container is reported.
    pub(super) fn reported(&self, id: CgroupId) -> Option<&str> {
        self.called.get(&id).map(|called| called.reported.as_str())
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.reported.len()
    }

    /// The name that a container goes by.
    pub(super) fn called(&self, id: CgroupId) -> Option<&str> {
        self.called.get(&id).map(|called| called.name.as_str())
    }

    /// A name for a container that has ended: its own, unless another one is reported under it.
    pub(super) fn unclaimed(&self, name: &str, suffix: &str) -> String {
        let suffixed = || format!("{name}-{suffix}");
        if self.reported.contains_key(name) { suffixed() } else { name.to_owned() }
    }

    fn withdraw(&mut self, id: CgroupId) -> Option<Called> {
        let called = self.called.remove(&id)?;
        self.release(id, &called.reported);
        if let Some(claims) = self.claims.get_mut(&called.name) {
            claims.remove(&(called.origin, id));
            if claims.is_empty() {
                self.claims.remove(&called.name);
            }
        }
        Some(called)
    }

    fn release(&mut self, id: CgroupId, reported: &str) {
        if self.reported.get(reported) == Some(&id) {
            self.reported.remove(reported);
        }
    }

    /// Gives a name to its first claim, and names with an id to the others.
    fn settle(&mut self, name: &str) -> Vec<Renamed> {
        let claims: Vec<CgroupId> = self.claims.get(name).into_iter().flatten().map(|(_, id)| *id).collect();
        // First those that lose the name, so that it is free.
        let losers = claims.iter().skip(1).map(|id| (*id, false));
        let winner = claims.first().map(|id| (*id, true));
        losers.chain(winner).filter_map(|(id, has_it)| self.rename(id, has_it)).collect()
    }

    fn rename(&mut self, id: CgroupId, is_first: bool) -> Option<Renamed> {
        let called = self.called.get(&id)?;
        let before = called.reported.clone();
        let is_free = |name: &String| self.reported.get(name).is_none_or(|owner| *owner == id);
        let after = called.names(id, is_first).find(is_free)?;
        if after == before {
            return None;
        }
        self.release(id, &before);
        self.reported.insert(after.clone(), id);
        self.called.get_mut(&id)?.reported.clone_from(&after);
        Some((id, after))
    }
}

impl Called {
    /// The names under which it may be reported, the best first. Endless: one of them is free.
    fn names(&self, id: CgroupId, is_first: bool) -> impl Iterator<Item = String> {
        let plain = is_first.then(|| self.name.clone());
        let suffixed = format!("{}-{}", self.name, self.suffix);
        let numbered = format!("{suffixed}-{}", id.0);
        let counted = numbered.clone();
        let counted = (2_u32..).map(move |number| format!("{counted}-{number}"));
        plain.into_iter().chain([suffixed, numbered]).chain(counted)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn call(table: &mut NameTable, id: u64, name: &str) -> Vec<(u64, String)> {
        claim(table, id, name, NameOrigin::Runtime)
    }

    fn claim(table: &mut NameTable, id: u64, name: &str, origin: NameOrigin) -> Vec<(u64, String)> {
        let suffix = format!("id{id}");
        table.call(CgroupId(id), name, origin, &suffix).into_iter().map(|(id, name)| (id.0, name)).collect()
    }

    fn renamed(id: u64, name: &str) -> (u64, String) {
        (id, name.to_owned())
    }

    #[test]
    fn the_older_container_has_the_name_whoever_is_looked_up_first() {
        let mut table = NameTable::default();
        assert_eq!(call(&mut table, 8, "web"), [renamed(8, "web")]);
        assert_eq!(call(&mut table, 5, "web"), [renamed(8, "web-id8"), renamed(5, "web")]);
        assert_eq!(call(&mut table, 5, "web"), []);
    }

    #[test]
    fn a_name_that_becomes_free_goes_to_the_next_container_that_is_called_so() {
        let mut table = NameTable::default();
        call(&mut table, 5, "web");
        call(&mut table, 8, "web");
        assert_eq!(call(&mut table, 5, "web-old"), [renamed(5, "web-old"), renamed(8, "web")]);
        call(&mut table, 9, "web");
        let freed: Vec<_> = table.remove(CgroupId(8));
        assert_eq!(freed, [(CgroupId(9), "web".to_owned())]);
    }

    #[test]
    fn a_process_cannot_take_the_name_that_a_runtime_has_given() {
        let mut table = NameTable::default();
        claim(&mut table, 5, "web", NameOrigin::Process);
        assert_eq!(call(&mut table, 8, "web"), [renamed(5, "web-id5"), renamed(8, "web")]);
        assert_eq!(claim(&mut table, 6, "web", NameOrigin::Process), [renamed(6, "web-id6")]);
    }

    #[test]
    fn a_name_with_an_id_appended_is_checked_too() {
        let mut table = NameTable::default();
        call(&mut table, 1, "api-same");
        for id in [2, 3, 4] {
            table.call(CgroupId(id), "api", NameOrigin::Runtime, "same");
        }
        let names: Vec<_> = [1, 2, 3, 4].map(|id| table.reported(CgroupId(id)).unwrap()).into();
        assert_eq!(names, ["api-same", "api", "api-same-3", "api-same-4"]);
    }

    proptest! {
        /// Whatever the order of the answers, no two containers are reported under one name, and those that go by a
        /// name that no other name with an id collides with are reported the same.
        #[test]
        fn names_are_unique_and_do_not_depend_on_the_order_of_the_answers(
            steps in prop::collection::vec((0_u64..6, 0_usize..3, any::<bool>()), 1..40)
        ) {
            let mut table = NameTable::default();
            let mut last = BTreeMap::new();
            for (id, name, stays) in steps {
                if stays {
                    call(&mut table, id, ["web", "db", "api"][name]);
                    last.insert(id, name);
                } else {
                    table.remove(CgroupId(id));
                    last.remove(&id);
                }
            }
            let mut fresh = NameTable::default();
            for (id, name) in last.iter().rev() {
                call(&mut fresh, *id, ["web", "db", "api"][*name]);
            }
            let reported = |table: &NameTable| -> Vec<Option<String>> {
                last.keys().map(|id| table.reported(CgroupId(*id)).map(str::to_owned)).collect()
            };
            prop_assert_eq!(reported(&table), reported(&fresh));
            let unique: BTreeSet<_> = reported(&table).into_iter().collect();
            prop_assert_eq!(unique.len(), last.len());
        }
    }
}
