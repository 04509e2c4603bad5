//! Where numbers come from. Each source reads one kind of thing and fills the cells that the table says it feeds.

pub mod cgroup;
pub mod disk;
pub mod parse;
pub mod proc_text;
pub mod procfs;

use crate::snapshot::Snapshot;

/// Something that reads the kernel.
pub trait Source: Send {
    /// Its name in messages.
    fn name(&self) -> &'static str;

    /// Fills `into`. Blocking. What cannot be read is recorded as absent, with its cause.
    ///
    /// # Errors
    /// When the source as a whole has failed; the other sources go on.
    fn sample(&mut self, into: &mut Snapshot) -> Result<(), SourceError>;
}

/// A source gave nothing at all this time.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SourceError(pub String);
