//! Interface of all sources.

use crate::snapshot::Snapshot;

/// A source of metrics.
pub trait Source: Send {
    /// Its name in messages.
    fn name(&self) -> &'static str;

    /// Fills `into`. Blocking. Metrics that cannot be read are recorded as absent, with their cause. A sample of
    /// [`Coverage::Exited`](crate::snapshot::Coverage::Exited) lists only exited cgroups: a source must not forget the
    /// others.
    ///
    /// # Errors
    /// If the source as a whole has failed; the other sources continue.
    fn sample(&mut self, into: &mut Snapshot) -> Result<(), SourceError>;
}

/// Error of a source that returned no values at all.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SourceError(pub String);
