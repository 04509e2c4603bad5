//! The files of one cgroup.

use std::sync::Arc;

use super::cgroup_file::CgroupFile;
use super::plan::{FilePlan, directory};
use crate::snapshot::Identity;
use crate::sources::fd_budget::Activity;

/// The files of one cgroup, by plan, and its identity.
#[derive(Debug)]
pub(super) struct OpenFiles {
    pub(super) identity: Arc<Identity>,
    /// `None` until one of the file's metrics is first needed.
    pub(super) files: Vec<Option<Box<CgroupFile>>>,
    /// The plans in whose trees it has a directory.
    pub(super) found: Box<[u8]>,
    pub(super) activity: Activity,
    /// True if its files may stay open.
    pub(super) stays_open: bool,
}

impl OpenFiles {
    pub(super) fn find(plans: &[FilePlan], identity: &Arc<Identity>) -> Self {
        let files = plans.iter().map(|_| None).collect();
        let is_there = |(at, plan): (usize, &FilePlan)| directory(plan.tree, identity).map(|_| at);
        let found = plans.iter().enumerate().filter_map(is_there).filter_map(|at| u8::try_from(at).ok()).collect();
        Self { identity: Arc::clone(identity), files, found, activity: Activity::default(), stays_open: true }
    }

    /// True if these are the files of that identity. Adopts the newer one, whose name or labels may have changed.
    pub(super) fn is_of(&mut self, identity: &Arc<Identity>) -> bool {
        if !Arc::ptr_eq(&self.identity, identity) {
            if (&self.identity.v2, &self.identity.v1) != (&identity.v2, &identity.v1) {
                return false;
            }
            self.identity = Arc::clone(identity);
        }
        true
    }

    pub(super) fn count(&self) -> usize {
        self.files.iter().flatten().map(|kept| kept.count_open()).sum()
    }

    /// Returns the number of files to keep open.
    pub(super) fn count_found(&self) -> usize {
        self.files.iter().flatten().map(|kept| kept.count_found()).sum()
    }

    pub(super) fn close(&mut self) {
        self.files.iter_mut().flatten().for_each(|kept| kept.close());
    }
}
