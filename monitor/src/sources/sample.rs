//! One reading of all sources.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::source::Source;
use crate::snapshot::{Coverage, Snapshot, Stamp};

/// One reading.
#[derive(Debug)]
pub struct Sampled {
    /// The values.
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

/// Reads all sources once, about the cgroups that `coverage` names. One that fails costs its own numbers alone, and so
/// does one with a bug: where this agent's death would take a container's main service with it, a panic must not end
/// it.
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
