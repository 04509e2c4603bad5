//! The part of the machine that is watched, as a source.

use std::io;
use std::sync::Arc;

use tokio::sync::Notify;

use super::context::Clock;
use crate::config::Config;
use crate::containers;
use crate::containers::change::ChangeFeed;
use crate::containers::hierarchies::Hierarchies;
use crate::containers::names::RuntimePaths;
use crate::containers::own::{self, Own};
use crate::containers::owners::Owners;
use crate::hostname::hostname;
use crate::snapshot::Scope;
use crate::sources::Source;
use crate::sources::bpf::Part;
use crate::sources::host_containers::HostContainers;
use crate::sources::own_container::OwnContainer;

/// The watched part of the machine, and the location of its files.
pub(super) enum Watched {
    /// The agent's own container.
    Own(Own),
    /// Every container of the machine.
    Machine(Hierarchies),
}

/// The sources of what is watched.
pub(super) struct WatchedSources {
    /// Lists the cgroups, before all others.
    pub(super) list: Box<dyn Source>,
    /// Tells which of them live, behind the sources that count processes.
    pub(super) lives: Option<Box<dyn Source>>,
}

impl Watched {
    /// Finds it.
    pub(super) fn find(config: &Config) -> Self {
        match config.scope {
            Scope::SelfContainer => Self::Own(own::find(&config.roots, &config.container_name)),
            Scope::Host => Self::Machine(Hierarchies::find(&config.roots)),
        }
    }

    /// The part of the cgroup tree that eBPF counts.
    pub(super) fn part(&self) -> Part {
        match self {
            Self::Own(own) => Part::of(own),
            Self::Machine(hierarchies) => Part::machine(hierarchies.v2.clone(), hierarchies.v1.clone()),
        }
    }

    /// Returns its sources. Starts the threads that follow them; `ended` is notified when a
    /// container has exited or lost its last process.
    pub(super) fn into_source(
        self,
        config: &Config,
        owners: Option<Owners>,
        feed: Option<Box<dyn ChangeFeed>>,
        clock: Clock,
        ended: &Arc<Notify>,
    ) -> io::Result<WatchedSources> {
        match self {
            Self::Own(own) => Ok(WatchedSources { list: Box::new(OwnContainer::new(own, &config.roots)), lives: None }),
            Self::Machine(hierarchies) => every_container(config, hierarchies, owners, feed, clock, ended),
        }
    }
}

fn every_container(
    config: &Config,
    hierarchies: Hierarchies,
    owners: Option<Owners>,
    feed: Option<Box<dyn ChangeFeed>>,
    clock: Clock,
    ended: &Arc<Notify>,
) -> io::Result<WatchedSources> {
    let host = containers::host_root(&config.roots);
    let sockets = config.runtime_sockets.iter().map(|path| host.join(path.strip_prefix("/").unwrap_or(path))).collect();
    let paths = RuntimePaths { host, proc: config.roots.proc.clone(), sockets };
    let machine = hostname(&config.roots.proc);
    if !config.rules.reports_machine(&machine) {
        tracing::info!(name = machine, "The machine itself is left out, as --containers says");
    }
    let mut containers = HostContainers::new(hierarchies, config.rules.clone(), owners, &paths, clock)?;
    if let Err(error) = containers.follow(feed, Arc::clone(ended)) {
        tracing::warn!(%error, "Changes of the cgroup tree cannot be followed: it is walked at each reading");
    }
    let lives = Box::new(containers.lives());
    Ok(WatchedSources { list: Box::new(containers), lives: Some(lives) })
}
