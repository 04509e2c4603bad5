//! Changes of the cgroup tree, and the interface of their sources.

use std::ffi::OsString;
use std::os::fd::AsFd;

use crate::snapshot::CgroupId;

/// A change of a cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was created in a parent, with this name, if known.
    Created {
        /// The cgroup.
        id: CgroupId,
        /// Its parent.
        parent: CgroupId,
        /// Its directory's name.
        name: Option<OsString>,
    },
    /// It got its first process.
    Populated(CgroupId),
    /// It lost its last process.
    Emptied(CgroupId),
    /// It was removed.
    Removed(CgroupId),
}

/// A source of changes of a cgroup tree. Its descriptor is readable while changes wait.
pub trait ChangeFeed: AsFd + Send {
    /// Takes the waiting changes, in the order in which they happened; `None` if some were lost.
    fn take(&mut self) -> Option<Vec<Change>>;

    /// Prepares for the rescan of the tree that follows a loss.
    fn recover(&mut self) {}
}
