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

/// The time between two walks is at least so many times what one works: on a large tree all walks together stay
/// below a four-thousandth of a CPU …
const SHARE: u32 = 4000;
/// … times the containers that share them, at most so many: one per cent of a CPU.
const MOST_SHARES: u32 = 40;
/// How often the walker looks whether something is due.
const LOOK: Duration = Duration::from_secs(1);
/// The state that the source and the walker share.
#[derive(Debug, Default)]
pub(super) struct Walks {
    pub(super) wanted: BTreeMap<CgroupId, WalkTarget>,
    pub(super) found: BTreeMap<CgroupId, FinishedWalk>,
}

/// The root filesystem of a container, to be walked.
#[derive(Clone, Debug)]
pub(super) struct WalkTarget {
    /// The process through which it is seen.
    pub(super) process: Option<u32>,
    /// Where its root filesystem is seen.
    pub(super) root: PathBuf,
    pub(super) layer: Layer,
    pub(super) is_machine: bool,
}

/// Where the layer is that a container's own writes go to, over its image.
#[derive(Clone, Debug)]
pub(super) enum Layer {
    /// Not to be seen, for this reason.
    Unseen(&'static str),
    /// Named by the mount table of the container's first process, as a path of the machine.
    Named { mounts: PathBuf, host: PathBuf },
}

impl Layer {
    /// The directory (`Documentation/filesystems/overlayfs.rst`, "upperdir").
    pub(super) fn directory(&self) -> Result<PathBuf, Cause> {
        let (table, host) = match self {
            Self::Unseen(why) => return Err(Cause::new(CauseKind::NotApplicable, *why)),
            Self::Named { mounts, host } => (mounts, host),
        };
        let text = fs::read(table).map_err(|error| Cause::io(table.display(), &error))?;
        // What is mounted last hides what was before.
        let root = mounts::parse(&text).into_iter().rfind(|mount| mount.point == Path::new("/"));
        let upper = root.as_ref().filter(|mount| mount.kind == "overlay").and_then(Mount::upper);
        let upper = upper.ok_or_else(|| {
            Cause::new(CauseKind::NotApplicable, "the container's root filesystem is no overlay over an image")
        })?;
        Ok(host.join(upper.strip_prefix("/").unwrap_or(&upper)))
    }
}

/// The result of a walk, and when the next one may begin.
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
            // The first walk shall not wait for what comes with the first reading.
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
    /// Returns the target to walk now: one that never was walked, else the one that is due the longest.
    pub(super) fn next(&self, is_machine: bool, now: Duration) -> Option<(CgroupId, WalkTarget)> {
        let due = |id: &CgroupId| self.found.get(id).map_or(Duration::ZERO, |found| found.due);
        let wanted = self.wanted.iter().filter(|(id, wanted)| wanted.is_machine == is_machine && due(id) <= now);
        let next = wanted.min_by_key(|(id, _)| due(id))?;
        Some((*next.0, next.1.clone()))
    }
}
