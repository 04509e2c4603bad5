//! CPU time of cgroups as the iterator found it.

use std::collections::BTreeMap;

use crate::snapshot::CgroupId;

/// CPU time of each cgroup: all of it, exactly, if the latest pass has found it, and user and system time as they were told
/// the last time.
#[derive(Default)]
pub(super) struct Times(pub(super) BTreeMap<CgroupId, (Option<u64>, (u64, u64))>);

impl Times {
    /// All of it, in nanoseconds.
    pub(super) fn total(&self, id: CgroupId) -> Option<u64> {
        self.0.get(&id)?.0
    }
}
