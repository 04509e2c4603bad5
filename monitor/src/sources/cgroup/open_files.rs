//! The files of one cgroup.

use std::path::Path;
use std::sync::Arc;

use super::ancestors::is_root;
use super::binding::{Before, BindingLimit, Limits};
use super::cgroup_file::CgroupFile;
use super::plan::{FilePlan, directory};
use crate::metrics::{Metric, Upwards};
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
    /// The plans whose files tell of the whole machine: the cgroup is at the root of their trees, and not of all.
    pub(super) of_machine: Box<[u8]>,
    pub(super) activity: Activity,
    /// True if its files may stay open.
    pub(super) stays_open: bool,
    /// The levels whose limits bound it at the last sample.
    pub(super) bounds: Before,
}

impl OpenFiles {
    pub(super) fn find(plans: &[FilePlan], identity: &Arc<Identity>) -> Self {
        let files = plans.iter().map(|_| None).collect();
        let is_of_machine = |plan: &FilePlan, dir: &Path| {
            !identity.is_root && plan.file.upwards == Upwards::Own && is_root(dir, plan.tree)
        };
        let there =
            (0..).zip(plans).filter_map(|(at, plan)| Some((at, is_of_machine(plan, directory(plan.tree, identity)?))));
        let (of_machine, found): (Vec<_>, Vec<_>) = there.partition(|(_, is_of_machine)| *is_of_machine);
        let numbers = |plans: Vec<(u8, bool)>| plans.into_iter().map(|(at, _)| at).collect();
        let (found, of_machine) = (numbers(found), numbers(of_machine));
        Self {
            identity: Arc::clone(identity),
            files,
            found,
            of_machine,
            activity: Activity::default(),
            stays_open: true,
            bounds: None,
        }
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

    /// Returns its limits, each from the first tree that has the controller.
    pub(super) fn limits(&self, plans: &[FilePlan]) -> Limits {
        let mut limits = Limits::default();
        for (plan, file) in plans.iter().zip(&self.files) {
            let Some(bound) = file.as_ref().and_then(|file| file.bound()) else { continue };
            let limit = match plan.rows.first().map(|(metric, ..)| *metric) {
                Some(Metric::CpuLimit) => &mut limits.quota,
                Some(Metric::CpusetCount) => &mut limits.cpuset,
                Some(Metric::MemoryLimit) => &mut limits.memory,
                Some(Metric::PidsLimit) => &mut limits.tasks,
                _ => continue,
            };
            limit.get_or_insert(BindingLimit { tree: plan.tree, bound });
        }
        limits
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
