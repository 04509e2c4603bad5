//! Updates from the agent's own reports: rows, and log entries of the changes between them.

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::mpsc;

use super::model::Update;
use crate::events::{LogEntry, Watch};
use crate::publish::Reports;
use crate::report::Report;
use crate::snapshot::{CgroupId, Coverage};
use crate::views::row::Row;

/// Watches the containers of the own reports.
#[derive(Debug, Default)]
pub struct Own {
    watches: BTreeMap<CgroupId, Watch>,
}

impl Own {
    /// Sends reports to the view until one of the two is gone.
    pub async fn run(mut self, mut reports: Reports, updates: mpsc::Sender<Update>) {
        while let Some(report) = reports.next().await {
            if updates.send(self.update(&report)).await.is_err() {
                return;
            }
        }
    }

    /// Returns the update of a report.
    pub fn update(&mut self, report: &Report) -> Update {
        let mut entries = Vec::new();
        let mut rows = Vec::new();
        for container in &report.containers {
            let row = Row::of(report, container);
            let events = self.watches.entry(container.id).or_default().events(container);
            let entry = |event| (row.name.clone(), LogEntry::new(report.taken.wall, event));
            entries.extend(events.iter().map(entry));
            rows.push(row);
        }
        if report.coverage == Coverage::All {
            let ids: BTreeSet<CgroupId> = report.containers.iter().map(|container| container.id).collect();
            self.watches.retain(|id, _| ids.contains(id));
        }
        Update { taken: report.taken.wall, coverage: report.coverage, rows, entries }
    }
}
