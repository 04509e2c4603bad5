//! One walk of a root filesystem by handles, in short steps and in bounded memory.
//!
//! A handle cannot be led anywhere else, whatever is renamed, linked or mounted meanwhile, and it reaches deeper than
//! any path. The first levels keep theirs; a deeper one is found again through the `..` of its child, and read on from
//! where it was left.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::{FileType, RawDir, SeekFrom};
use rustix::io::Errno;

use super::beneath::{Attributes, Beneath};
use super::exclusion::{Exclusions, Matching};
use crate::cause::{Cause, CauseKind};
use crate::snapshot::Stamp;

/// Duration of a step …
const WORK: Duration = Duration::from_millis(4);
/// … and of the pause after it: at most 4 % of one CPU.
pub(super) const PAUSE: Duration = Duration::from_millis(96);
/// Longest walk; a longer one is abandoned, since its result would be outdated.
const LONGEST: Duration = Duration::from_secs(600);
/// Limit of remembered hard-linked files; beyond it the walk fails rather than return a wrong sum.
const MOST_LINKS: usize = 200_000;
/// Levels whose handles stay open.
const KEPT: usize = 64;
/// Deepest level; their list is a few mebibytes.
const MOST_LEVELS: usize = 50_000;
/// Bytes of a directory that are read at a time.
const BUFFER: usize = 32 << 10;
/// Names of directories that are remembered on all levels, in bytes. Beyond that each is entered before the next is
/// read.
const MOST_NAMES: usize = 1 << 20;

/// An error that ends a walk without a result.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum WalkError {
    Stopped,
    Cause(Cause),
}

/// A directory on the way from the root to where the walk is.
struct Level {
    handle: Option<OwnedFd>,
    device: (u32, u32),
    inode: u64,
    /// The place in its list from which it is read on, and whether its handle is at another one.
    position: u64,
    is_elsewhere: bool,
    is_read: bool,
    /// Directories in it that are still to be entered.
    pending: Vec<CString>,
    excluded: Matching,
}

struct Walk<'a, R> {
    beneath: Beneath,
    exclusions: Exclusions,
    clock: fn() -> Stamp,
    rest: R,
    began: Duration,
    step: Duration,
    used: u64,
    /// Hard-linked files, and how many of their links were not met.
    links: HashMap<((u32, u32), u64), u64>,
    names: usize,
    levels: Vec<Level>,
    root: &'a Attributes,
}

/// Returns the allocated bytes of all files on the mount of `root`, hard links counted once. `rest` receives the
/// duration of a step, pauses, and returns false to stop. An unreadable directory is an error, since the sum would be a
/// guess.
pub(super) fn walk(
    root: &OwnedFd,
    beneath: Beneath,
    exclude: &[PathBuf],
    clock: fn() -> Stamp,
    rest: impl FnMut(Duration) -> bool,
) -> Result<u64, WalkError> {
    let at_root = |errno: Errno| failed(root, None, errno);
    let attributes = Attributes::of(&rustix::fs::fstat(root).map_err(at_root)?);
    let handle = beneath.directory(root, c".").map_err(at_root)?;
    let exclusions = Exclusions::new(exclude);
    let now = clock().mono;
    let top = Level::new(handle, &attributes, exclusions.all());
    let (used, root) = (attributes.allocated, &attributes);
    let (links, levels) = (HashMap::new(), vec![top]);
    let walk = Walk { beneath, exclusions, clock, rest, began: now, step: now, used, links, names: 0, levels, root };
    walk.run()
}

impl Level {
    fn new(handle: OwnedFd, found: &Attributes, excluded: Matching) -> Self {
        Self {
            handle: Some(handle),
            device: found.device,
            inode: found.inode,
            position: 0,
            is_elsewhere: false,
            is_read: false,
            pending: Vec::new(),
            excluded,
        }
    }
}

impl<R: FnMut(Duration) -> bool> Walk<'_, R> {
    fn run(mut self) -> Result<u64, WalkError> {
        let mut buffer = vec![MaybeUninit::uninit(); BUFFER];
        while let Some(level) = self.levels.last_mut() {
            if let Some(name) = level.pending.pop() {
                self.names -= name.count_bytes();
                self.enter(&name)?;
            } else if level.is_read {
                self.leave();
            } else {
                self.read(&mut buffer)?;
            }
            self.pause()?;
        }
        Ok(self.used)
    }

    /// Enters a directory of the current one, unless it is a mount or a filesystem within this one (a subvolume).
    fn enter(&mut self, name: &CStr) -> Result<(), WalkError> {
        let depth = self.levels.len();
        let Some(Level { handle: Some(parent), excluded, .. }) = self.levels.last() else { return Ok(()) };
        let handle = match self.beneath.directory(parent, name) {
            Ok(handle) => handle,
            Err(errno) if is_absent(errno) => return Ok(()),
            Err(errno) => return Err(failed(parent, Some(name), errno)),
        };
        let found = rustix::fs::fstat(&handle).map_err(|errno| failed(parent, Some(name), errno))?;
        let found = Attributes::of(&found);
        // On an overlay all directories have the overlay's device, and files that of their layer.
        if found.device != self.root.device {
            return Ok(());
        }
        if depth >= MOST_LEVELS {
            return Err(too_much(parent, &format!("more than {MOST_LEVELS} directories one in the other")));
        }
        let excluded = self.exclusions.below(excluded, name);
        self.used = self.used.saturating_add(found.allocated);
        if let Some(parent) = self.levels.last_mut().filter(|_| depth > KEPT) {
            (parent.handle, parent.is_elsewhere) = (None, true);
        }
        self.levels.push(Level::new(handle, &found, excluded));
        Ok(())
    }

    /// Goes back to the directory above. One that was moved away while the walk was in it is left, with those above it
    /// that have no handle.
    fn leave(&mut self) {
        let Some(child) = self.levels.pop() else { return };
        let Some(parent) = self.levels.last_mut() else { return };
        if parent.handle.is_none() {
            let (device, inode) = (parent.device, parent.inode);
            parent.handle = child.handle.and_then(|child| self.beneath.parent(&child, device, inode).ok());
        }
        while self.levels.last().is_some_and(|level| level.handle.is_none()) {
            let left = self.levels.pop().map(|level| level.pending).unwrap_or_default();
            self.names -= left.iter().map(|name| name.count_bytes()).sum::<usize>();
        }
    }

    /// Reads one piece of the current directory: counts its files, and remembers its directories.
    fn read(&mut self, buffer: &mut [MaybeUninit<u8>]) -> Result<(), WalkError> {
        let Some(mut level) = self.levels.pop() else { return Ok(()) };
        let read = self.read_level(&mut level, buffer);
        self.levels.push(level);
        read
    }

    fn read_level(&mut self, level: &mut Level, buffer: &mut [MaybeUninit<u8>]) -> Result<(), WalkError> {
        let Some(handle) = &level.handle else { return Ok(()) };
        if std::mem::take(&mut level.is_elsewhere)
            && let Err(errno) = rustix::fs::seek(handle, SeekFrom::Start(level.position))
        {
            return Err(failed(handle, None, errno));
        }
        let mut entries = RawDir::new(handle, buffer);
        loop {
            let entry = match entries.next() {
                Some(Ok(entry)) => entry,
                // A directory that was removed has no entries.
                None | Some(Err(Errno::NOENT)) => {
                    level.is_read = true;
                    return Ok(());
                }
                Some(Err(errno)) => return Err(failed(handle, None, errno)),
            };
            let (name, kind, next) = (entry.file_name(), entry.file_type(), entry.next_entry_cookie());
            let is_skipped = matches!(name.to_bytes(), b"." | b"..") || self.exclusions.excludes(&level.excluded, name);
            if !is_skipped && self.is_directory(handle, name, kind)? {
                if self.names + name.count_bytes() > MOST_NAMES && !level.pending.is_empty() {
                    level.is_elsewhere = true;
                    return Ok(());
                }
                self.names += name.count_bytes();
                level.pending.push(name.to_owned());
            }
            level.position = next;
            if entries.is_buffer_empty() {
                return Ok(());
            }
            self.pause()?;
        }
    }

    /// True for a directory; a file is counted.
    fn is_directory(&mut self, parent: &OwnedFd, name: &CStr, kind: FileType) -> Result<bool, WalkError> {
        if kind == FileType::Directory {
            return Ok(true);
        }
        let found = match self.beneath.attributes(parent, name) {
            Ok(found) => found,
            // A file that was removed after it was listed uses no space.
            Err(errno) if is_absent(errno) => return Ok(false),
            Err(errno) => return Err(failed(parent, Some(name), errno)),
        };
        if !found.is_directory && self.is_new(&found) {
            self.used = self.used.saturating_add(found.allocated);
        }
        Ok(found.is_directory)
    }

    /// True for the first link of a file. Files whose links were all met are forgotten.
    fn is_new(&mut self, found: &Attributes) -> bool {
        if found.links <= 1 {
            return true;
        }
        let file = (found.device, found.inode);
        let Some(left) = self.links.get_mut(&file) else {
            self.links.insert(file, found.links - 1);
            return true;
        };
        *left = left.saturating_sub(1);
        if *left == 0 {
            self.links.remove(&file);
        }
        false
    }

    fn pause(&mut self) -> Result<(), WalkError> {
        let now = (self.clock)().mono;
        let worked = now.saturating_sub(self.step);
        if worked < WORK {
            return Ok(());
        }
        if self.links.len() > MOST_LINKS || now.saturating_sub(self.began) > LONGEST {
            let what = if self.links.len() > MOST_LINKS { "too many hard links" } else { "it takes too long" };
            return Err(match self.levels.iter().rev().find_map(|level| level.handle.as_ref()) {
                Some(handle) => too_much(handle, what),
                None => WalkError::Cause(Cause::new(CauseKind::Failed, what)),
            });
        }
        if !(self.rest)(worked) {
            return Err(WalkError::Stopped);
        }
        self.step = (self.clock)().mono;
        Ok(())
    }
}

/// True if there is nothing to count: it was removed, replaced by something else, or is a mount.
fn is_absent(errno: Errno) -> bool {
    [Errno::NOENT, Errno::XDEV, Errno::NOTDIR, Errno::LOOP, Errno::STALE].contains(&errno)
}

fn failed(directory: &OwnedFd, name: Option<&CStr>, errno: Errno) -> WalkError {
    let error = std::io::Error::from(errno);
    let path = place(directory, name);
    let text = format!("{path}: {error}; run as root, or leave it out with --disk-exclude");
    WalkError::Cause(Cause::new(CauseKind::of_error(&error), text))
}

fn too_much(directory: &OwnedFd, what: &str) -> WalkError {
    let text = format!("too much to walk at {}: {what}; leave parts out with --disk-exclude", place(directory, None));
    WalkError::Cause(Cause::new(CauseKind::Failed, text))
}

/// The path of a handle, as the kernel knows it. The file system is not asked.
fn place(directory: &OwnedFd, name: Option<&CStr>) -> String {
    let link = format!("/proc/thread-self/fd/{}", directory.as_raw_fd());
    let path = std::fs::read_link(link).unwrap_or_else(|_| PathBuf::from("a directory without a short path"));
    match name {
        Some(name) => path.join(name.to_string_lossy().as_ref()).display().to_string(),
        None => path.display().to_string(),
    }
}

#[cfg(test)]
mod tests;
