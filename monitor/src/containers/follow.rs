//! Follows the tree: what comes and goes is known at once, without walking. On a thread of its own.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use monitor_common::Turn;
use rustix::event::{PollFd, PollFlags, poll};
use tokio::sync::Notify;

use super::inotify::Inotify;
use super::lock;
use super::names::Question;
use super::registry::Registry;
use super::tree::{self, Directory};
use crate::snapshot::CgroupId;
use crate::sources::bpf::Lives;

/// Something that happened to a cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was made in another one, with this name if that is known.
    Made {
        /// The cgroup.
        id: CgroupId,
        /// The one that it is in.
        parent: CgroupId,
        /// Its directory's name.
        name: Option<OsString>,
    },
    /// It got its first process.
    Filled(CgroupId),
    /// It lost its last process.
    Emptied(CgroupId),
    /// It was removed.
    Removed(CgroupId),
}

/// Where changes are told.
pub enum Changes {
    /// By the kernel's programs.
    Kernel(Box<Lives>),
    /// By the file system.
    Inotify(Inotify),
}

impl Changes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Kernel(lives) => lives.as_fd(),
            Self::Inotify(inotify) => inotify.as_fd(),
        }
    }

    /// What happened, in its order; `None` when something of it was lost.
    fn take(&mut self) -> Option<Vec<Change>> {
        match self {
            Self::Kernel(lives) => {
                let mut changes = Vec::new();
                lives.take_messages(|life| {
                    let id = CgroupId(life.id);
                    changes.extend(life.turn().map(|turn| match turn {
                        Turn::Made => Change::Made { id, parent: CgroupId(life.parent), name: None },
                        Turn::Filled => Change::Filled(id),
                        Turn::Emptied => Change::Emptied(id),
                        Turn::Removed => Change::Removed(id),
                    }));
                });
                (!lives.lost_some()).then_some(changes)
            }
            Self::Inotify(inotify) => inotify.take(),
        }
    }
}

/// What the thread works on.
struct Follower {
    changes: Changes,
    registry: Arc<Mutex<Registry>>,
    ask: mpsc::Sender<Question>,
    ended: Arc<Notify>,
}

/// Starts the thread. It ends when what is returned is dropped.
///
/// # Errors
/// When there can be none.
pub fn start(
    changes: Changes,
    registry: Arc<Mutex<Registry>>,
    ask: mpsc::Sender<Question>,
    ended: Arc<Notify>,
) -> io::Result<PipeWriter> {
    let (stopped, stop) = io::pipe()?;
    let mut follower = Follower { changes, registry, ask, ended };
    // What has come while the tree was walked.
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
            // An interruption is no news.
            _ = poll(&mut both, None);
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
            Some(changes) => apply(&mut registry, changes),
            None => {
                tracing::warn!("more cgroups came and went than could be told; the tree is walked");
                if let Changes::Inotify(inotify) = &mut self.changes {
                    inotify.start_anew();
                }
                registry.walk_again();
                walk(&mut registry).unwrap_or_else(|error| tracing::warn!("the cgroup tree cannot be walked: {error}"));
            }
        }
        send(&mut registry, &self.ask);
        if registry.has_ended() {
            self.ended.notify_one();
        }
    }
}

/// Asks for the names that the registry wants to know.
pub fn send(registry: &mut Registry, ask: &mpsc::Sender<Question>) {
    // The thread that answers ends when nobody asks.
    registry.questions().into_iter().for_each(|question| _ = ask.send(question));
}

/// Brings a registry to what the tree is now.
///
/// # Errors
/// When there is no tree, or it cannot be read.
pub fn walk(registry: &mut Registry) -> io::Result<()> {
    let tree = registry.trees().walked();
    let tree = tree.ok_or_else(|| io::Error::other("no cgroup tree is mounted; is this the host?"))?;
    let found = tree::walk(tree)?;
    registry.settle(&found);
    Ok(())
}

/// Applies changes in their order. All of them may be known already: a walk has seen them.
fn apply(registry: &mut Registry, changes: Vec<Change>) {
    let Some(tree) = registry.trees().walked().map(Path::to_owned) else { return };
    let mut listed: HashMap<CgroupId, HashMap<CgroupId, OsString>> = HashMap::new();
    for change in changes {
        match change {
            Change::Made { id, parent, name } => {
                let Some(outer) = registry.path(parent).map(Path::to_owned) else { continue };
                let name = name.or_else(|| {
                    let listed = listed.entry(parent).or_insert_with(|| tree::names(&tree.join(&outer)));
                    listed.remove(&id)
                });
                match name {
                    Some(name) => registry.appear(&Directory { id, path: outer.join(name), parent }),
                    None => registry.passed(id, parent),
                }
            }
            Change::Filled(id) => registry.filled(id),
            Change::Emptied(id) => registry.emptied(id),
            Change::Removed(id) => registry.vanish(id),
        }
    }
}
