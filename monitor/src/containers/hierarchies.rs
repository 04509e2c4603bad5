//! Mounted cgroup hierarchies, and the directories of a cgroup in them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::mounts::{self, Mount};
use super::roots::Roots;
use crate::metrics::{Metric, Origin};
use crate::snapshot::Identity;

/// The mounted hierarchies.
#[derive(Clone, Debug, Default)]
pub struct Hierarchies {
    /// The v2 tree.
    pub v2: Option<PathBuf>,
    /// The trees of the v1 controllers.
    pub v1: BTreeMap<String, PathBuf>,
}

impl Hierarchies {
    /// Finds the mounted hierarchies.
    pub fn find(roots: &Roots) -> Self {
        let mounts: Vec<_> = cgroup_mounts(roots).into_iter().filter(|mount| mount.root == Path::new("/")).collect();
        let v1 = controllers().filter_map(|controller| {
            let mount = mounts.iter().find(|mount| mount.has_controller(controller))?;
            Some((controller.to_owned(), mount.point.clone()))
        });
        Self { v2: mounts.iter().find(|mount| mount.is_v2()).map(|mount| mount.point.clone()), v1: v1.collect() }
    }

    /// Returns the tree that is walked for containers: v2, else the v1 hierarchy of memory, else any.
    pub fn walked(&self) -> Option<&Path> {
        self.v2.as_deref().or_else(|| self.v1.get("memory").or_else(|| self.v1.values().next()).map(PathBuf::as_path))
    }

    /// Returns the directories of one cgroup, in all trees that contain it.
    pub fn identity(&self, path: &Path) -> Identity {
        let v1 = self.v1.iter().map(|(controller, tree)| (controller.clone(), tree.join(path)));
        Identity {
            path: format!("/{}", path.display()),
            v2: self.v2.as_ref().map(|tree| tree.join(path)),
            v2_level: path.components().count(),
            v1: v1.filter(|(_, dir)| dir.is_dir()).collect(),
            is_root: path.as_os_str().is_empty(),
            ..Identity::default()
        }
    }
}

/// Finds the mounts of cgroup hierarchies that no other mount hides.
pub(super) fn cgroup_mounts(roots: &Roots) -> Vec<Mount> {
    match &roots.cgroup {
        Some(root) => beneath(root),
        None => visible(&roots.proc.join("self/mountinfo")),
    }
}

fn visible(table: &Path) -> Vec<Mount> {
    let mut found: Vec<Mount> = Vec::new();
    mounts::lines(table, |line| {
        if let Some((mount, (_, device))) = mounts::mount(line).zip(mounts::id_and_device(line)) {
            // A later mount at the same place hides the earlier one; one at a directory above it shows another device.
            found.retain(|other| other.point != mount.point);
            if mount.kind.starts_with("cgroup") && device_of(&mount.point) == Some(device) {
                found.push(mount);
            }
        }
        ControlFlow::Continue(())
    });
    found
}

fn device_of(path: &Path) -> Option<(u32, u32)> {
    let device = rustix::fs::stat(path).ok()?.st_dev;
    Some((rustix::fs::major(device), rustix::fs::minor(device)))
}

/// True if a directory is the root of its tree, which has or lacks some files (`kernel/cgroup`).
pub fn is_tree_root(dir: &Path, is_v2: bool) -> bool {
    let is_cgroup = |dir: &Path| dir.join("cgroup.procs").exists();
    match is_v2 {
        true => is_cgroup(dir) && !dir.join("cgroup.events").exists() && !dir.parent().is_some_and(is_cgroup),
        false => dir.join("cgroup.sane_behavior").exists() || dir.join("release_agent").exists(),
    }
}

/// Finds the trees below a given directory instead of the mount table: the v2 tree itself, or the usual layout.
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

/// The v1 controllers that the table of metrics reads.
pub(super) fn controllers() -> impl Iterator<Item = &'static str> {
    let all = Metric::origins().filter_map(|(_, _, origin)| match origin {
        Origin::V1(controller, _) => Some(*controller),
        _ => None,
    });
    all.collect::<BTreeSet<_>>().into_iter()
}
