//! Groups below a cgroup, for numbers that the kernel counts for each group alone (v1 OOM kills,
//! `mem_cgroup_oom_control_read()` in `mm/memcontrol-v1.c`).

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::plan::FilePlan;
use crate::containers::walk;
use crate::sources::parse;

/// The latest value of each group below a cgroup, those included that were removed: what they counted has happened.
#[derive(Debug, Default)]
pub(super) struct GroupsBelow(BTreeMap<PathBuf, u64>);

impl GroupsBelow {
    /// Reads the groups that exist. A group that was created anew under a name begins at zero: the larger value stays.
    pub(super) fn read(&mut self, dir: &Path, plan: &FilePlan) {
        // A cgroup directory has two links plus one per child directory.
        if fs::metadata(dir).is_ok_and(|found| found.nlink() == 2) {
            return;
        }
        for group in walk::tree(dir).into_iter().flatten().filter(|group| !group.path.as_os_str().is_empty()) {
            let text = fs::read(dir.join(&group.path).join(plan.file.name));
            if let Some(value) = text.ok().and_then(|text| parse::number(plan.file.format, &text).ok()) {
                let known = self.0.entry(group.path).or_default();
                *known = value.max(*known);
            }
        }
    }

    pub(super) fn sum(&self) -> u64 {
        self.0.values().fold(0, |sum, value| sum.saturating_add(*value))
    }
}
