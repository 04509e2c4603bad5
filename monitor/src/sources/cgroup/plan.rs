//! Files of the table, with the metrics that each feeds.

use std::path::{Path, PathBuf};

use super::error::Causes;
use crate::metrics::{File, Metric, Origin, TreeVersion};
use crate::snapshot::{Identity, Values};

/// The tree that contains a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TreeKind {
    V2,
    V1(&'static str),
}

impl TreeKind {
    /// Returns the version of the tree.
    pub(super) fn version(self) -> TreeVersion {
        match self {
            Self::V2 => TreeVersion::V2,
            Self::V1(_) => TreeVersion::V1,
        }
    }
}

/// A file of the table, with the rows that it feeds.
#[derive(Debug)]
pub(super) struct FilePlan {
    pub(super) tree: TreeKind,
    pub(super) file: File,
    pub(super) rows: Vec<(Metric, u8, File)>,
    pub(super) causes: Causes,
    /// True if the machine has another origin of all these numbers, which is the same on all trees.
    pub(super) is_of_machine: bool,
}

impl FilePlan {
    /// True if better origins have provided all its metrics.
    pub(super) fn is_served(&self, values: &Values) -> bool {
        self.rows.iter().all(|(metric, rank, _)| values.served(*metric, *rank))
    }
}

/// Returns the files of the table, without duplicates.
pub(super) fn plans() -> Vec<FilePlan> {
    let mut plans: Vec<FilePlan> = Vec::new();
    for (metric, rank, origin) in Metric::origins() {
        let (tree, file) = match origin {
            Origin::V2(file) => (TreeKind::V2, *file),
            Origin::V1(controller, file) => (TreeKind::V1(controller), *file),
            _ => continue,
        };
        match plans.iter_mut().find(|plan| plan.tree == tree && plan.file.name == file.name) {
            Some(plan) => plan.rows.push((metric, rank, file)),
            None => plans.push(FilePlan {
                tree,
                file,
                rows: vec![(metric, rank, file)],
                causes: Causes::default(),
                is_of_machine: false,
            }),
        }
    }
    let has_root = |metric: Metric| metric.spec().origins().iter().any(|origin| matches!(origin, Origin::Root(_)));
    for plan in &mut plans {
        plan.is_of_machine = plan.rows.iter().any(|(metric, ..)| has_root(*metric));
    }
    plans
}

/// Returns the directory of a cgroup in a tree.
pub(super) fn directory(tree: TreeKind, identity: &Identity) -> Option<&Path> {
    match tree {
        TreeKind::V2 => identity.v2.as_deref(),
        TreeKind::V1(controller) => identity.v1.get(controller).map(PathBuf::as_path),
    }
}
