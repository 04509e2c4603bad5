//! Files of the cgroups around containers, whose limits apply as well.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::io::Errno;

use super::context::{Location, ReadContext, ReadRequest};
use super::error::FileError;
use super::file::Level;
use super::plan::FilePlan;
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
    found: Option<(u64, Result<u64, FileError>)>,
}

impl SharedFile {
    pub(super) fn number(&mut self, request: ReadRequest<'_>, context: &mut ReadContext) -> Result<u64, FileError> {
        match self.found {
            Some((turn, found)) if turn == context.turn => found,
            _ => {
                let found = self.level.number(ReadRequest { location: Location::In(&self.dir), ..request }, context);
                self.found = Some((context.turn, found));
                found
            }
        }
    }
}

/// The files of the ancestors of one cgroup.
#[derive(Debug)]
pub(super) struct AncestorLimits {
    pub(super) above: Vec<Arc<Mutex<SharedFile>>>,
    /// The value of the cgroup's own file, and the token that shows it unchanged.
    pub(super) own: Option<(u64, u64)>,
    /// The smallest value of all, and the time of its computation.
    pub(super) smallest: Option<(Duration, Result<Option<u64>, FileError>)>,
}

impl AncestorLimits {
    /// Returns the smallest value of a cgroup's own file and of its ancestors', which may be cached; `None` if no file
    /// exists.
    pub(super) fn smallest(
        &mut self,
        own: &mut Level,
        request: ReadRequest<'_>,
        context: &mut ReadContext,
    ) -> Result<Option<u64>, FileError> {
        match self.smallest {
            Some((at, found)) if request.is_fresh(at, context.now) => found,
            _ => {
                let found = self.look(own, request, context);
                self.smallest = Some((context.now, found));
                found
            }
        }
    }

    fn look(
        &mut self,
        own: &mut Level,
        request: ReadRequest<'_>,
        context: &mut ReadContext,
    ) -> Result<Option<u64>, FileError> {
        let (mut smallest, mut missing) = (None, None);
        let own = match self.own {
            Some((token, number)) if request.is_same(token) => Ok(number),
            _ => own.number(request, context),
        };
        self.own = request.token.zip(own.ok());
        // A shared file stays open, whichever container reads it first.
        let keep = std::mem::replace(&mut context.keep, true);
        let above = self.above.iter().map(|shared| lock(shared).number(request, context));
        for found in std::iter::once(own).chain(above) {
            match found {
                Ok(value) => smallest = Some(smallest.map_or(value, |smallest: u64| smallest.min(value))),
                Err(FileError::Os(Errno::NOENT)) => {}
                Err(error) => missing = Some(error),
            }
        }
        context.keep = keep;
        missing.map_or(Ok(smallest), Err)
    }
}
