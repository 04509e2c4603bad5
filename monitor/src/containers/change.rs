//! Changes of the cgroup tree, and the interface of those who report them.

use std::ffi::OsString;
use std::os::fd::AsFd;

use crate::snapshot::CgroupId;

/// Something that happened to a cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was made in another one, with this name if that is known.
    Made {
        /// The cgroup.
        id: CgroupId,
        /// The one that it is in.
        parent: CgroupId,
        /// Its directory's name.
        name: Option<OsString>,
    },
    /// It got its first process.
    Filled(CgroupId),
    /// It lost its last process.
    Emptied(CgroupId),
    /// It was removed.
    Removed(CgroupId),
}

/// Reports the changes of a cgroup tree. Its descriptor is readable while changes wait.
pub trait ChangeFeed: AsFd + Send {
    /// Takes the changes that wait, in the order in which they happened; `None` if some were lost.
    fn take(&mut self) -> Option<Vec<Change>>;

    /// Prepares for what follows a loss: the tree is walked next.
    fn recover(&mut self) {}
}
