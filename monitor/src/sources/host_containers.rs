//! Every container of a machine, and the machine itself.

use std::io::PipeWriter;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, mpsc};

use tokio::sync::Notify;

use super::bpf;
use super::source::{Source, SourceError};
use crate::containers::change::ChangeFeed;
use crate::containers::follow;
use crate::containers::hierarchies::Hierarchies;
use crate::containers::info::NameRequest;
use crate::containers::inotify::Inotify;
use crate::containers::names::{NameResolver, RuntimePaths};
use crate::containers::owners::Owners;
use crate::containers::registry::Registry;
use crate::containers::rules::Rules;
use crate::hostname::hostname;
use crate::mutex::lock;
use crate::snapshot::{CgroupId, Coverage, Snapshot, Stamp};

/// First source of scope `host`: it creates the entries that the other sources fill. It takes the containers from the
/// registry, which follows the tree; if the tree cannot be followed, it walks it in each full sample.
#[derive(Debug)]
pub struct HostContainers {
    registry: Arc<Mutex<Registry>>,
    ask: mpsc::Sender<NameRequest>,
    proc: PathBuf,
    /// Held by the thread that follows the tree.
    followed: Option<PipeWriter>,
}

impl HostContainers {
    /// Creates the source for these hierarchies. They are walked until they are followed. Names are claimed with
    /// `owners`.
    ///
    /// # Errors
    /// If the thread that resolves names cannot start.
    pub fn new(
        hierarchies: Hierarchies,
        rules: Rules,
        owners: Option<Owners>,
        paths: &RuntimePaths,
        clock: fn() -> Stamp,
    ) -> std::io::Result<Self> {
        let registry = Registry::new(hierarchies, rules, &hostname(&paths.proc)).with_owners(owners);
        let registry = Arc::new(Mutex::new(registry));
        let ask = NameResolver::start(paths, Arc::clone(&registry), clock, bpf::leave_descriptors)?;
        Ok(Self { registry, ask, proc: paths.proc.clone(), followed: None })
    }

    /// Returns the root directory of the v2 tree.
    pub fn root(&self) -> Option<PathBuf> {
        lock(&self.registry).hierarchies().v2.clone()
    }

    /// True if the container is known.
    pub fn knows(&self, id: CgroupId) -> bool {
        lock(&self.registry).is_there(id)
    }

    /// Follows the tree through the kernel's events, else through inotify. `ended` is notified when a container has
    /// exited and should be read before the next tick.
    ///
    /// # Errors
    /// If neither works; the tree is then walked in each full sample.
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

    /// Returns the source that tells which containers live, to be read behind those that count processes.
    pub fn lives(&self) -> Lives {
        Lives(Arc::clone(&self.registry))
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
        let hostname = hostname(&self.proc);
        let mut registry = lock(&self.registry);
        registry.set_hostname(&hostname);
        registry.fill(into);
        walked.map_err(|error| SourceError(error.to_string()))
    }
}

/// Source that tells which containers live: those that have processes.
#[derive(Debug)]
pub struct Lives(Arc<Mutex<Registry>>);

impl Source for Lives {
    fn name(&self) -> &'static str {
        "lives of containers"
    }

    fn sample(&mut self, into: &mut Snapshot) -> Result<(), SourceError> {
        lock(&self.0).judge(into);
        Ok(())
    }
}
