//! All containers at one moment: out of the agent's own report, or of the reports of a fleet.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use hyper::body::Bytes;

use super::text_format::TextFormat;
use super::view::ContainerView;
use crate::report::Report;
use crate::snapshot::Stamp;
use crate::valkey::store::Stored;

/// All containers at one moment.
#[derive(Debug)]
pub(super) struct Frame {
    /// The time at which it was read.
    pub(super) taken: SystemTime,
    /// The machine, where there is only one.
    pub(super) host: Option<String>,
    /// Time between two readings, where there is only one agent.
    pub(super) interval: Option<Duration>,
    /// The time that the reading took.
    pub(super) cost: Option<Duration>,
    /// The containers, sorted by name.
    pub(super) containers: Vec<ContainerView>,
    event: OnceLock<Bytes>,
    texts: [OnceLock<Bytes>; 2],
}

impl Frame {
    /// The frame of a report of this agent.
    pub(super) fn reported(report: &Arc<Report>) -> Self {
        let containers = (0..report.containers.len()).map(|index| ContainerView::Reported(Arc::clone(report), index));
        Self {
            taken: report.taken.wall,
            host: Some(report.host.clone()),
            interval: report.interval,
            cost: Some(report.cost),
            containers: by_name(containers),
            event: OnceLock::new(),
            texts: Default::default(),
        }
    }

    /// Creates a frame of the reports of a fleet, as of now.
    pub(super) fn stored(now: Stamp, reports: Vec<(Arc<Stored>, bool)>) -> Self {
        Self {
            taken: now.wall,
            host: None,
            interval: None,
            cost: None,
            containers: by_name(reports.into_iter().map(|(stored, is_there)| ContainerView::Stored(stored, is_there))),
            event: OnceLock::new(),
            texts: Default::default(),
        }
    }

    /// The container with a name.
    pub(super) fn find(&self, name: &str) -> Option<&ContainerView> {
        let at = self.containers.binary_search_by(|view| view.name().cmp(name)).ok()?;
        self.containers.get(at)
    }

    /// The `tick` event of the stream, encoded on first use.
    pub(super) fn event(&self, make: impl FnOnce(&Self) -> Bytes) -> Bytes {
        self.event.get_or_init(|| make(self)).clone()
    }

    /// The text of `/metrics` in a format, encoded once however many clients ask.
    pub(super) fn text(&self, format: TextFormat, make: impl FnOnce() -> Bytes) -> Bytes {
        self.texts[format as usize].get_or_init(make).clone()
    }
}

/// Sorts by name. Names are unique; of two with the same name only the first would be shown.
fn by_name(containers: impl Iterator<Item = ContainerView>) -> Vec<ContainerView> {
    let mut named: Vec<ContainerView> = containers.collect();
    named.sort_by(|a, b| a.name().cmp(b.name()));
    named.dedup_by(|later, first| later.name() == first.name());
    named
}
