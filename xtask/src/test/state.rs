//! What one step of the tests leaves for another.

use super::times::Times;
use crate::fuzz;

/// The results that later steps and the summary need.
#[derive(Default)]
pub(super) struct State {
    /// What could not be checked, and why.
    pub(super) skips: Vec<String>,
    pub(super) fuzz_build: Option<fuzz::Build>,
    pub(super) fuzz_targets: Option<fuzz::Targets>,
    /// How long each test program and each test took.
    pub(super) times: Times,
}

impl State {
    /// Takes note of what failed to be installed, and goes on: the tests say themselves what they skip without it.
    pub(super) fn note(&mut self, what: &str, result: anyhow::Result<()>) {
        if let Err(error) = result {
            self.skips.push(format!("{what}: {error:#}"));
        }
    }
}
