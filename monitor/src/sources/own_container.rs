//! Container that the agent runs in, as the only cgroup of each snapshot.

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
    host: String,
}

impl OwnContainer {
    /// Creates the source for `own`.
    pub fn new(own: Own, roots: &Roots) -> Self {
        let host = hostname(&roots.proc);
        Self { id: own.id, identity: Arc::new(own.identity), host }
    }
}

impl Source for OwnContainer {
    fn name(&self) -> &'static str {
        "own container"
    }

    fn sample(&mut self, into: &mut Snapshot) -> Result<(), SourceError> {
        into.host.name.clone_from(&self.host);
        into.cgroups.entry(self.id).or_default().identity = Arc::clone(&self.identity);
        Ok(())
    }
}
