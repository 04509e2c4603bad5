//! A report on its way under the keys of its containers.

use std::sync::Arc;
use std::time::Duration;

use super::commands::{self, Purpose};
use crate::report::{Container, Report};
use crate::snapshot::{Coverage, Status};
use crate::valkey::{Document, Request};

/// The longest expiry of the report of an exited container.
const GOODBYE_TTL: Duration = Duration::from_secs(30);
/// A report, until it is written or there is a later one.
#[derive(Clone, Debug)]
pub(super) struct PendingReport {
    pub(super) report: Arc<Report>,
    /// The document of each container of the report.
    pub(super) documents: Vec<Document>,
    /// Names that are another machine's, and are not written.
    disowned: Vec<String>,
}

impl PendingReport {
    /// A report and its documents.
    pub(super) fn new(report: Arc<Report>, documents: Vec<Document>) -> Self {
        Self { report, documents, disowned: Vec::new() }
    }

    /// Leaves out a container whose name is another machine's.
    pub(super) fn disown(&mut self, name: &str) {
        self.disowned.push(name.to_owned());
    }

    /// Returns whether it is the same report.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.report, &other.report)
    }

    /// Returns whether it covers all containers, and so replaces an earlier report.
    pub(super) fn is_whole(&self) -> bool {
        self.report.coverage == Coverage::All
    }

    /// Returns the requests that write its documents under their keys.
    pub(super) fn requests(&self, longest: Duration) -> impl Iterator<Item = (Purpose, Request)> {
        let is_ours = |container: &&Container| !self.disowned.contains(&container.identity.name);
        let containers = self.report.containers.iter();
        let ours = containers.clone().zip(&self.documents).filter(move |(container, _)| is_ours(container));
        let documents = ours.map(move |(container, json)| {
            let ttl = if container.status == Status::Exited { GOODBYE_TTL.min(longest) } else { longest };
            (Purpose::Metrics, commands::metrics(&container.identity.name, json, ttl))
        });
        let mut names = containers.filter(is_ours).map(|container| container.identity.name.as_str()).peekable();
        let index = names.peek().is_some().then(|| commands::index(names, self.report.taken.wall).into());
        documents.chain(index.map(|index| (Purpose::Index, index)))
    }
}
