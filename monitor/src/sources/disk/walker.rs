//! The threads that walk root filesystems, at the lowest priority.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use super::walk::{PAUSE, WalkError, walk};
use crate::cause::{Cause, CauseKind};
use crate::containers::mounts::{self, Mount};
use crate::mutex::lock;
use crate::readings::Disk as Walked;
use crate::snapshot::{CgroupId, Stamp};

/// Minimum ratio of the interval between two walks to the time that a walk works: on a large tree all walks together
/// take less than a four-thousandth of a CPU …
const SHARE: u32 = 4000;
/// … times the number of containers that share them, up to this number: one per cent of a CPU.
const MOST_SHARES: u32 = 40;
/// Interval at which the walker looks for due targets.
const LOOK: Duration = Duration::from_secs(1);
/// State that the source and the walker share.
#[derive(Debug, Default)]
pub(super) struct Walks {
    pub(super) wanted: BTreeMap<CgroupId, WalkTarget>,
    pub(super) found: BTreeMap<CgroupId, FinishedWalk>,
}

/// The root filesystem of a container to walk.
#[derive(Clone, Debug)]
pub(super) struct WalkTarget {
    /// The process through which it is visible.
    pub(super) process: Option<u32>,
    /// The path at which its root filesystem is visible.
    pub(super) root: PathBuf,
    pub(super) layer: Layer,
    pub(super) is_machine: bool,
}

/// The location of the overlay's upper layer, which holds the container's own writes.
#[derive(Clone, Debug)]
pub(super) enum Layer {
    /// Not visible, for this reason.
    Unseen(&'static str),
    /// A path of the machine, from the mount table of the container's first process.
    Named { mounts: PathBuf, host: PathBuf },
}

impl Layer {
    /// Returns the directory (`Documentation/filesystems/overlayfs.rst`, "upperdir").
    pub(super) fn directory(&self) -> Result<PathBuf, Cause> {
        let (table, host) = match self {
            Self::Unseen(why) => return Err(Cause::new(CauseKind::NotApplicable, *why)),
            Self::Named { mounts, host } => (mounts, host),
        };
        let text = fs::read(table).map_err(|error| Cause::io(table.display(), &error))?;
        // A later mount hides an earlier one.
        let root = mounts::parse(&text).into_iter().rfind(|mount| mount.point == Path::new("/"));
        let upper = root.as_ref().filter(|mount| mount.kind == "overlay").and_then(Mount::upper);
        let upper = upper.ok_or_else(|| {
            Cause::new(CauseKind::NotApplicable, "the container's root filesystem is no overlay over an image")
        })?;
        Ok(host.join(upper.strip_prefix("/").unwrap_or(&upper)))
    }
}

/// The result of a walk, and the earliest time of the next one.
#[derive(Debug)]
pub(super) struct FinishedWalk {
    pub(super) walked: Walked,
    pub(super) due: Duration,
}

pub(super) fn run_walks(
    exclude: &[PathBuf],
    is_machine: bool,
    interval: Duration,
    clock: fn() -> Stamp,
    stopped: &Receiver<()>,
    shared: &Mutex<Walks>,
) {
    // Best effort: without it the walk still pauses.
    let _nice = rustix::process::nice(19);
    let pause = |long| stopped.recv_timeout(long) == Err(RecvTimeoutError::Timeout);
    loop {
        let next = lock(shared).next(is_machine, clock().mono);
        let Some((id, WalkTarget { root, layer, .. })) = next else {
            // The first walk must not wait for targets that arrive with the first sample.
            if pause(if lock(shared).wanted.is_empty() { PAUSE } else { LOOK }) {
                continue;
            }
            return;
        };
        let mut worked = Duration::ZERO;
        let mut measure = |top: &Path, exclude: &[PathBuf]| {
            let found = walk(top, exclude, clock, |step| {
                worked += step;
                pause(PAUSE)
            });
            match found {
                Err(WalkError::Stopped) => None,
                Err(WalkError::Cause(cause)) => Some(Err(cause)),
                Ok(used) => Some(Ok(used)),
            }
        };
        let exclude: Vec<PathBuf> =
            exclude.iter().map(|path| root.join(path.strip_prefix("/").unwrap_or(path))).collect();
        let Some(used_bytes) = measure(&root, &exclude) else { return };
        let writable_bytes = match layer.directory() {
            Err(cause) => Some(Err(cause)),
            Ok(directory) => measure(&directory, &[]),
        };
        let Some(writable_bytes) = writable_bytes else { return };
        let mut shared = lock(shared);
        let sharing = u32::try_from(shared.wanted.len()).unwrap_or(u32::MAX).clamp(1, MOST_SHARES);
        let due = clock().mono + interval.max(worked * (SHARE / sharing));
        shared.found.insert(id, FinishedWalk { walked: Walked { used_bytes, writable_bytes }, due });
    }
}

impl Walks {
    /// Returns the target to walk now: one that was never walked, else the one overdue the longest.
    pub(super) fn next(&self, is_machine: bool, now: Duration) -> Option<(CgroupId, WalkTarget)> {
        let due = |id: &CgroupId| self.found.get(id).map_or(Duration::ZERO, |found| found.due);
        let wanted = self.wanted.iter().filter(|(id, wanted)| wanted.is_machine == is_machine && due(id) <= now);
        let next = wanted.min_by_key(|(id, _)| due(id))?;
        Some((*next.0, next.1.clone()))
    }
}
