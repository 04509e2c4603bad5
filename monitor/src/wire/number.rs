//! Numbers in the form that readers accept.

use std::time::Duration;

use crate::metrics::{Metric, Unit};
use crate::report::{Container, Number};

/// A number in the form that readers accept, or `None` for `null`.
pub(crate) fn number(container: &Container, metric: Metric) -> Option<Shape> {
    let unit = metric.spec().unit;
    match container.get(metric).ok()? {
        Number::Whole(value) => Some(Shape::Whole(value.min(i64::MAX as u64))),
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "finite, not negative, and saturating is meant"
        )]
        Number::Real(value) if unit == Unit::Bytes => Some(Shape::Whole((value as u64).min(i64::MAX as u64))),
        Number::Real(value) => {
            Some(Shape::Real(rounded(value, if matches!(unit, Unit::Cores | Unit::Nanoseconds) { 1e6 } else { 1e3 })))
        }
    }
}

/// An interval as it is written.
pub(crate) fn seconds(interval: Duration) -> f64 {
    rounded(interval.as_secs_f64(), 1e3)
}

/// Rounds off digits below the precision of the measurement; they would be most of a document's length.
fn rounded(value: f64, steps: f64) -> f64 {
    let scaled = (value * steps).round();
    if scaled.is_finite() { scaled / steps } else { value }
}

/// A number as it is written.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
#[serde(untagged)]
pub(crate) enum Shape {
    /// Digits only.
    Whole(u64),
    /// Finite.
    Real(f64),
}
