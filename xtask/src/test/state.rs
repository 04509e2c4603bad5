//! Results that one step of the tests leaves for another.

use super::times::Times;
use crate::fuzz;

/// The results that later steps and the summary need.
#[derive(Default)]
pub(super) struct State {
    /// Checks that could not run, each with the reason.
    pub(super) skips: Vec<String>,
    pub(super) fuzz_build: Option<fuzz::Build>,
    pub(super) fuzz_targets: Option<fuzz::Targets>,
    /// The time of each test program and of each test.
    pub(super) times: Times,
}

impl State {
    /// Records that an installation has failed, and continues: the tests report themselves what they skip without it.
    pub(super) fn note(&mut self, what: &str, result: anyhow::Result<()>) {
        if let Err(error) = result {
            self.skips.push(format!("{what}: {error:#}"));
        }
    }
}
