//! Reports as lines of JSON, for programs.

use crate::report::Report;
use crate::wire::{self, EncodeError};

/// One line per container.
///
/// # Errors
/// A bug of this program.
pub fn lines(report: &Report) -> Result<String, EncodeError> {
    report.containers.iter().map(|container| Ok(wire::report(report, container)? + "\n")).collect()
}
