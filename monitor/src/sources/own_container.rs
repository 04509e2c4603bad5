//! Container that the agent runs in, as the only cgroup of each snapshot.

use std::path::PathBuf;
use std::sync::Arc;

use super::source::{Source, SourceError};
use crate::containers::Roots;
use crate::containers::own::Own;
use crate::hostname::hostname;
use crate::snapshot::{CgroupId, Identity, Snapshot};

/// First source of scope `self`: it creates the one entry that the others fill.
#[derive(Debug)]
pub struct OwnContainer {
    id: CgroupId,
    identity: Arc<Identity>,
    proc: PathBuf,
    host: String,
}

impl OwnContainer {
    /// Creates the source for `own`.
    pub fn new(own: Own, roots: &Roots) -> Self {
        Self { id: own.id, identity: Arc::new(own.identity), proc: roots.proc.clone(), host: String::new() }
    }
}

impl Source for OwnContainer {
    fn name(&self) -> &'static str {
        "own container"
    }

    fn sample(&mut self, into: &mut Snapshot) -> Result<(), SourceError> {
        let host = hostname(&self.proc);
        if !host.is_empty() {
            self.host = host;
        }
        into.host.name.clone_from(&self.host);
        into.cgroups.entry(self.id).or_default().identity = Arc::clone(&self.identity);
        Ok(())
    }
}
