//! Reports as lines of JSON, for programs.

use super::wire;
use crate::report::Report;

/// One line per container.
pub fn lines(report: &Report) -> String {
    report.containers.iter().map(|container| wire::report(report, container) + "\n").collect()
}
