//! Files of the cgroups around containers, whose limits apply as well.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::io::Errno;

use super::context::{Location, ReadContext, ReadRequest};
use super::error::FileError;
use super::file::{Level, Limit};
use super::plan::{FilePlan, TreeKind};
use crate::containers::hierarchies::is_tree_root;
use crate::metrics::{NO_LIMIT, NOT_VISIBLE, Upwards};
use crate::mutex::lock;

/// The files of the ancestors of containers, each read once per sample, whatever the number of containers below.
#[derive(Debug, Default)]
pub(super) struct AncestorFiles(HashMap<(usize, PathBuf), Arc<Mutex<SharedFile>>>);

impl AncestorFiles {
    /// Returns the file of a plan in a directory.
    pub(super) fn share(&mut self, at: usize, plan: &FilePlan, dir: &Path) -> Arc<Mutex<SharedFile>> {
        let shared = self.0.entry((at, dir.to_owned())).or_insert_with(|| {
            let (dir, level) = (dir.to_owned(), Level::new(plan));
            Arc::new(Mutex::new(SharedFile { dir, level, found: None }))
        });
        Arc::clone(shared)
    }

    /// Closes the files around exited containers; returns how many were open.
    pub(super) fn leave(&mut self) -> usize {
        let mut closed = 0;
        self.0.retain(|_, shared| {
            let stays = Arc::strong_count(shared) > 1;
            if !stays {
                closed += lock(shared).level.count_open();
            }
            stays
        });
        closed
    }
}

/// A shared file, with its values and the sample of its last read.
#[derive(Debug)]
pub(super) struct SharedFile {
    dir: PathBuf,
    level: Level,
    found: Option<(u64, Result<Limit, FileError>)>,
}

impl SharedFile {
    pub(super) fn limit(&mut self, request: ReadRequest<'_>, context: &mut ReadContext) -> Result<Limit, FileError> {
        match self.found {
            Some((turn, found)) if turn == context.turn => found,
            _ => {
                let found = self.level.limit(ReadRequest { location: Location::In(&self.dir), ..request }, context);
                self.found = Some((context.turn, found));
                found
            }
        }
    }
}

/// The value that counts for a cgroup, and the level that it is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bound {
    pub(super) limit: Limit,
    /// The number of levels above the cgroup.
    pub(super) level: usize,
}

/// The files of the ancestors of one cgroup.
#[derive(Debug)]
pub(super) struct AncestorLimits {
    pub(super) above: Vec<Arc<Mutex<SharedFile>>>,
    /// True if the last of them is the root of the tree.
    pub(super) is_whole: bool,
    /// The token of the cgroup's own file, and its value.
    pub(super) own: Option<(u64, Limit)>,
    /// The time of the latest look, and what it found.
    pub(super) bound: Option<(Duration, Result<Option<Bound>, FileError>)>,
}

impl AncestorLimits {
    /// Returns the value that counts, out of the cgroup's own file and its ancestors', which may be cached; `None` if
    /// no file exists.
    pub(super) fn bound(
        &mut self,
        own: &mut Level,
        request: ReadRequest<'_>,
        context: &mut ReadContext,
    ) -> Result<Option<Bound>, FileError> {
        match self.bound {
            Some((at, found)) if request.is_fresh(at, context.now) => found,
            _ => {
                let found = self.look(own, request, context);
                self.bound = Some((context.now, found));
                found
            }
        }
    }

    fn look(
        &mut self,
        own: &mut Level,
        request: ReadRequest<'_>,
        context: &mut ReadContext,
    ) -> Result<Option<Bound>, FileError> {
        let (mut bound, mut missing) = (None, None);
        let own = match self.own {
            Some((token, limit)) if request.is_same(token) => Ok(limit),
            _ => own.limit(request, context),
        };
        self.own = request.token.zip(own.ok());
        // A shared file stays open, whichever container reads it first.
        let keep = std::mem::replace(&mut context.keep, true);
        let above = self.above.iter().map(|shared| lock(shared).limit(request, context));
        for (level, found) in std::iter::once(own).chain(above).enumerate() {
            match found {
                Ok(limit) => bound = Some(choose(request.plan.file.upwards, bound, Bound { limit, level })),
                // Limits of levels above are no limits of a cgroup that was removed.
                Err(FileError::Os(Errno::NOENT)) if level == 0 && request.is_removed() => {
                    missing = Some(FileError::Os(Errno::NODEV));
                }
                Err(FileError::Os(Errno::NOENT)) => {}
                Err(error) => missing = Some(error),
            }
        }
        context.keep = keep;
        missing.map_or(Ok(bound.map(|bound| self.seen(bound))), Err)
    }

    /// Where levels above are not visible, no limit is known to be unset.
    fn seen(&self, mut bound: Bound) -> Bound {
        if bound.limit.value == NO_LIMIT && !self.is_whole {
            bound.limit.value = NOT_VISIBLE;
        }
        bound
    }
}

/// Chooses between a level and the next one above it.
fn choose(upwards: Upwards, below: Option<Bound>, above: Bound) -> Bound {
    match (upwards, below) {
        (_, None) => above,
        (Upwards::Smallest, Some(below)) if above.limit.value < below.limit.value => above,
        // The same value was passed down from above.
        (Upwards::Nearest, Some(below)) if above.level == below.level + 1 && above.limit == below.limit => above,
        (_, Some(below)) => below,
    }
}

/// True if a directory is the root of its tree.
pub(super) fn is_root(dir: &Path, tree: TreeKind) -> bool {
    is_tree_root(dir, tree == TreeKind::V2)
}
