//! Which cgroup is a container, where its directories are, and what it is called.

pub mod follow;
pub mod glob;
pub mod host;
pub mod inotify;
pub mod mounts;
pub mod names;
pub mod own;
pub mod registry;
pub mod rules;
pub mod runtime;
pub mod tree;
pub mod trees;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use self::mounts::Mount;
use crate::metrics::{Metric, Origin};

/// Where the kernel's file systems are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roots {
    /// The directory below which the cgroup trees are mounted; `None` takes them from the mount table.
    pub cgroup: Option<PathBuf>,
    /// procfs.
    pub proc: PathBuf,
    /// sysfs.
    pub sys: PathBuf,
}

impl Default for Roots {
    fn default() -> Self {
        Self { cgroup: None, proc: "/proc".into(), sys: "/sys".into() }
    }
}

/// Where the machine's root filesystem is seen: through its first process, unless that is not ours to look into.
pub fn host_root(roots: &Roots) -> PathBuf {
    // With the dot it is the directory, without it the link.
    let first = roots.proc.join("1/root/.");
    if first.is_dir() { first } else { "/".into() }
}

/// What threads share is whole at every moment, whatever became of them.
fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The mounts that show cgroup trees.
fn mounts(roots: &Roots) -> Vec<Mount> {
    match &roots.cgroup {
        Some(root) => beneath(root),
        None => mounts::parse(&fs::read(roots.proc.join("self/mountinfo")).unwrap_or_default()),
    }
}

/// The trees below a directory that is given instead of the mount table: the v2 tree itself, or the customary layout.
fn beneath(root: &Path) -> Vec<Mount> {
    let mount = |point: PathBuf, kind: &str, controller: Option<&str>| Mount {
        root: "/".into(),
        point,
        kind: kind.to_owned(),
        options: controller.map(str::to_owned).into_iter().collect(),
    };
    let v2 = [root.to_path_buf(), root.join("unified")]
        .into_iter()
        .filter(|dir| dir.join("cgroup.procs").exists())
        .map(|dir| mount(dir, "cgroup2", None));
    let v1 = controllers()
        .filter(|controller| root.join(controller).is_dir())
        .map(|controller| mount(root.join(controller), "cgroup", Some(controller)));
    v2.chain(v1).collect()
}

/// The v1 controllers that the table reads.
fn controllers() -> impl Iterator<Item = &'static str> {
    let all = Metric::origins().filter_map(|(_, _, origin)| match origin {
        Origin::V1(controller, _) => Some(*controller),
        _ => None,
    });
    all.collect::<std::collections::BTreeSet<_>>().into_iter()
}
