//! The processes that a cgroup's directory lists.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::foreign;
use crate::proc_text;
use crate::snapshot::Identity;

/// Longest list of processes: the most that can exist.
const PROCESSES: u64 = 32 << 20;
/// Longest `/proc/PID/status`: the list of groups can have 65,536 entries.
const LONGEST: usize = 1 << 20;

/// The members of a cgroup and of its descendants.
#[derive(Debug, Default)]
pub(super) struct Members {
    /// Those that `/proc` here can show.
    pub(super) pids: BTreeSet<u32>,
    /// True if some are outside of the reader's pid namespace, which the kernel lists as 0.
    pub(super) has_foreign: bool,
}

impl Members {
    /// Lists them. A directory that is removed meanwhile has none.
    pub(super) fn of(dir: &Path, proc: &Path) -> io::Result<Self> {
        let mut members = Self::default();
        match members.list(dir) {
            // The processes of a threaded group are listed above it, its threads in it.
            Err(error) if is(&error, Errno::OPNOTSUPP) => members.threads(dir, proc)?,
            listed => listed?,
        }
        Ok(members)
    }

    fn list(&mut self, dir: &Path) -> io::Result<()> {
        match self.add(&dir.join("cgroup.procs"), Some) {
            Ok(()) => {}
            Err(error) if has_vanished(&error) => return Ok(()),
            Err(error) => return Err(error),
        }
        // A cgroup directory has two links plus one per child directory.
        if fs::metadata(dir).is_ok_and(|found| found.nlink() == 2) {
            return Ok(());
        }
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) if has_vanished(&error) => return Ok(()),
            Err(error) => return Err(error),
        };
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                match self.list(&entry.path()) {
                    // Its processes are listed in the first group above it that is not threaded.
                    Err(error) if is(&error, Errno::OPNOTSUPP) => {}
                    listed => listed?,
                }
            }
        }
        Ok(())
    }

    fn threads(&mut self, dir: &Path, proc: &Path) -> io::Result<()> {
        let status = |thread: u32| foreign::read(&proc.join(thread.to_string()).join("status"), LONGEST).ok();
        self.add(&dir.join("cgroup.threads"), |thread| proc_text::process(&status(thread)?))
    }

    fn add(&mut self, list: &Path, process: impl Fn(u32) -> Option<u32>) -> io::Result<()> {
        foreign::records(list, b'\n', PROCESSES, |line| {
            match std::str::from_utf8(line).ok().and_then(|line| line.parse::<u32>().ok()) {
                Some(0) => self.has_foreign = true,
                Some(id) => self.pids.extend(process(id)),
                None => {}
            }
            ControlFlow::Continue(())
        })
    }
}

/// Returns the directory that lists the processes, in the tree where the container is deepest: on a hybrid host it can
/// be at the root of the others.
pub(super) fn directory(identity: &Identity) -> Option<&Path> {
    identity
        .v2
        .iter()
        .chain(identity.v1.values())
        .map(PathBuf::as_path)
        .filter(|dir| dir.join("cgroup.procs").exists())
        .max_by_key(|dir| {
            let below = |tree: &Path| tree.join("cgroup.procs").exists();
            dir.ancestors().take_while(|dir| below(dir)).count()
        })
}

fn has_vanished(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || is(error, Errno::NODEV)
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}
