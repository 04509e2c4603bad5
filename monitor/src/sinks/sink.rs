//! The interface of a sink.

use std::future::{pending, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::report::{Delivery, Report};

/// The future that methods of a sink return.
pub type SinkFuture<'a, T = ()> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The selection of reports that a sink is given, always in the order of their times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feed {
    /// The latest report of all containers, and every report of containers that exited. A slow sink skips what is
    /// outdated.
    Latest,
    /// Every report. A sink that is too slow gets the number of missed ones.
    Every,
}

/// Something that takes reports out of the process. Only [`Sink::write`] is required.
pub trait Sink: Send {
    /// Returns which reports the sink wants.
    fn feed(&self) -> Feed {
        Feed::Latest
    }

    /// Returns the state of delivery, for sinks whose state is part of every report.
    fn delivery(&self) -> Option<watch::Receiver<Delivery>> {
        None
    }

    /// Prepares the sink, before the first report.
    fn open(&mut self) -> SinkFuture<'_> {
        Box::pin(ready(()))
    }

    /// Writes one report, or accepts it for delivery by [`Sink::work`]. After an error the driver waits before the next
    /// one.
    fn write<'a>(&'a mut self, report: &'a Arc<Report>) -> SinkFuture<'a, Result<(), SinkError>>;

    /// Records reports that a sink with [`Feed::Every`] missed.
    fn missed(&mut self, reports: u64) {
        tracing::warn!(reports, "Reports lost: too many wait to be written");
    }

    /// Does the work between reports. It is cancelled at each report and called again, so it keeps its progress in the
    /// sink.
    fn work(&mut self) -> SinkFuture<'_> {
        Box::pin(pending())
    }

    /// Delivers the rest after the last report, as far as possible.
    fn close(&mut self) -> SinkFuture<'_> {
        Box::pin(ready(()))
    }
}

/// A report that was not written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Error {text}")]
pub struct SinkError {
    /// The failure and its cause, shown behind "Error ": for example "storing metrics: …".
    pub text: String,
    /// The time of the next attempt.
    pub retry: Retry,
}

/// The time of the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The cause may be gone at any moment.
    Soon,
    /// The cause stays until an operator changes something: a password, a right.
    Slowly,
    /// The other side asks for this pause.
    After(Duration),
}
