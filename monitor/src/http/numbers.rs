//! Metrics as the API names and scales them.

use crate::metrics::{Metric, Unit};

/// The metric with a field name.
pub(super) fn field(name: &str) -> Option<Metric> {
    Metric::fields().find(|(_, field)| *field == name).map(|(metric, _)| metric)
}

/// The factor that makes a metric's values integers without losing a digit of the report.
pub(super) fn scale(metric: Metric) -> f64 {
    match metric.spec().unit {
        Unit::Count | Unit::Bytes | Unit::Seconds => 1.0,
        Unit::Cores | Unit::Nanoseconds => 1e6,
        Unit::Percent | Unit::Load | Unit::PerSecond | Unit::BytesPerSecond => 1e3,
    }
}

/// The contract fields: those outside of any group.
pub(super) fn contract() -> impl Iterator<Item = Metric> {
    Metric::fields().filter(|(_, field)| !field.contains('.')).map(|(metric, _)| metric)
}
