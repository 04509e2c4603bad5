//! Numbers over time, ready for a chart: columns with a bounded number of points.

use std::collections::BTreeMap;

use super::numbers::scale;
use super::packed::{ABSENT, Row};
use crate::metrics::{Kind, Metric};
use crate::wire::Shape;

/// The most points of a series that is shown.
pub(super) const POINTS: u64 = 1000;

/// Some numbers of a container over time.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub(super) struct Columns {
    /// Milliseconds since 1970.
    pub(super) times: Vec<u64>,
    /// The values by the name of the number.
    pub(super) series: BTreeMap<&'static str, Vec<Option<Shape>>>,
    /// True if there were more points.
    pub(super) thinned: bool,
}

impl Columns {
    /// The time of the last row in which a counter was higher than in the one before.
    pub(super) fn last_rise(&self, counter: Metric) -> Option<u64> {
        let values = self.series.get(counter.spec().name())?;
        let rises = |pair: &[Option<Shape>]| matches!(pair, [Some(Shape::Whole(before)), Some(Shape::Whole(after))] if after > before);
        let before = values.windows(2).rposition(rises)?;
        self.times.get(before + 1).copied()
    }
}

/// Collects rows in the order of their times. Rows in the same thousandth of the time between the first row and the end
/// are merged: a gauge keeps its highest value, so that no peak is lost, a counter its last.
#[derive(Debug)]
pub(super) struct Chart<'a> {
    metrics: &'a [Metric],
    until: u64,
    first: Option<u64>,
    rows: Vec<(u64, Row)>,
    thinned: bool,
}

impl<'a> Chart<'a> {
    /// Creates a collector of these numbers, up to a time.
    pub(super) fn new(metrics: &'a [Metric], until: u64) -> Self {
        Self { metrics, until, first: None, rows: Vec::new(), thinned: false }
    }

    /// Takes a row.
    pub(super) fn push(&mut self, time: u64, row: Row) {
        let first = *self.first.get_or_insert(time);
        let width = self.until.saturating_sub(first) / POINTS + 1;
        let bucket = |time: u64| time.saturating_sub(first) / width;
        match self.rows.last_mut() {
            Some((last, before)) if bucket(*last) == bucket(time) => {
                merge(before, &row, self.metrics);
                *last = time;
                self.thinned = true;
            }
            _ => self.rows.push((time, row)),
        }
    }

    /// The columns of all rows.
    pub(super) fn columns(self) -> Columns {
        let times = self.rows.iter().map(|(time, _)| *time).collect();
        let column = |(at, metric): (usize, &Metric)| {
            (metric.spec().name(), self.rows.iter().map(|(_, row)| unpacked(row[at], *metric)).collect())
        };
        Columns { times, series: self.metrics.iter().enumerate().map(column).collect(), thinned: self.thinned }
    }
}

/// Converts a number to an integer that has all digits of the report.
pub(super) fn packed(number: Option<Shape>, metric: Metric) -> i64 {
    match number {
        None => ABSENT,
        Some(Shape::Whole(value)) if scale(metric) == 1.0 => i64::try_from(value).unwrap_or(i64::MAX),
        #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "saturating is meant")]
        Some(number) => {
            let value = match number {
                Shape::Whole(value) => value as f64,
                Shape::Real(value) => value,
            };
            (value * scale(metric)).round().max(0.0) as i64
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "it was a real number with as many digits")]
fn unpacked(value: i64, metric: Metric) -> Option<Shape> {
    let scale = scale(metric);
    match u64::try_from(value).ok()? {
        whole if scale == 1.0 => Some(Shape::Whole(whole)),
        scaled => Some(Shape::Real(scaled as f64 / scale)),
    }
}

/// Merges a later row into an earlier one.
pub(super) fn merge(earlier: &mut Row, later: &[i64], metrics: &[Metric]) {
    for ((earlier, later), metric) in earlier.iter_mut().zip(later).zip(metrics) {
        *earlier = match metric.spec().kind {
            // An absent number is less than any other.
            Kind::Gauge => (*earlier).max(*later),
            Kind::Counter => *later,
        };
    }
}
