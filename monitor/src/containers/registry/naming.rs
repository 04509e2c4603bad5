//! The names by which containers go, and what is known of them.

use std::sync::Arc;

use super::Registry;
use super::container::{Container, describe, fallback, suffix};
use super::name_table::Renamed;
use crate::containers::info::{ContainerInfo, NameOrigin};
use crate::containers::runtime_path::PathHint;
use crate::foreign::text;
use crate::snapshot::{CgroupId, Identity};

impl Registry {
    /// Records the machine's name, which is often set after services have started.
    pub fn set_hostname(&mut self, hostname: &str) {
        // A name that cannot be read stays.
        if hostname.is_empty() || hostname == self.hostname {
            return;
        }
        hostname.clone_into(&mut self.hostname);
        let machine = self.containers.iter_mut().find(|(_, container)| container.hint.is_none());
        let Some((&id, container)) = machine else { return };
        Arc::make_mut(&mut container.identity).name = hostname.to_owned();
        let suffix = suffix(id, &container.identity);
        let renamed = self.names.call(id, hostname, NameOrigin::Machine, &suffix);
        self.rename(renamed);
        if let Some(owners) = &self.owners {
            owners.set_hostname(hostname);
        }
        let ids: Vec<CgroupId> = self.containers.keys().copied().collect();
        ids.into_iter().for_each(|id| self.call(id));
    }

    /// Records the name by which a container goes, which may contain the machine's.
    fn call(&mut self, id: CgroupId) {
        let Some(container @ Container { identity, hint: Some(hint), found, .. }) = self.containers.get(&id) else {
            return;
        };
        let origin = container.origin();
        let (name, suffix) = (self.full_name(hint, found.as_ref(), identity, id), suffix(id, identity));
        let renamed = self.names.call(id, &name, origin, &suffix);
        self.rename(renamed);
    }

    /// Makes the name of a container from the one that was found, else from what its path reveals.
    pub(super) fn full_name(
        &self,
        hint: &PathHint,
        found: Option<&(String, NameOrigin)>,
        identity: &Identity,
        id: CgroupId,
    ) -> String {
        let name = found.map_or_else(|| fallback(hint, &identity.path), |(name, _)| name.clone());
        let name = text::cut(&name, text::NAME);
        self.rules.template.name(name, &suffix(id, identity), &self.hostname, &identity.labels)
    }

    /// Reports containers under new names.
    pub(super) fn rename(&mut self, renamed: Vec<Renamed>) {
        for (id, name) in renamed {
            if let Some(taken) = self.names.called(id).filter(|called| *called != name) {
                tracing::warn!(name = %taken, reported_as = %name, "Container name already in use: id appended");
            }
            if let Some(container) = self.containers.get_mut(&id) {
                Arc::make_mut(&mut container.identity).name = name;
            }
            self.claim(id);
        }
    }

    /// Records the result of a name lookup.
    pub fn named(&mut self, id: CgroupId, known: &ContainerInfo) {
        let path = self.path(id);
        let found = self.containers.get_mut(&id).or_else(|| self.ended.get_mut(&id));
        let Some(container @ Container { hint: Some(_), .. }) = found else { return };
        container.named = true;
        container.is_final |= known.is_final;
        // A name stays if a later lookup finds none: the process that told it may have ended.
        container.found = known.name.clone().map(|name| (name, known.origin)).or(container.found.take());
        let found = container.found.clone();
        let claimed = container.is_claimed.then(|| container.identity.name.clone());
        let hint = container.hint.clone();
        let mut identity = Identity::clone(&container.identity);
        // Hierarchies whose directory was created after the first lookup.
        identity.v1 = path.map_or(identity.v1, |path| self.hierarchies.identity(&path).v1);
        let Some(hint) = hint else { return };
        describe(&mut identity, &hint, known);
        let name = self.full_name(&hint, found.as_ref(), &identity, id);
        identity.name = match self.names.reported(id) {
            Some(reported) => reported.to_owned(),
            None => claimed.unwrap_or_else(|| self.names.unclaimed(&name, &suffix(id, &identity))),
        };
        if let Some(container) = self.containers.get_mut(&id).or_else(|| self.ended.get_mut(&id)) {
            container.identity = Arc::new(identity);
        }
        self.call(id);
        self.claim(id);
    }
}
