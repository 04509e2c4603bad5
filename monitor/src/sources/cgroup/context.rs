//! Context of reading one file, and its identity.

use std::fs::File as Handle;
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;

use super::devices::BlockDevices;
use super::plan::{FilePlan, directory};
use crate::foreign;
use crate::snapshot::Identity;

/// The buffer and the descriptor budget that all files share.
#[derive(Debug)]
pub(super) struct ReadContext {
    pub(super) buffer: Vec<u8>,
    /// The number of files that may still be kept open.
    pub(super) room: usize,
    /// True if the files of the current cgroup may stay open.
    pub(super) keep: bool,
    /// True if the budget was exhausted.
    pub(super) lacked_room: bool,
    /// The number of the sample, samples of exited containers included.
    pub(super) turn: u64,
    /// The start of this sample.
    pub(super) now: Duration,
    /// The block devices that lie on others.
    pub(super) devices: BlockDevices,
}

impl ReadContext {
    pub(super) fn new(room: usize, sys: &Path) -> Self {
        let (now, devices) = (Duration::ZERO, BlockDevices::new(sys));
        Self { buffer: vec![0; 8192], room, keep: true, lacked_room: false, turn: 0, now, devices }
    }
}
/// The file to read.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReadRequest<'a> {
    pub(super) plan: &'a FilePlan,
    pub(super) location: Location<'a>,
    /// The change token of the file, if it has one.
    pub(super) token: Option<u64>,
    /// True if a missing file is looked for again.
    pub(super) retry: bool,
}

/// The path of a file, built only to open it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Location<'a> {
    Of(&'a Identity),
    In(&'a Path),
}

impl ReadRequest<'_> {
    /// True if a value read at `at` is still fresh enough.
    pub(super) fn is_fresh(&self, at: Duration, now: Duration) -> bool {
        now > at && now - at < self.plan.file.holds
    }

    /// True if the file has not changed since it had this token.
    pub(super) fn is_same(&self, token: u64) -> bool {
        !self.retry && self.token == Some(token)
    }

    /// Returns the directory of the file.
    pub(super) fn directory(&self) -> Option<&Path> {
        match self.location {
            Location::Of(identity) => directory(self.plan.tree, identity),
            Location::In(dir) => Some(dir),
        }
    }

    /// True if the directory of the file was removed.
    pub(super) fn is_removed(&self) -> bool {
        self.directory().is_some_and(|dir| !dir.exists())
    }

    pub(super) fn open(&self, name: &str) -> Result<Handle, Errno> {
        let dir = self.directory().ok_or(Errno::NOENT)?;
        let open = |name| foreign::open(&dir.join(name)).map_err(|error| foreign::errno(&error));
        match (open(name), self.plan.file.older) {
            (Err(Errno::NOENT), Some(older)) => open(older),
            (opened, _) => opened,
        }
    }
}
