//! Lives of containers: a cgroup is running while it has processes.

use std::io::Read;
use std::path::PathBuf;

use crate::foreign;
use crate::metrics::Metric;
use crate::snapshot::{Cgroup, Coverage, Identity};

/// The life of a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Life {
    /// It has not been sampled.
    #[default]
    New,
    /// It has not been seen with a process: its runtime has just created it, or has left it behind before the agent started.
    NotBegun,
    /// It has processes, or cannot be seen.
    Running,
    /// It was without a process in the last full sample, like one that is about to be removed.
    Empty,
    /// It was reported as exited, although its cgroup still exists.
    Over,
}

impl Life {
    /// The life after a sample.
    pub(super) fn after(self, is_empty: bool, coverage: Coverage) -> Self {
        match (self, is_empty, coverage) {
            (_, false, _) | (Self::Running, true, Coverage::Exited) => Self::Running,
            (Self::New | Self::NotBegun, true, Coverage::All) => Self::NotBegun,
            // It has just lost its last process.
            (Self::New | Self::NotBegun, true, Coverage::Exited) | (Self::Running, true, Coverage::All) => Self::Empty,
            (Self::Empty, true, Coverage::All) | (Self::Over, true, _) => Self::Over,
            (Self::Empty, true, Coverage::Exited) => Self::Empty,
        }
    }

    /// True if no process goes by the container's name.
    pub(super) fn is_vacant(self) -> bool {
        matches!(self, Self::NotBegun | Self::Over)
    }
}

/// True if a container is known to have no process in any tree. Where the v2 tree does not say so, an empty list of
/// processes is no proof: those of groups below, or of other namespaces, are not in it.
pub(super) fn is_empty(cgroup: &Cgroup) -> bool {
    let is_told = cgroup.identity.v2.is_none() || matches!(cgroup.values.get(Metric::Populated), Some(Ok(_)));
    is_told && cgroup.values.is_empty_of_processes() && !is_inhabited(&cgroup.identity)
}

/// True if a v1 tree lists a process: some runtimes leave it outside of the v2 directory.
fn is_inhabited(identity: &Identity) -> bool {
    let lists_process = |dir: &PathBuf| {
        let file = foreign::open(&dir.join("cgroup.procs"));
        file.is_ok_and(|mut file| file.read(&mut [0]).is_ok_and(|read| read > 0))
    };
    identity.v1.values().any(lists_process)
}
