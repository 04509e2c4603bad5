//! A report on its way under the keys of its containers.

use std::sync::Arc;
use std::time::Duration;

use super::commands::{self, Purpose};
use crate::report::Report;
use crate::snapshot::{Coverage, Status};
use crate::valkey::{Document, Request};

/// The longest expiry of the report of an exited container.
const GOODBYE_TTL: Duration = Duration::from_secs(30);
/// A report, until it is written or there is a later one.
#[derive(Clone, Debug)]
pub(super) struct PendingReport {
    pub(super) report: Arc<Report>,
    pub(super) documents: Vec<Document>,
}

impl PendingReport {
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
        let containers = &self.report.containers;
        let documents = containers.iter().zip(&self.documents).map(move |(container, json)| {
            let ttl = if container.status == Status::Exited { GOODBYE_TTL.min(longest) } else { longest };
            (Purpose::Metrics, commands::metrics(&container.identity.name, json, ttl))
        });
        let names = containers.iter().map(|container| container.identity.name.as_str());
        let index = (!containers.is_empty()).then(|| commands::index(names, self.report.taken.wall).into());
        documents.chain(index.map(|index| (Purpose::Index, index)))
    }
}
