//! Where the hierarchies are, and where in them a cgroup's files are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Roots, controllers, mounts};
use crate::snapshot::Identity;

/// Where the hierarchies are mounted.
#[derive(Clone, Debug, Default)]
pub struct Trees {
    /// The v2 tree.
    pub v2: Option<PathBuf>,
    /// Those of the v1 controllers.
    pub v1: BTreeMap<String, PathBuf>,
}

impl Trees {
    /// Looks for them.
    pub fn find(roots: &Roots) -> Self {
        let mounts: Vec<_> = mounts(roots).into_iter().filter(|mount| mount.root == Path::new("/")).collect();
        let v1 = controllers().filter_map(|controller| {
            let mount = mounts.iter().find(|mount| mount.has_controller(controller))?;
            Some((controller.to_owned(), mount.point.clone()))
        });
        Self { v2: mounts.iter().find(|mount| mount.is_v2()).map(|mount| mount.point.clone()), v1: v1.collect() }
    }

    /// The tree whose directories are the containers: v2, else the v1 hierarchy of memory, else any.
    pub fn walked(&self) -> Option<&Path> {
        self.v2.as_deref().or_else(|| self.v1.get("memory").or_else(|| self.v1.values().next()).map(PathBuf::as_path))
    }

    /// The files of one cgroup, in all trees in which it is.
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
