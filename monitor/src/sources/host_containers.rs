//! Every container of a machine, and the machine itself.

use std::io::PipeWriter;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, mpsc};

use tokio::sync::Notify;

use super::source::{Source, SourceError};
use crate::containers::change::ChangeFeed;
use crate::containers::follow;
use crate::containers::hierarchies::Hierarchies;
use crate::containers::info::NameRequest;
use crate::containers::inotify::Inotify;
use crate::containers::names::{NameResolver, RuntimePaths};
use crate::containers::registry::Registry;
use crate::containers::rules::Rules;
use crate::hostname::hostname;
use crate::mutex::lock;
use crate::snapshot::{CgroupId, Coverage, Snapshot, Stamp};

/// The first source of scope `host`: it makes the entries that the others fill. What there is it learns from who follows
/// the tree; where nobody can, it walks at each whole reading.
#[derive(Debug)]
pub struct HostContainers {
    registry: Arc<Mutex<Registry>>,
    ask: mpsc::Sender<NameRequest>,
    /// Held by a tree that is followed.
    followed: Option<PipeWriter>,
}

impl HostContainers {
    /// Watches the machine, of which these are the trees. Until they are followed, they are walked.
    ///
    /// # Errors
    /// When the thread that looks names up cannot start.
    pub fn new(
        hierarchies: Hierarchies,
        rules: Rules,
        paths: &RuntimePaths,
        clock: fn() -> Stamp,
    ) -> std::io::Result<Self> {
        let registry = Registry::new(hierarchies, rules, &hostname(&paths.proc));
        let registry = Arc::new(Mutex::new(registry));
        let ask = NameResolver::start(paths, Arc::clone(&registry), clock)?;
        Ok(Self { registry, ask, followed: None })
    }

    /// The directory of the v2 tree below which everything is.
    pub fn root(&self) -> Option<PathBuf> {
        lock(&self.registry).hierarchies().v2.clone()
    }

    /// True if the container is known.
    pub fn knows(&self, id: CgroupId) -> bool {
        lock(&self.registry).is_there(id)
    }

    /// Follows the tree: by what the kernel's programs tell, else by what the file system tells. `ended` is told when there
    /// is something to be read before the next tick.
    ///
    /// # Errors
    /// When neither can be had; the tree is then walked at each whole reading.
    pub fn follow(&mut self, feed: Option<Box<dyn ChangeFeed>>, ended: Arc<Notify>) -> std::io::Result<()> {
        let tree = lock(&self.registry).hierarchies().walked().map(PathBuf::from);
        let tree = tree.ok_or_else(|| std::io::Error::other("no cgroup tree is mounted"))?;
        let feed = match feed {
            Some(feed) => feed,
            None => Box::new(Inotify::new(&tree)?),
        };
        self.walk()?;
        self.followed = Some(follow::start(feed, Arc::clone(&self.registry), self.ask.clone(), ended)?);
        Ok(())
    }

    fn walk(&self) -> std::io::Result<()> {
        let mut registry = lock(&self.registry);
        follow::walk(&mut registry)?;
        follow::send(&mut registry, &self.ask);
        Ok(())
    }
}

impl Source for HostContainers {
    fn name(&self) -> &'static str {
        "containers"
    }

    fn sample(&mut self, into: &mut Snapshot) -> Result<(), SourceError> {
        let walked = match (self.followed.is_some(), into.coverage) {
            (false, Coverage::All) => self.walk(),
            _ => Ok(()),
        };
        lock(&self.registry).fill(into);
        walked.map_err(|error| SourceError(error.to_string()))
    }
}
