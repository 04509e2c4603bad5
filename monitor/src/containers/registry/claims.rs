//! The names that are claimed, where several machines write to one server.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::Registry;
use super::container::Container;
use crate::snapshot::{CgroupId, Coverage};

impl Registry {
    /// Claims the name of a container, if that is reported.
    pub(super) fn claim(&self, id: CgroupId) {
        let (Some(owners), Some(container)) = (&self.owners, self.containers.get(&id).or_else(|| self.ended.get(&id)))
        else {
            return;
        };
        if container.is_shown() && !container.is_claimed && self.is_reported(id, container) {
            owners.want([self.name(id, container)]);
        }
    }

    /// True if a container is not left out by its name.
    pub(super) fn is_reported(&self, id: CgroupId, container: &Container) -> bool {
        match container.hint {
            None => self.rules.reports_machine(&self.hostname),
            Some(_) => self.rules.reports(self.name(id, container)),
        }
    }

    /// The name of a container on this machine.
    fn name<'a>(&'a self, id: CgroupId, container: &'a Container) -> &'a str {
        self.names.reported(id).unwrap_or(&container.identity.name)
    }

    /// Gives up the name of a container that has ended; its last report has it.
    pub(super) fn give_up(&self, id: CgroupId, mut container: Container) -> Container {
        let name = self.names.reported(id);
        if let Some(claimed) = name.and_then(|name| self.owners.as_ref()?.end(name)) {
            Arc::make_mut(&mut container.identity).name = claimed;
            container.is_claimed = true;
        }
        container
    }

    /// Applies the answers to claims, and gives up names that are not reported any more.
    pub(super) fn apply_claims(&mut self, now: Duration, coverage: Coverage) {
        let Some(owners) = self.owners.clone() else { return };
        if coverage == Coverage::All {
            let reported = self.containers.iter().chain(self.ended.iter().filter(|(_, ended)| !ended.is_claimed));
            let reported = reported.filter(|(id, container)| container.is_shown() && self.is_reported(**id, container));
            let names: BTreeSet<&str> = reported.map(|(id, container)| self.name(*id, container)).collect();
            owners.retain(&names);
            owners.want(names);
        }
        let mut table = owners.table();
        for (id, container) in &mut self.containers {
            let Some(name) = self.names.reported(*id) else { continue };
            let reported = table.reported(name, now);
            container.awaits_owner = reported.is_none();
            if let Some(reported) = reported.filter(|reported| container.identity.name != *reported) {
                Arc::make_mut(&mut container.identity).name = reported.to_owned();
            }
        }
    }

    /// Returns a container that has exited under the name of its last report. It waits for the answer to the claim on
    /// it.
    pub(super) fn reported_last(&mut self, id: CgroupId, mut container: Container, now: Duration) -> Option<Container> {
        if container.is_claimed {
            return Some(container);
        }
        if !self.rules.reports(&container.identity.name) {
            return None;
        }
        if let Some(owners) = &self.owners {
            let Some(reported) = owners.reported(&container.identity.name, now) else {
                self.ended.insert(id, container);
                return None;
            };
            if container.identity.name != reported {
                Arc::make_mut(&mut container.identity).name = reported;
            }
        }
        Some(container)
    }
}
