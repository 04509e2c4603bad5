//! The interface of all sources.

use crate::snapshot::Snapshot;

/// Something that reads the kernel.
pub trait Source: Send {
    /// Its name in messages.
    fn name(&self) -> &'static str;

    /// Fills `into`. Blocking. What cannot be read is recorded as absent, with its cause. In a reading of [`Coverage::Exited`](crate::snapshot::Coverage::Exited)
    /// nothing is known of cgroups that are not in it: they are not to be forgotten.
    ///
    /// # Errors
    /// When the source as a whole has failed; the other sources go on.
    fn sample(&mut self, into: &mut Snapshot) -> Result<(), SourceError>;
}

/// A source gave nothing at all this time.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SourceError(pub String);
