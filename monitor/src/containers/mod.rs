//! Which cgroup is a container, where its directories are, and what it is called.

pub mod mounts;
pub mod own;
pub mod runtime;

use std::path::PathBuf;

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
