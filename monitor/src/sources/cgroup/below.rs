//! Groups below a cgroup, for numbers that the kernel counts for each group alone (v1 OOM kills,
//! `mem_cgroup_oom_control_read()` in `mm/memcontrol-v1.c`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::error::FileError;
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
    ///
    /// # Errors
    /// If a group exists and cannot be read: it is not counted as removed, and the sum is not known.
    pub(super) fn read(&mut self, dir: &Path, plan: &FilePlan) -> Result<(), FileError> {
        // A cgroup directory has two links plus one per child directory.
        let has_groups = rustix::fs::stat(dir).map_err(FileError::Os)?.st_nlink != 2;
        let groups = if has_groups { walk::tree(dir).map_err(FileError::of)? } else { Vec::new() };
        let groups = groups.into_iter().map(|group| group.path).filter(|path| !path.as_os_str().is_empty());
        let mut now = Vec::new();
        for path in groups {
            match value(&dir.join(&path).join(plan.file.name), plan) {
                Ok(value) => now.push((value, path)),
                // Removed after the walk.
                Err(FileError::Os(Errno::NOENT | Errno::NODEV)) => {}
                Err(error) => return Err(error),
            }
        }
        self.follow(now);
        Ok(())
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

fn value(path: &Path, plan: &FilePlan) -> Result<u64, FileError> {
    let text = foreign::read(path, LONGEST).map_err(FileError::of)?;
    parse::number(plan.file.format, &text).map_err(FileError::Parse)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::sources::cgroup::plan::plans;

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

    #[test]
    fn a_group_that_cannot_be_read_for_a_moment_is_not_counted_twice() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("group/memory.oom_control");
        fs::create_dir(file.parent().unwrap()).unwrap();
        let plan = plans().into_iter().find(|plan| plan.file.name == "memory.oom_control").unwrap();
        let mut below = GroupsBelow::default();
        let mut sum = |text: Option<&str>| {
            match text {
                Some(text) => fs::write(&file, text).unwrap(),
                // Reading a directory is an error.
                None => fs::remove_file(&file).and_then(|()| fs::create_dir(&file)).unwrap(),
            }
            let result = below.read(dir.path(), &plan).map(|()| below.sum());
            _ = fs::remove_dir(&file);
            result
        };
        assert_eq!(sum(Some("oom_kill 5\n")), Ok(5));
        assert_eq!(sum(None), Err(FileError::Os(Errno::ISDIR)));
        assert_eq!(sum(Some("oom_kill 5\n")), Ok(5));
    }
}
