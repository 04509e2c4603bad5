//! Registry of all cgroups of a machine as they come and go: containers, ancestors and names.

mod claims;
mod container;
mod lives;
mod name_table;
mod naming;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use self::container::{Container, describe, suffix};
use self::lives::Life;
use self::name_table::NameTable;
use crate::containers::hierarchies::Hierarchies;
use crate::containers::info::{ContainerInfo, NameOrigin, NameRequest, slice_user};
use crate::containers::owners::Owners;
use crate::containers::rules::Rules;
use crate::containers::runtime_path::PathHint;
use crate::containers::walk::Directory;
use crate::snapshot::{Cgroup, CgroupId, Coverage, Place, Scope, Snapshot, Status};

/// Full samples for which the place of a removed cgroup is kept, since its last tasks may be counted late.
const REMEMBERED: u32 = 2;

/// Longest time in which no container is reported because the first lookups of names have not been answered.
const FIRST_LOOKUPS: Duration = Duration::from_secs(2);

/// Full samples in which the directories of a new container are looked up again: the runtime creates them one after the
/// other, hierarchy by hierarchy.
const LOOKS: u32 = 3;

/// Full samples after which they are looked up again: a controller may have been given to the container late.
const LOOK_AGAIN: u32 = 12;

/// The cgroups and containers that exist.
#[derive(Debug)]
pub struct Registry {
    hierarchies: Hierarchies,
    rules: Rules,
    hostname: String,
    cgroups: BTreeMap<CgroupId, Node>,
    containers: BTreeMap<CgroupId, Container>,
    names: NameTable,
    /// Claims names where other machines may have the same; `None` where none can.
    owners: Option<Owners>,
    /// The state of the lookups of the containers that existed at the start.
    first_lookups: FirstLookups,
    /// Removed cgroups, each with its number of full samples since.
    gone: BTreeMap<CgroupId, (Place, u32)>,
    /// Exited containers that were not reported yet.
    ended: BTreeMap<CgroupId, Container>,
    emptied: BTreeSet<CgroupId>,
    requests: Vec<NameRequest>,
    walked_again: u64,
}

/// Containers are named in the order of their age. At the start, all answers are awaited for that, so that no container
/// is reported under a name that is another's a moment later.
#[derive(Clone, Copy, Debug)]
enum FirstLookups {
    NotSampled,
    /// Awaited until this monotonic time.
    Until(Duration),
    Over,
}

/// A cgroup. Most are not reported, and their paths may be long: it has the last component alone.
#[derive(Debug)]
struct Node {
    name: Box<OsStr>,
    parent: CgroupId,
    place: Place,
}

impl Registry {
    /// Creates an empty registry.
    pub fn new(hierarchies: Hierarchies, rules: Rules, hostname: &str) -> Self {
        Self {
            hierarchies,
            rules,
            hostname: hostname.to_owned(),
            cgroups: BTreeMap::new(),
            containers: BTreeMap::new(),
            names: NameTable::default(),
            owners: None,
            first_lookups: FirstLookups::NotSampled,
            gone: BTreeMap::new(),
            ended: BTreeMap::new(),
            emptied: BTreeSet::new(),
            requests: Vec::new(),
            walked_again: 0,
        }
    }

    /// Claims the names of containers.
    #[must_use]
    pub fn with_owners(self, owners: Option<Owners>) -> Self {
        Self { owners, ..self }
    }

    /// Returns the mounted hierarchies.
    pub fn hierarchies(&self) -> &Hierarchies {
        &self.hierarchies
    }

    /// Returns the path of a cgroup below the root of its tree.
    pub fn path(&self, id: CgroupId) -> Option<PathBuf> {
        let mut node = self.cgroups.get(&id)?;
        let mut names = Vec::new();
        while !node.name.is_empty() {
            names.push(&*node.name);
            node = self.cgroups.get(&node.parent)?;
        }
        Some(names.into_iter().rev().collect())
    }

    /// Applies a complete walk: cgroups that it has not found were removed.
    pub fn settle(&mut self, directories: &[Directory]) {
        let there: BTreeSet<CgroupId> = directories.iter().map(|directory| directory.id).collect();
        let gone: Vec<CgroupId> = self.cgroups.keys().filter(|id| !there.contains(id)).copied().collect();
        // First those, so that a container that was started anew finds its name free.
        gone.into_iter().for_each(|id| self.cgroup_removed(id));
        // Without events, only a walk can find that a container has got its first process.
        let unnamed: Vec<CgroupId> =
            self.containers.iter().filter(|(_, c)| c.named && !c.is_final).map(|(id, _)| *id).collect();
        unnamed.into_iter().for_each(|id| self.request_name(id, false));
        directories.iter().for_each(|directory| self.cgroup_created(directory));
    }

    /// Counts a loss of events, after which the tree is rescanned.
    pub fn count_rescan(&mut self) {
        self.walked_again += 1;
    }

    /// Adds a cgroup. Its parent must be known.
    pub fn cgroup_created(&mut self, directory: &Directory) {
        if self.cgroups.contains_key(&directory.id) {
            return;
        }
        let id = directory.id;
        let is_root = directory.path.as_os_str().is_empty();
        // No pattern makes a container of the machine.
        let hint = (!is_root).then(|| self.rules.hint(&format!("/{}", directory.path.display()))).flatten();
        let outer = self.cgroups.get(&directory.parent).map(|node| node.place.owner);
        let is_own = is_root || hint.is_some();
        let place = Place { owner: outer.filter(|_| !is_own).unwrap_or(id), outer: outer.filter(|_| is_own) };
        let name = directory.path.file_name().unwrap_or_default().into();
        self.cgroups.insert(id, Node { name, parent: directory.parent, place });
        if is_own {
            self.add_container(id, &directory.path, hint);
        }
    }

    fn add_container(&mut self, id: CgroupId, path: &Path, hint: Option<PathHint>) {
        let mut identity = self.hierarchies.identity(path);
        match &hint {
            Some(hint) => {
                describe(&mut identity, hint, &ContainerInfo::default());
                identity.name = self.full_name(hint, None, &identity, id);
            }
            None => identity.name.clone_from(&self.hostname),
        }
        let (name, is_root) = (identity.name.clone(), hint.is_none());
        let origin = if is_root { NameOrigin::Machine } else { NameOrigin::Path };
        let suffix = suffix(id, &identity);
        let identity = identity.into();
        let container = Container {
            identity,
            hint,
            named: is_root,
            found: None,
            is_final: is_root,
            readings: 0,
            life: Life::default(),
            awaits_owner: false,
            is_claimed: false,
        };
        self.containers.insert(id, container);
        let renamed = self.names.call(id, &name, origin, &suffix);
        self.rename(renamed);
        self.request_name(id, false);
    }

    fn request_name(&mut self, id: CgroupId, had_process: bool) {
        let Some(Container { identity, hint: Some(hint), is_final: false, .. }) = self.containers.get(&id) else {
            return;
        };
        let dirs = identity.v2.iter().chain(identity.v1.values()).cloned().collect();
        let user = slice_user(&identity.path);
        self.requests.push(NameRequest { id, hint: hint.clone(), dirs, had_process, user });
    }

    /// Takes the requests for names since the last call.
    pub fn requests(&mut self) -> Vec<NameRequest> {
        std::mem::take(&mut self.requests)
    }

    /// True if the container exists.
    pub fn is_there(&self, id: CgroupId) -> bool {
        self.containers.contains_key(&id)
    }

    /// True if the container exists, or has exited and was not reported yet.
    pub fn is_known(&self, id: CgroupId) -> bool {
        self.is_there(id) || self.ended.contains_key(&id)
    }

    /// Records the removal of a cgroup.
    pub fn cgroup_removed(&mut self, id: CgroupId) {
        if let Some(node) = self.cgroups.remove(&id) {
            self.gone.insert(id, (node.place, 0));
        }
        if let Some(container) = self.containers.remove(&id) {
            self.emptied.remove(&id);
            let container = self.give_up(id, container);
            self.ended.insert(id, container);
            let renamed = self.names.remove(id);
            self.rename(renamed);
        }
    }

    /// Records a cgroup that was created and removed before it could be read: only its parent is known.
    pub fn cgroup_came_and_went(&mut self, id: CgroupId, parent: CgroupId) {
        if let Some(outer) = self.cgroups.get(&parent) {
            self.gone.insert(id, (Place { owner: outer.place.owner, outer: None }, 0));
        }
    }

    /// Records that a cgroup has lost its last process.
    pub fn cgroup_emptied(&mut self, id: CgroupId) {
        if self.containers.contains_key(&id) {
            self.emptied.insert(id);
        }
    }

    /// Records that a cgroup has got its first process, whose environment may contain a name.
    pub fn cgroup_populated(&mut self, id: CgroupId) {
        self.emptied.remove(&id);
        self.request_name(id, true);
    }

    /// Judges by a sample which containers live. One without processes is reported as exited at the second full sample
    /// that finds it so, and then no more until it has a process again; one that never had a process is not reported. A
    /// living container has precedence for its name.
    pub fn judge(&mut self, now: &mut Snapshot) {
        for (id, cgroup) in &mut now.cgroups {
            let Some(container) = self.containers.get_mut(id).filter(|container| container.hint.is_some()) else {
                continue;
            };
            if !container.judge(cgroup, now.coverage) {
                continue;
            }
            let (origin, suffix) = (container.origin(), suffix(*id, &container.identity));
            if let Some(name) = self.names.called(*id).map(str::to_owned) {
                let renamed = self.names.call(*id, &name, origin, &suffix);
                self.rename(renamed);
            }
        }
        // Names have changed.
        self.apply_claims(now.taken.mono, Coverage::Exited);
        for (id, cgroup) in &mut now.cgroups {
            let Some(known) = self.containers.get(id) else { continue };
            cgroup.identity = Arc::clone(&known.identity);
            cgroup.withheld |= known.awaits_owner;
        }
    }

    /// True if a sample with [`Coverage::Exited`] would have something to report.
    pub fn has_ended(&self) -> bool {
        !self.ended.is_empty() || !self.emptied.is_empty()
    }

    /// Creates the entries that the other sources fill. Each exited container is reported once.
    pub fn fill(&mut self, into: &mut Snapshot) {
        into.scope = Scope::Host;
        into.host.name.clone_from(&self.hostname);
        into.walked_again = self.walked_again;
        self.await_first_lookups(into.taken.mono);
        if into.coverage == Coverage::All {
            self.look_again();
        }
        self.apply_claims(into.taken.mono, into.coverage);
        if into.coverage == Coverage::All {
            into.places = self.cgroups.iter().map(|(id, node)| (*id, node.place)).collect();
            into.cgroups =
                self.containers.iter().filter_map(|(id, found)| Some((*id, self.entry(*id, found)?))).collect();
        } else {
            let emptied = self.emptied.iter().filter_map(|id| Some((*id, self.entry(*id, self.containers.get(id)?)?)));
            into.cgroups.extend(emptied);
        }
        self.emptied.clear();
        for (id, container) in std::mem::take(&mut self.ended) {
            // One that was empty has been reported.
            if container.life == Life::Over {
                continue;
            }
            if let Some(container) = self.reported_last(id, container, into.taken.mono) {
                let cgroup = into.cgroups.entry(id).or_default();
                (cgroup.identity, cgroup.status) = (container.identity, Status::Exited);
            }
        }
        into.gone = self.gone.iter().map(|(id, (place, _))| (*id, *place)).collect();
        if into.coverage == Coverage::All {
            self.gone.retain(|_, (_, readings)| {
                *readings += 1;
                *readings < REMEMBERED
            });
        }
    }

    /// Creates the empty entry that the other sources fill; `None` for a container that is left out by its name. One
    /// whose name was not resolved is reported once it has waited long enough.
    fn entry(&self, id: CgroupId, container: &Container) -> Option<Cgroup> {
        let is_settled = matches!(self.first_lookups, FirstLookups::Over);
        let withheld = container.hint.is_some() && !(is_settled && container.is_name_settled());
        let is_wanted = withheld || self.is_reported(id, container);
        let withheld = withheld || container.awaits_owner;
        is_wanted.then(|| Cgroup { identity: Arc::clone(&container.identity), withheld, ..Cgroup::default() })
    }

    fn await_first_lookups(&mut self, now: Duration) {
        let until = match self.first_lookups {
            FirstLookups::NotSampled => now + FIRST_LOOKUPS,
            FirstLookups::Until(until) => until,
            FirstLookups::Over => return,
        };
        let all_named = self.containers.values().all(|container| container.named);
        let is_over = all_named || now >= until;
        self.first_lookups = if is_over { FirstLookups::Over } else { FirstLookups::Until(until) };
    }

    fn look_again(&mut self) {
        let is_due = |readings: u32| readings < LOOKS || readings.is_multiple_of(LOOK_AGAIN);
        let due = self.containers.iter().filter(|(_, container)| is_due(container.readings));
        let due: Vec<_> = due.map(|(id, _)| (*id, self.path(*id))).collect();
        self.containers.values_mut().for_each(|container| container.readings = container.readings.saturating_add(1));
        for (id, path) in due {
            let Some((container, path)) = self.containers.get_mut(&id).zip(path) else { continue };
            let found = self.hierarchies.identity(&path);
            if found.v1 != container.identity.v1 {
                Arc::make_mut(&mut container.identity).v1 = found.v1;
            }
        }
    }
}

#[cfg(test)]
mod tests;
