//! Where the kernel's file systems are mounted.

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

/// Where the machine's root filesystem is seen: through its first process, unless that is not ours to look into.
pub fn host_root(roots: &Roots) -> PathBuf {
    // With the dot it is the directory, without it the link.
    let first = roots.proc.join("1/root/.");
    if first.is_dir() { first } else { "/".into() }
}
