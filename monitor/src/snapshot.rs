//! One look at the kernel: plain values, and for each value that is not there, the reason.
//!
//! Nothing here reads, computes or knows a clock. Sources fill a [`Snapshot`]; [`crate::report`] turns two of them
//! into what people see.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::cause::Cause;
use crate::metrics::{ChangeToken, Metric, Origin, Rows};

/// A cgroup: the inode of its directory in the v2 tree, which is what `bpf_get_current_cgroup_id()` returns.
///
/// On a host without a v2 tree it is the inode of the directory in one v1 hierarchy: unique there, and never joined
/// with an id from eBPF.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CgroupId(pub u64);

/// When something was read: monotonic (boot time, suspend included) for rates, wall clock for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Time since boot.
    pub mono: Duration,
    /// Time of day.
    pub wall: SystemTime,
}

/// What is known of one number. `rank` is the position of the origin in the metric's row, 0 being preferred.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Reading {
    #[default]
    Unset,
    Absent(Cause, u8),
    Value(u64, u8),
}

/// One cell per metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Values([Reading; Metric::COUNT]);

impl Default for Values {
    fn default() -> Self {
        Self([const { Reading::Unset }; Metric::COUNT])
    }
}

impl Values {
    /// Records a value from the origin at `rank`, unless a more preferred origin gave one.
    pub fn put(&mut self, metric: Metric, rank: u8, value: u64) {
        let cell = &mut self.0[metric.index()];
        match cell {
            Reading::Value(_, held) if *held < rank => {}
            _ => *cell = Reading::Value(value, rank),
        }
    }

    /// Records why the origin at `rank` gave nothing. The last resort's reason is the one that is kept.
    pub fn miss(&mut self, metric: Metric, rank: u8, cause: Cause) {
        let cell = &mut self.0[metric.index()];
        match cell {
            Reading::Value(..) => {}
            Reading::Absent(_, held) if *held > rank => {}
            _ => *cell = Reading::Absent(cause, rank),
        }
    }

    /// Takes over from an earlier reading what this one does not have.
    pub fn complete(&mut self, earlier: &Self) {
        for (cell, known) in self.0.iter_mut().zip(&earlier.0) {
            if let (Reading::Unset | Reading::Absent(..), Reading::Value(..)) = (&*cell, known) {
                *cell = known.clone();
            }
        }
    }

    /// Records what `read` says of each of these rows, which have an origin of one kind.
    pub fn fill<P>(&mut self, rows: &Rows<P>, read: impl Fn(&P) -> Result<u64, Cause>) {
        for (metric, rank, pick) in rows {
            match read(pick) {
                Ok(value) => self.put(*metric, *rank, value),
                Err(cause) => self.miss(*metric, *rank, cause),
            }
        }
    }

    /// Whether an origin of this kind is the best that some number has so far.
    pub fn want<P>(&self, rows: &Rows<P>) -> bool {
        rows.iter().any(|(metric, rank, _)| !self.served(*metric, *rank))
    }

    /// Whether an origin preferred to `rank` has given the value already, so that reading it again is waste.
    pub fn served(&self, metric: Metric, rank: u8) -> bool {
        matches!(self.0[metric.index()], Reading::Value(_, held) if held < rank)
    }

    /// The value, or the cause of its absence; `None` when no source of this host reads it.
    pub fn get(&self, metric: Metric) -> Option<Result<u64, &Cause>> {
        match &self.0[metric.index()] {
            Reading::Unset => None,
            Reading::Absent(cause, _) => Some(Err(cause)),
            Reading::Value(value, _) => Some(Ok(*value)),
        }
    }

    /// Where the values came from.
    pub fn origins(&self) -> Origins {
        Origins(std::array::from_fn(|at| match self.0[at] {
            Reading::Value(_, rank) => rank,
            _ => u8::MAX,
        }))
    }
}

/// Where the values of a cgroup came from: ranks, those behind the last origin of a row being none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origins([u8; Metric::COUNT]);

impl Origins {
    /// Where a value came from; `None` where there is none.
    pub fn of(&self, metric: Metric) -> Option<&'static Origin> {
        metric.spec().origins().get(usize::from(self.0[metric.index()]))
    }
}

/// What is known of a cgroup besides numbers, and where its files are. Made once per cgroup.
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
    /// How many directories of the v2 tree are above its own, as far as they can be seen from here.
    pub v2_level: usize,
    /// Whether it is the root of the machine's v2 tree, which has no files of its own for memory and limits.
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

/// What a container is doing. The words are part of the contract with readers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Status {
    /// Alive.
    #[default]
    Running,
    /// Frozen by the freezer.
    Paused,
    /// Ended, or no longer watched because the agent stops.
    Exited,
}

impl Status {
    /// The word readers see.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Exited => "exited",
        }
    }
}

/// What is watched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// The own container.
    #[default]
    Own,
    /// Every container of the machine, and the machine.
    Host,
}

impl Scope {
    /// The word readers see.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Own => "self",
            Self::Host => "host",
        }
    }
}

/// Where a cgroup belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The innermost container that it is in, or is.
    pub owner: CgroupId,
    /// For a container: the one that it lies in.
    pub outer: Option<CgroupId>,
}

/// The value of each [`ChangeToken`] that is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChangeTokens([Option<u64>; 5]);

impl ChangeTokens {
    /// The value of a token, if it is known.
    pub fn get(&self, token: ChangeToken) -> Option<u64> {
        self.0[token as usize]
    }

    /// Sets the value of a token.
    pub fn set(&mut self, token: ChangeToken, value: Option<u64>) {
        self.0[token as usize] = value;
    }
}

/// One cgroup in a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cgroup {
    /// Who it is.
    pub identity: Arc<Identity>,
    /// What it is doing.
    pub status: Status,
    /// Its first process, as far as it is known.
    pub first_process: Option<u32>,
    /// Its numbers.
    pub values: Values,
    /// Tokens that stay the same as long as its files do.
    pub tokens: ChangeTokens,
}

/// The machine: numbers that every cgroup shares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Load, memory size, CPUs.
    pub values: Values,
}

/// The cgroups that a reading covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Coverage {
    /// All that there are: a cgroup that is missing is gone.
    #[default]
    All,
    /// Those that have exited since the reading before, or have lost their last process. It says nothing of the others.
    Exited,
}

/// Everything that one reading found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// When the reading began.
    pub taken: Stamp,
    /// The cgroups that it covers.
    pub coverage: Coverage,
    /// What is watched.
    pub scope: Scope,
    /// Since when eBPF has counted, if it does.
    pub counting_since: Option<SystemTime>,
    /// Events that the kernel's programs have not counted: a map was full, or a task was preempted in a program.
    pub lost_events: u64,
    /// How often cgroups came and went faster than could be told, so that the tree was walked again.
    pub walked_again: u64,
    /// The machine.
    pub host: Host,
    /// The cgroups that are reported, by id.
    pub cgroups: BTreeMap<CgroupId, Cgroup>,
    /// Every cgroup of the tree, in scope `host`.
    pub places: BTreeMap<CgroupId, Place>,
    /// The cgroups that are gone of late, with the places that they had.
    pub gone: BTreeMap<CgroupId, Place>,
}

impl Snapshot {
    /// An empty snapshot, to be filled by the sources in order.
    pub fn new(taken: Stamp) -> Self {
        Self {
            taken,
            coverage: Coverage::All,
            scope: Scope::Own,
            counting_since: None,
            lost_events: 0,
            walked_again: 0,
            host: Host::default(),
            cgroups: BTreeMap::new(),
            places: BTreeMap::new(),
            gone: BTreeMap::new(),
        }
    }

    /// The containers that a cgroup is in, or is, from the innermost outwards. What nobody has seen the place of is on the
    /// machine all the same.
    pub fn containers(&self, id: CgroupId) -> impl Iterator<Item = CgroupId> {
        let own = (self.scope == Scope::Own).then(|| self.cgroups.keys().copied());
        let innermost = self.places.get(&id).map(|place| place.owner).filter(|_| own.is_none());
        let around = std::iter::successors(innermost, |inner| self.places.get(inner)?.outer);
        let root = self.cgroups.iter().find(|(_, cgroup)| cgroup.identity.is_root).filter(|_| own.is_none());
        let root = root.map(|(id, _)| *id);
        around.filter(move |id| Some(*id) != root).chain(root).chain(own.into_iter().flatten())
    }
}
