//! A report as OTLP metrics. Pure.

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::conventions::{Convention, Instrument, NetworkConvention, Point, SCHEMA_URL, own_name};
use super::protobuf::Message;
use super::resource::{Resource, text};
use crate::metrics::{Metric, Origin};
use crate::report::{Container, Report};
use crate::unix_time::since_epoch;
use crate::wire::{self, Shape};

/// `AGGREGATION_TEMPORALITY_CUMULATIVE`.
const CUMULATIVE: u64 = 2;

/// Encodes the request for some resources of a report.
pub(super) fn request(report: &Report, resources: &[Resource<'_>]) -> Vec<u8> {
    Message::default().messages(1, resources.iter().map(|resource| encode(report, *resource))).into_bytes()
}

fn encode(report: &Report, resource: Resource<'_>) -> Message {
    let scope = Message::default().text(1, "system-monitor").text(2, env!("CARGO_PKG_VERSION"));
    let metrics = MetricSet { report, resource, all: BTreeMap::new() }.collect();
    let metrics = Message::default().message(1, &scope).messages(2, metrics).text(3, SCHEMA_URL);
    Message::default().message(1, &resource.attributes(report)).message(2, &metrics).text(3, SCHEMA_URL)
}

/// The metrics of one resource by name: points of one name belong together.
struct MetricSet<'a> {
    report: &'a Report,
    resource: Resource<'a>,
    all: BTreeMap<String, Described>,
}

/// A metric with its points.
struct Described {
    help: &'static str,
    unit: &'static str,
    instrument: Instrument,
    points: Vec<Message>,
}

impl MetricSet<'_> {
    fn collect(mut self) -> Vec<Message> {
        let names = self.resource.names();
        names.conventions.iter().for_each(|convention| self.conventional(convention));
        for &metric in Metric::ALL.iter().filter(|metric| !names.has(**metric)) {
            let Some((name, unit, instrument)) = own_name(metric) else { continue };
            let point = self.point(&Point { metric, divisor: 1.0, attributes: &[] }, instrument);
            self.add(&name, metric.spec().help, unit, instrument, point);
        }
        names.network.iter().for_each(|convention| self.network(convention));
        self.all.into_iter().map(|(name, described)| described.encode(&name)).collect()
    }

    fn conventional(&mut self, convention: &Convention) {
        let &Convention { name, unit, instrument, points, otherwise } = convention;
        let encoded = |points: &[Point]| points.iter().map(|point| self.point(point, instrument)).collect::<Vec<_>>();
        let mut found = encoded(points);
        if !otherwise.is_empty() && found.iter().any(Option::is_none) {
            found = encoded(otherwise);
        }
        let help = points.first().map_or("", |point| point.metric.spec().help);
        self.add(name, help, unit, instrument, found.into_iter().flatten());
    }

    fn network(&mut self, convention: &NetworkConvention) {
        let &NetworkConvention { name, unit, help, interface: key, .. } = convention;
        let Some(container) = self.resource.own() else { return };
        for interface in container.interfaces.iter() {
            for (direction, value) in convention.values(interface) {
                let attributes = [(key, interface.name.as_str()), ("network.io.direction", direction)];
                let point = self.begin(&attributes, container.started);
                let point = value_of(point, Shape::Whole(value.min(i64::MAX as u64)), 1.0);
                self.add(name, help, unit, Instrument::Counter, [point]);
            }
        }
    }

    fn add(
        &mut self,
        name: &str,
        help: &'static str,
        unit: &'static str,
        instrument: Instrument,
        points: impl IntoIterator<Item = Message>,
    ) {
        let mut points = points.into_iter().peekable();
        if points.peek().is_some() {
            let empty = Described { help, unit, instrument, points: Vec::new() };
            self.all.entry(name.to_owned()).or_insert(empty).points.extend(points);
        }
    }

    /// Encodes a row's number, if this resource has it.
    fn point(&self, point: &Point, instrument: Instrument) -> Option<Message> {
        let metric = point.metric;
        let container = if metric.is_shared() { self.resource.shared() } else { self.resource.own() }?;
        let value = wire::number(container, metric)?;
        let since = since(self.report, container, metric).filter(|_| instrument != Instrument::Gauge);
        Some(value_of(self.begin(point.attributes, since), value, point.divisor))
    }

    /// Begins a point with its attributes and times.
    fn begin(&self, attributes: &[(&str, &str)], since: Option<SystemTime>) -> Message {
        let point = Message::default().messages(7, attributes.iter().copied().filter_map(text));
        let point = point.fixed(3, nanos(self.report.taken.wall));
        match since {
            Some(since) => point.fixed(2, nanos(since)),
            None => point,
        }
    }
}

impl Described {
    fn encode(self, name: &str) -> Message {
        let described = Message::default().text(1, name).text(2, self.help).text(3, self.unit);
        let points = Message::default().messages(1, self.points);
        match self.instrument {
            Instrument::Gauge => described.message(5, &points),
            Instrument::UpDownCounter => described.message(7, &points.number(2, CUMULATIVE)),
            Instrument::Counter => described.message(7, &points.number(2, CUMULATIVE).number(3, 1)),
        }
    }
}

/// Returns the start time of a number: for files the start of the container, for eBPF the time of attachment if that is
/// later.
fn since(report: &Report, container: &Container, metric: Metric) -> Option<SystemTime> {
    if matches!(container.origins.of(metric), Some(Origin::Network(..) | Origin::Processes(..))) {
        return report.counting_since.max(container.started);
    }
    container.started
}

/// Puts a value into a point.
#[expect(clippy::cast_precision_loss, reason = "a number of another unit is real")]
fn value_of(point: Message, value: Shape, divisor: f64) -> Message {
    let real = |value: f64| (value / divisor).to_le_bytes();
    match value {
        Shape::Whole(value) if divisor == 1.0 => point.fixed(6, value.to_le_bytes()),
        Shape::Whole(value) => point.fixed(4, real(value as f64)),
        Shape::Real(value) => point.fixed(4, real(value)),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "until the year 2554")]
fn nanos(wall: SystemTime) -> [u8; 8] {
    (since_epoch(wall).as_nanos() as u64).to_le_bytes()
}

#[cfg(test)]
mod tests;
