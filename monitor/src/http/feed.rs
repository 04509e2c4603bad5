//! The agent's own reports on their way to the server's frames, log entries and memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::frame::Frame;
use super::log_entry::LogEntry;
use super::server::Server;
use crate::events::{self, Event, Watch};
use crate::publish::Reports;
use crate::report::Delivery;
use crate::snapshot::{CgroupId, Coverage};

/// Shows the agent's reports until no more come. Nothing here can fail or take long, so the sinks' driver has no work.
pub(super) async fn run(server: Arc<Server>, mut reports: Reports) {
    let mut watches: BTreeMap<CgroupId, Watch> = BTreeMap::new();
    while let Some(report) = reports.next().await {
        let mut happened = Vec::new();
        for container in &report.containers {
            let mut events = watches.entry(container.id).or_default().events(container);
            if report.coverage == Coverage::Exited {
                events.push(Event::Exited);
            }
            for event in events {
                let entry = LogEntry::from(events::LogEntry::new(report.taken.wall, &event));
                happened.push((container.identity.name.clone(), entry));
            }
        }
        let frame = Frame::reported(&report);
        if report.coverage == Coverage::All {
            let there: BTreeSet<CgroupId> = report.containers.iter().map(|container| container.id).collect();
            watches.retain(|id, _| there.contains(id));
            server.show(frame, report.delivery.as_ref().and_then(away));
        } else {
            server.remember(&frame);
        }
        server.publish_entries(happened);
    }
}

/// Returns why reports are not delivered, if they are not.
fn away(delivery: &Delivery) -> Option<String> {
    let waiting = delivery.backlog;
    delivery.connected_since.is_none().then(|| format!("Valkey is away; {waiting} entries wait to be written"))
}
