//! Changes of the tree from inotify (`inotify(7)`), for hosts that refuse the eBPF programs.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;

use super::change::{Change, ChangeFeed};
use super::walk::{self, Directory};
use crate::foreign;
use crate::snapshot::CgroupId;

/// The file that is modified when a cgroup gets its first process or loses its last one.
const EVENTS: &[u8] = b"cgroup.events";
/// Its longest content: a line per event.
const LONGEST: usize = 4096;

/// A watch on every directory of a tree.
#[derive(Debug)]
pub struct Inotify {
    queue: OwnedFd,
    tree: PathBuf,
    watches: HashMap<i32, (CgroupId, PathBuf)>,
    known: HashMap<PathBuf, CgroupId>,
}

impl Inotify {
    /// Watches a tree. Existing directories are reported as the first changes.
    ///
    /// # Errors
    /// If the limit of watches is reached, or the tree cannot be read.
    pub fn new(tree: &Path) -> io::Result<Self> {
        let queue = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let mut watching = Self { queue, tree: tree.to_owned(), watches: HashMap::new(), known: HashMap::new() };
        watching.watch_all(&mut Vec::new())?;
        Ok(watching)
    }

    fn watch_all(&mut self, changes: &mut Vec<Change>) -> io::Result<()> {
        self.watch(Path::new(""))?;
        for directory in walk::tree(&self.tree)? {
            self.note(&directory, changes)?;
        }
        Ok(())
    }

    /// Reports a new directory, and those that were created in it before it was watched; `None` if it cannot be read.
    fn meet(&mut self, path: &Path, changes: &mut Vec<Change>) -> Option<()> {
        let parent = *self.known.get(path.parent()?)?;
        let found = match walk::tree(&self.tree.join(path)) {
            Ok(found) => found,
            // It was removed meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Some(()),
            Err(_) => return None,
        };
        for directory in found {
            let parent = if directory.path.as_os_str().is_empty() { parent } else { directory.parent };
            let path = if directory.path.as_os_str().is_empty() { path.to_owned() } else { path.join(&directory.path) };
            self.note(&Directory { id: directory.id, path, parent }, changes).ok()?;
        }
        Some(())
    }

    fn note(&mut self, directory: &Directory, changes: &mut Vec<Change>) -> io::Result<()> {
        let Directory { id, path, parent } = directory;
        if self.known.get(path) == Some(id) {
            return Ok(());
        }
        match self.watch(path) {
            // It was removed meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            watched => watched?,
        }
        self.known.insert(path.clone(), *id);
        if let Some(name) = path.file_name() {
            changes.push(Change::Created { id: *id, parent: *parent, name: Some(name.to_owned()) });
        }
        Ok(())
    }

    fn watch(&mut self, path: &Path) -> io::Result<()> {
        let dir = self.tree.join(path);
        let flags = WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::MODIFY | WatchFlags::ONLYDIR;
        let watch = inotify::add_watch(&self.queue, &dir, flags)?;
        let id = CgroupId(rustix::fs::stat(&dir)?.st_ino);
        // The kernel reports a change of a file only after it was read (`kernfs_notify_workfn`); the root has no such
        // file.
        _ = rustix::fs::stat(dir.join(OsStr::from_bytes(EVENTS)));
        self.watches.insert(watch, (id, path.to_owned()));
        Ok(())
    }

    fn populated(&self, id: CgroupId, file: &Path) -> Option<Change> {
        let text = foreign::read(&self.tree.join(file), LONGEST).ok()?;
        let populated = text.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(b"populated "))?;
        Some(if populated == b"0" { Change::Emptied(id) } else { Change::Populated(id) })
    }
}

impl ChangeFeed for Inotify {
    fn take(&mut self) -> Option<Vec<Change>> {
        let mut changes = Vec::new();
        let mut buffer = [MaybeUninit::uninit(); 16 * 1024];
        let queue = self.queue.try_clone().ok()?;
        let mut reader = Reader::new(queue, &mut buffer);
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => return Some(changes),
                Err(_) => return None,
            };
            let flags = event.events();
            if flags.contains(ReadFlags::QUEUE_OVERFLOW) {
                return None;
            }
            if flags.contains(ReadFlags::IGNORED) {
                self.watches.remove(&event.wd());
                continue;
            }
            let Some((id, dir)) = self.watches.get(&event.wd()).cloned() else { continue };
            let name = event.file_name().map(|name| name.to_bytes()).unwrap_or_default();
            let path = dir.join(OsStr::from_bytes(name));
            if flags.contains(ReadFlags::CREATE | ReadFlags::ISDIR) {
                self.meet(&path, &mut changes)?;
            } else if flags.contains(ReadFlags::DELETE | ReadFlags::ISDIR) {
                changes.extend(self.known.remove(&path).map(Change::Removed));
            } else if flags.contains(ReadFlags::MODIFY) && name == EVENTS {
                changes.extend(self.populated(id, &path));
            }
        }
    }

    fn recover(&mut self) {
        // Best effort: without a watch the directory is found by the next rescan.
        _ = self.watch_all(&mut Vec::new());
    }
}

impl AsFd for Inotify {
    /// Readable while changes wait.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.queue.as_fd()
    }
}
