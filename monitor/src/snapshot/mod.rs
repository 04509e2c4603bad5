//! One sample of the kernel: plain values, and for each value that is absent, the cause.
//!
//! Nothing here reads, computes or knows a clock. Sources fill a [`Snapshot`]; [`crate::report`] turns two of them
//! into a report.

mod status;
mod values;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::readings::Interface;

pub use self::status::{Coverage, Scope, Status};
pub use self::values::{ChangeTokens, Origins, Values};

/// A cgroup: the inode of its directory in the v2 tree, which is what `bpf_get_current_cgroup_id()` returns.
///
/// On a host without a v2 tree it is the inode of the directory in one v1 hierarchy: unique there, and never joined
/// with an id from eBPF.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CgroupId(pub u64);

/// The time of a reading: monotonic (boot time, suspend included) for rates, wall clock for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Time since boot.
    pub mono: Duration,
    /// Time of day.
    pub wall: SystemTime,
}

/// The identity of a cgroup, and the directories of its files. Made once per cgroup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The name under which it is reported.
    pub name: String,
    /// Path below the root of its cgroup tree, as the kernel shows it to this agent.
    pub path: String,
    /// Its directory in the v2 tree.
    pub v2: Option<PathBuf>,
    /// Its directories in the v1 hierarchies, by controller (`cpu`, `cpuacct`, `memory`, …).
    pub v1: BTreeMap<String, PathBuf>,
    /// The number of directories of the v2 tree above its own, as far as they are visible from here.
    pub v2_level: usize,
    /// True if it is the root of the machine's v2 tree, which has no files of its own for memory and limits.
    pub is_root: bool,
    /// The runtime's id of the container.
    pub container_id: Option<String>,
    /// `docker`, `containerd`, `podman`, …
    pub runtime: Option<String>,
    /// The container's image.
    pub image: Option<String>,
    /// The runtime's labels.
    pub labels: BTreeMap<String, String>,
}

/// The place of a cgroup among containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The innermost container that it lies in, or is.
    pub owner: CgroupId,
    /// For a container: the one that it lies in.
    pub outer: Option<CgroupId>,
}

/// One cgroup in a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cgroup {
    /// Its identity.
    pub identity: Arc<Identity>,
    /// Its state.
    pub status: Status,
    /// Its first process, as far as it is known.
    pub first_process: Option<u32>,
    /// The time at which its first process started. It does not change while the container lives.
    pub started: Option<SystemTime>,
    /// True while it is read, but not reported: its name is being resolved, or it has no process.
    pub withheld: bool,
    /// Its numbers.
    pub values: Values,
    /// The interfaces of its network namespace, if they are read and belong to it: see `sources/interfaces.rs`.
    pub interfaces: Arc<[Interface]>,
    /// Tokens that stay the same as long as its files do.
    pub tokens: ChangeTokens,
}

/// The machine: numbers that every cgroup shares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostValues {
    /// Its name.
    pub name: String,
    /// Load, memory size, CPUs.
    pub values: Values,
}

/// The result of one sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The time at which it began.
    pub taken: Stamp,
    /// The cgroups that it covers.
    pub coverage: Coverage,
    /// The scope of the agent.
    pub scope: Scope,
    /// The time since which eBPF has counted, if it does.
    pub counting_since: Option<SystemTime>,
    /// Events that the eBPF programs have not counted: a map was full, or a task was preempted in a program.
    pub lost_events: u64,
    /// The number of times that cgroup events were lost, so that the tree was walked again.
    pub walked_again: u64,
    /// The machine.
    pub host: HostValues,
    /// The cgroups that are reported, by id.
    pub cgroups: BTreeMap<CgroupId, Cgroup>,
    /// Every cgroup of the tree, in scope `host`.
    pub places: BTreeMap<CgroupId, Place>,
    /// The cgroups that were removed recently, with the places that they had.
    pub gone: BTreeMap<CgroupId, Place>,
}

impl Snapshot {
    /// An empty snapshot, to be filled by the sources in order.
    pub fn new(taken: Stamp) -> Self {
        Self {
            taken,
            coverage: Coverage::All,
            scope: Scope::SelfContainer,
            counting_since: None,
            lost_events: 0,
            walked_again: 0,
            host: HostValues::default(),
            cgroups: BTreeMap::new(),
            places: BTreeMap::new(),
            gone: BTreeMap::new(),
        }
    }

    /// The containers that a cgroup lies in, or is, from the innermost outwards. A cgroup whose place is unknown still
    /// counts for the machine.
    pub fn containers(&self, id: CgroupId) -> impl Iterator<Item = CgroupId> {
        let own = (self.scope == Scope::SelfContainer).then(|| self.cgroups.keys().copied());
        let innermost = self.places.get(&id).map(|place| place.owner).filter(|_| own.is_none());
        let around = std::iter::successors(innermost, |inner| self.places.get(inner)?.outer);
        let root = self.cgroups.iter().find(|(_, cgroup)| cgroup.identity.is_root).filter(|_| own.is_none());
        let root = root.map(|(id, _)| *id);
        around.filter(move |id| Some(*id) != root).chain(root).chain(own.into_iter().flatten())
    }
}
