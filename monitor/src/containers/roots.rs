//! Mount points of the kernel's file systems.

use std::path::PathBuf;

/// The mount points of the kernel's file systems.
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

/// Returns the path of the machine's root filesystem: through its first process, unless that may not be accessed.
pub fn host_root(roots: &Roots) -> PathBuf {
    // The trailing dot follows the link to the directory.
    let first = roots.proc.join("1/root/.");
    if first.is_dir() { first } else { "/".into() }
}
