//! Where numbers come from. Each source reads one kind of thing and fills the cells that the table says it feeds.

pub mod bpf;
pub mod cgroup;
pub mod disk;
pub mod parse;
pub mod proc_text;
mod processes;
pub mod procfs;
mod sampler;
mod scarce;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

pub use self::sampler::SamplerThread;
use crate::snapshot::{Coverage, Snapshot, Stamp};

/// Something that reads the kernel.
pub trait Source: Send {
    /// Its name in messages.
    fn name(&self) -> &'static str;

    /// Fills `into`. Blocking. What cannot be read is recorded as absent, with its cause. In a reading of [`Coverage::Exited`]
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

/// One reading.
#[derive(Debug)]
pub struct Sampled {
    /// What was read.
    pub snapshot: Snapshot,
    /// How long it took.
    pub cost: Duration,
    /// The sources that failed, with what they said.
    pub errors: Vec<(&'static str, String)>,
}

/// Reads all sources once, about all cgroups.
pub fn sample(sources: &mut [Box<dyn Source>], clock: impl Fn() -> Stamp) -> Sampled {
    reading(sources, Coverage::All, clock)
}

/// Reads all sources once, about the cgroups that `coverage` names. One that fails costs its own numbers alone, and so does one
/// with a bug: where this agent's death would take a container's main service with it, a panic must not end it.
pub fn reading(sources: &mut [Box<dyn Source>], coverage: Coverage, clock: impl Fn() -> Stamp) -> Sampled {
    let taken = clock();
    let mut snapshot = Snapshot { coverage, ..Snapshot::new(taken) };
    let mut errors = Vec::new();
    for source in sources {
        let error = match catch_unwind(AssertUnwindSafe(|| source.sample(&mut snapshot))) {
            Ok(Ok(())) => continue,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "a bug in this source; please report it".to_owned(),
        };
        errors.push((source.name(), error));
    }
    Sampled { snapshot, cost: clock().mono.saturating_sub(taken.mono), errors }
}
