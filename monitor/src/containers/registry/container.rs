//! A container of the registry, and its identity.

use std::sync::Arc;

use super::lives::{Life, is_empty};
use crate::containers::info::{ContainerInfo, NameOrigin};
use crate::containers::runtime_path::PathHint;
use crate::foreign::text;
use crate::snapshot::{Cgroup, CgroupId, Coverage, Identity, Status};

/// A container that exists, or has exited and was not reported yet.
#[derive(Debug)]
pub(super) struct Container {
    pub(super) identity: Arc<Identity>,
    /// The runtime and the id that its path reveals; `None` for the machine.
    pub(super) hint: Option<PathHint>,
    /// True once its name was looked up.
    pub(super) named: bool,
    /// The name that was found, and its origin.
    pub(super) found: Option<(String, NameOrigin)>,
    /// True if no better name will come.
    pub(super) is_final: bool,
    /// The number of full samples that contain it.
    pub(super) readings: u32,
    pub(super) life: Life,
    /// True while the answer to the claim on its name is awaited.
    pub(super) awaits_owner: bool,
    /// True if it has exited and its name is the claimed one.
    pub(super) is_claimed: bool,
}

impl Container {
    /// The origin of its name, which decides who has the name if several go by it.
    pub(super) fn origin(&self) -> NameOrigin {
        match &self.found {
            _ if self.life.is_vacant() => NameOrigin::Vacant,
            Some((_, origin)) => *origin,
            None => NameOrigin::Path,
        }
    }

    /// True once its name was looked up, or it has waited long enough for that.
    pub(super) fn is_name_settled(&self) -> bool {
        self.named || self.readings > 1
    }

    /// True if it is reported under its name: that is settled, and the cgroup has had a process.
    pub(super) fn is_shown(&self) -> bool {
        self.is_name_settled() && !self.life.is_vacant()
    }

    /// Judges by its numbers whether it lives; true if that changes the origin of its name.
    pub(super) fn judge(&mut self, cgroup: &mut Cgroup, coverage: Coverage) -> bool {
        if cgroup.status == Status::Exited {
            return false;
        }
        let before = self.life;
        self.life = before.after(is_empty(cgroup), coverage);
        if self.life == Life::Over && before != Life::Over {
            cgroup.status = Status::Exited;
        } else {
            cgroup.withheld |= self.life.is_vacant();
        }
        self.life.is_vacant() != before.is_vacant()
    }
}

/// Copies the known facts of a container into its identity.
pub(super) fn describe(identity: &mut Identity, hint: &PathHint, known: &ContainerInfo) {
    identity.container_id.clone_from(&hint.id);
    identity.runtime = Some(known.runtime.unwrap_or(hint.runtime).to_owned());
    identity.image = known.image.as_deref().map(|image| text::cut(image, text::IMAGE).to_owned());
    identity.labels = text::bound_labels(&known.labels);
}

/// Returns the text that tells a container from another of the same name.
pub(super) fn suffix(id: CgroupId, identity: &Identity) -> String {
    identity.container_id.as_deref().map_or_else(|| id.0.to_string(), short)
}

/// Returns the name of an unnamed container.
pub(super) fn fallback(hint: &PathHint, path: &str) -> String {
    hint.name.clone().or_else(|| hint.id.as_deref().map(short)).unwrap_or_else(|| path.to_owned())
}

/// Returns the first twelve digits, as runtimes show their ids.
fn short(id: &str) -> String {
    id.chars().take(12).collect()
}
