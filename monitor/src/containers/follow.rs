//! Thread that follows the tree, so that changes are known at once, without a walk.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::sync::Notify;

use super::change::{Change, ChangeFeed};
use super::info::NameRequest;
use super::registry::Registry;
use super::walk::{self, Directory};
use crate::mutex::lock;
use crate::snapshot::CgroupId;

/// The time after which a rescan that failed is tried again.
const RETRY: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// The state of the thread.
struct Follower {
    changes: Box<dyn ChangeFeed>,
    /// Changes were lost, and the tree has not been rescanned since.
    must_rescan: bool,
    registry: Arc<Mutex<Registry>>,
    ask: mpsc::Sender<NameRequest>,
    ended: Arc<Notify>,
}

/// Starts the thread. It ends when the returned writer is dropped.
///
/// # Errors
/// If the thread cannot start.
pub fn start(
    changes: Box<dyn ChangeFeed>,
    registry: Arc<Mutex<Registry>>,
    ask: mpsc::Sender<NameRequest>,
    ended: Arc<Notify>,
) -> io::Result<PipeWriter> {
    let (stopped, stop) = io::pipe()?;
    let mut follower = Follower { changes, must_rescan: false, registry, ask, ended };
    // Changes that happened during the walk.
    follower.catch_up();
    thread::Builder::new().name("containers".into()).spawn(move || follower.run(&stopped))?;
    Ok(stop)
}

impl Follower {
    fn run(mut self, stopped: &PipeReader) {
        loop {
            let (changes, stop) = (self.changes.as_fd(), stopped.as_fd());
            let mut both =
                [PollFd::from_borrowed_fd(changes, PollFlags::IN), PollFd::from_borrowed_fd(stop, PollFlags::IN)];
            // An interrupted call is repeated.
            _ = poll(&mut both, self.must_rescan.then_some(&RETRY));
            if !both[1].revents().is_empty() {
                return;
            }
            self.catch_up();
        }
    }

    fn catch_up(&mut self) {
        let changes = self.changes.take();
        let mut registry = lock(&self.registry);
        match changes {
            Some(changes) if !self.must_rescan => apply(&mut registry, changes),
            _ => self.must_rescan = !rescan(&mut *self.changes, self.must_rescan, &mut registry),
        }
        send(&mut registry, &self.ask);
        if registry.has_ended() {
            self.ended.notify_one();
        }
    }
}

/// Brings the registry up to date after lost changes; false if the tree cannot be read now.
fn rescan(changes: &mut dyn ChangeFeed, is_retry: bool, registry: &mut Registry) -> bool {
    if !is_retry {
        tracing::warn!("Cgroup events lost: rescanning the tree");
        registry.count_rescan();
    }
    changes.recover();
    let result = walk(registry);
    if let (Err(error), false) = (&result, is_retry) {
        tracing::warn!(%error, "Error rescanning the cgroup tree: retrying every second");
    }
    result.is_ok()
}

/// Sends the name requests of the registry.
pub fn send(registry: &mut Registry, ask: &mpsc::Sender<NameRequest>) {
    // The resolver ends only when no sender is left.
    registry.requests().into_iter().for_each(|request| _ = ask.send(request));
}

/// Walks the tree and brings the registry up to date.
///
/// # Errors
/// If no tree is mounted, or it cannot be read.
pub fn walk(registry: &mut Registry) -> io::Result<()> {
    let tree = registry.hierarchies().walked();
    let tree = tree.ok_or_else(|| io::Error::other("no cgroup tree is mounted; mount it at /sys/fs/cgroup"))?;
    let found = walk::tree(tree)?;
    registry.settle(&found);
    Ok(())
}

/// Applies changes in their order. A walk may have seen all of them already.
fn apply(registry: &mut Registry, changes: Vec<Change>) {
    let Some(tree) = registry.hierarchies().walked().map(Path::to_owned) else { return };
    let mut listed: HashMap<CgroupId, HashMap<CgroupId, OsString>> = HashMap::new();
    for change in changes {
        match change {
            Change::Created { id, parent, name } => {
                let Some(outer) = registry.path(parent) else { continue };
                let name = name.or_else(|| {
                    let listed = listed.entry(parent).or_insert_with(|| walk::child_names(&tree.join(&outer)));
                    listed.remove(&id)
                });
                match name {
                    Some(name) => registry.cgroup_created(&Directory { id, path: outer.join(name), parent }),
                    None => registry.cgroup_came_and_went(id, parent),
                }
            }
            Change::Populated(id) => registry.cgroup_populated(id),
            Change::Emptied(id) => registry.cgroup_emptied(id),
            Change::Removed(id) => registry.cgroup_removed(id),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::BorrowedFd;

    use super::*;
    use crate::containers::Roots;
    use crate::containers::hierarchies::Hierarchies;
    use crate::containers::rules::Rules;

    /// A feed that loses changes once.
    struct Lossy {
        waiting: PipeReader,
        has_lost: bool,
    }

    impl ChangeFeed for Lossy {
        fn take(&mut self) -> Option<Vec<Change>> {
            (!std::mem::take(&mut self.has_lost)).then(Vec::new)
        }
    }

    impl AsFd for Lossy {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.waiting.as_fd()
        }
    }

    #[test]
    fn a_rescan_that_failed_is_repeated_until_it_succeeds() {
        let dir = tempfile::tempdir().unwrap();
        let (tree, away) = (dir.path().join("cg"), dir.path().join("away"));
        fs::create_dir(&tree).unwrap();
        fs::write(tree.join("cgroup.procs"), "").unwrap();
        let hierarchies = Hierarchies::find(&Roots { cgroup: Some(tree.clone()), ..Roots::default() });
        let registry = Arc::new(Mutex::new(Registry::new(hierarchies, Rules::default(), "machine")));
        let (waiting, _open) = io::pipe().unwrap();
        let (ask, asked) = mpsc::channel();
        let changes = Box::new(Lossy { waiting, has_lost: true });
        let registry_of_follower = Arc::clone(&registry);
        let ended = Arc::new(Notify::new());
        let mut follower = Follower { changes, must_rescan: false, registry: registry_of_follower, ask, ended };

        fs::rename(&tree, &away).unwrap();
        follower.catch_up();
        assert!(follower.must_rescan);
        fs::create_dir_all(away.join(format!("docker/{}", "a".repeat(64)))).unwrap();
        fs::rename(&away, &tree).unwrap();
        follower.catch_up();
        assert!(!follower.must_rescan);
        assert!(asked.try_iter().count() > 0, "the container that was created meanwhile is known");
    }
}
