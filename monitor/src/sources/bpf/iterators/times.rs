//! CPU time of cgroups as the iterator read it.

use std::collections::BTreeMap;

use crate::snapshot::CgroupId;

/// CPU time of each cgroup: the exact total of the latest run, and the user and system time reported last.
#[derive(Default)]
pub(super) struct Times(pub(super) BTreeMap<CgroupId, (Option<u64>, (u64, u64))>);

impl Times {
    /// The total, in nanoseconds.
    pub(super) fn total(&self, id: CgroupId) -> Option<u64> {
        self.0.get(&id)?.0
    }
}
