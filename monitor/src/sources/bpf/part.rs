//! Part of the cgroup tree that is counted.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::containers::hierarchies::is_tree_root;
use crate::containers::own::Own;
use crate::snapshot::{CgroupId, Identity, Scope};

/// The part of the tree that is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The scope: the agent's container, or all of them.
    pub scope: Scope,
    /// The v2 directory at its top; `None` if no v2 tree is visible.
    pub top: Option<PathBuf>,
    /// Its directories in the trees of the v1 controllers.
    pub v1: BTreeMap<String, PathBuf>,
    /// Its id; `None` for the whole tree.
    pub id: Option<CgroupId>,
    /// True if lifecycle events of cgroups are reported.
    pub cgroup_events: bool,
    /// The minimum number of entries in the maps.
    pub least: u32,
}

impl Part {
    /// The machine: everything below the directories of its v2 tree and of its v1 hierarchies. The maps start large,
    /// since many cgroups may appear between two samples.
    pub fn machine(top: Option<PathBuf>, v1: BTreeMap<String, PathBuf>) -> Self {
        Self { scope: Scope::Host, top, v1, id: None, cgroup_events: true, least: 4096 }
    }

    /// One container and its descendants.
    pub fn of(own: &Own) -> Self {
        let Identity { v2, v1, is_root, .. } = &own.identity;
        // At the root of the tree, the container's part of it is not known.
        let top = v2.clone().filter(|dir| *is_root || !is_tree_root(dir, true));
        let (id, v1) = (Some(own.id).filter(|_| !is_root && top.is_some()), v1.clone());
        Self { scope: Scope::SelfContainer, top, v1, id, cgroup_events: false, least: 1024 }
    }
}
