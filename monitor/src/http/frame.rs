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
    /// The `tick` event of the stream.
    pub(super) event: Encoded,
    /// The answer with all containers.
    pub(super) list: Encoded,
    texts: [Encoded; 2],
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
            event: Encoded::default(),
            list: Encoded::default(),
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
            event: Encoded::default(),
            list: Encoded::default(),
            texts: Default::default(),
        }
    }

    /// The container with a name.
    pub(super) fn find(&self, name: &str) -> Option<&ContainerView> {
        let at = self.containers.binary_search_by(|view| view.name().cmp(name)).ok()?;
        self.containers.get(at)
    }

    /// The text of `/metrics` in a format.
    pub(super) fn text(&self, format: TextFormat) -> &Encoded {
        &self.texts[format as usize]
    }
}

/// An answer that is encoded once, however many clients ask.
#[derive(Debug, Default)]
pub(super) struct Encoded(OnceLock<Bytes>);

impl Encoded {
    /// The answer, which `make` makes on first use. An error is not kept.
    pub(super) fn get_or_make<E>(&self, make: impl FnOnce() -> Result<Bytes, E>) -> Result<Bytes, E> {
        if let Some(made) = self.0.get() {
            return Ok(made.clone());
        }
        let made = make()?;
        Ok(self.0.get_or_init(|| made).clone())
    }
}

/// Sorts by name. Names are unique; of two with the same name only the first would be shown.
fn by_name(containers: impl Iterator<Item = ContainerView>) -> Vec<ContainerView> {
    let mut named: Vec<ContainerView> = containers.collect();
    named.sort_by(|a, b| a.name().cmp(b.name()));
    named.dedup_by(|later, first| later.name() == first.name());
    named
}
