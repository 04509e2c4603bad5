//! What one file is read with, and which one.

use std::fs::File as Handle;
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;

use super::plan::{FilePlan, directory};
use crate::snapshot::Identity;

/// The buffer and the budget that all files are read with.
#[derive(Debug)]
pub(super) struct ReadContext {
    pub(super) buffer: Vec<u8>,
    /// How many more files may be kept open.
    pub(super) room: usize,
    /// True if the files of the cgroup that is read may stay open.
    pub(super) keep: bool,
    /// True if the budget had no room for one.
    pub(super) lacked_room: bool,
    /// Counts the readings, those of what has ended too.
    pub(super) turn: u64,
    /// When this one began.
    pub(super) now: Duration,
}

impl ReadContext {
    pub(super) fn new(room: usize) -> Self {
        Self { buffer: vec![0; 8192], room, keep: true, lacked_room: false, turn: 0, now: Duration::ZERO }
    }
}
/// The file to be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReadRequest<'a> {
    pub(super) plan: &'a FilePlan,
    pub(super) location: Location<'a>,
    /// The change token of the file, if it has one.
    pub(super) token: Option<u64>,
    /// True if a file that was missing is opened again.
    pub(super) retry: bool,
}

/// Where a file is: asked for only when it is to be opened.
#[derive(Clone, Copy, Debug)]
pub(super) enum Location<'a> {
    Of(&'a Identity),
    In(&'a Path),
}

impl ReadRequest<'_> {
    /// True if a value read at `at` is still valid by its age.
    pub(super) fn is_fresh(&self, at: Duration, now: Duration) -> bool {
        now > at && now - at < self.plan.file.holds
    }

    /// True if the file is unchanged since it had this token.
    pub(super) fn is_same(&self, token: u64) -> bool {
        !self.retry && self.token == Some(token)
    }

    pub(super) fn open(&self, name: &str) -> Result<Handle, Errno> {
        let dir = match self.location {
            Location::Of(identity) => directory(self.plan.tree, identity).ok_or(Errno::NOENT)?,
            Location::In(dir) => dir,
        };
        let open =
            |name| Handle::open(dir.join(name)).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO));
        match (open(name), self.plan.file.older) {
            (Err(Errno::NOENT), Some(older)) => open(older),
            (opened, _) => opened,
        }
    }
}
