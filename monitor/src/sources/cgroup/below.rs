//! Groups below a cgroup, for numbers that the kernel counts for each group alone (v1 OOM kills,
//! `mem_cgroup_oom_control_read()` in `mm/memcontrol-v1.c`).

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::file::LONGEST;
use super::plan::FilePlan;
use crate::containers::walk;
use crate::foreign;
use crate::sources::parse;

/// The latest value of each group below a cgroup, and the sum of those that were removed: what they counted has
/// happened.
#[derive(Debug, Default)]
pub(super) struct GroupsBelow {
    groups: BTreeMap<PathBuf, u64>,
    removed: u64,
}

impl GroupsBelow {
    /// Reads the groups that exist.
    pub(super) fn read(&mut self, dir: &Path, plan: &FilePlan) {
        // A cgroup directory has two links plus one per child directory.
        let has_groups = fs::metadata(dir).is_ok_and(|found| found.nlink() != 2);
        let groups = if has_groups { walk::tree(dir).unwrap_or_default() } else { Vec::new() };
        let value = |path: &Path| {
            let text = foreign::read(&dir.join(path).join(plan.file.name), LONGEST).ok()?;
            parse::number(plan.file.format, &text).ok()
        };
        let groups = groups.into_iter().map(|group| group.path).filter(|path| !path.as_os_str().is_empty());
        self.follow(groups.filter_map(|path| Some((value(&path)?, path))).collect());
    }

    /// Takes over the values of the groups that exist now.
    fn follow(&mut self, now: Vec<(u64, PathBuf)>) {
        let before = std::mem::take(&mut self.groups);
        self.groups = now.into_iter().map(|(value, path)| (path, value)).collect();
        for (path, known) in before {
            // A group that was created anew under a name begins at zero.
            if self.groups.get(&path).is_none_or(|value| *value < known) {
                self.removed = self.removed.saturating_add(known);
            }
        }
    }

    pub(super) fn sum(&self) -> u64 {
        self.groups.values().fold(self.removed, |sum, value| sum.saturating_add(*value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_removed_groups_have_counted_stays_and_nothing_else_is_kept_of_them() {
        let mut below = GroupsBelow::default();
        let mut sum = |now: &[(u64, &str)]| {
            below.follow(now.iter().map(|(value, path)| (*value, PathBuf::from(path))).collect());
            (below.sum(), below.groups.len())
        };
        assert_eq!(sum(&[(1, "a"), (2, "b")]), (3, 2));
        assert_eq!(sum(&[(4, "a")]), (6, 1), "b was removed");
        assert_eq!(sum(&[(1, "a")]), (7, 1), "a was created anew");
        assert_eq!(sum(&[]), (7, 0));
    }
}
