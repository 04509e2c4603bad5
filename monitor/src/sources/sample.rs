//! One sample of all sources.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::source::Source;
use crate::snapshot::{Coverage, Snapshot, Stamp};

/// One sample.
#[derive(Debug)]
pub struct Sampled {
    /// The values.
    pub snapshot: Snapshot,
    /// The duration of the sample.
    pub cost: Duration,
    /// The sources that failed, with their errors.
    pub errors: Vec<(&'static str, String)>,
}

/// Reads all sources once, for all cgroups.
pub fn sample(sources: &mut [Box<dyn Source>], clock: impl Fn() -> Stamp) -> Sampled {
    reading(sources, Coverage::All, clock)
}

/// Reads all sources once, for the cgroups in `coverage`. A source that fails or panics loses only its own values: the
/// agent's death could end a container's main service, so a panic must not end it.
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
