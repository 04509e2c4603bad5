//! A report as OTLP metrics, with the semantic conventions' names for what they have
//! (<https://opentelemetry.io/docs/specs/semconv/system/container-metrics/>). Pure.

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::protobuf::Message;
use crate::metrics::{Kind, Metric, Origin, Shown, Unit};
use crate::report::{Container, Report};
use crate::unix_time::since_epoch;
use crate::wire::{self, Shape};

/// `AGGREGATION_TEMPORALITY_CUMULATIVE`.
const CUMULATIVE: u64 = 2;

/// The semantic convention of a row: its name, the divisor of our unit, the unit, and the attribute that distinguishes
/// it from other rows of the name.
struct Convention {
    metric: Metric,
    name: &'static str,
    divisor: f64,
    unit: &'static str,
    attribute: Option<(&'static str, &'static str)>,
}

const fn convention(metric: Metric, name: &'static str, unit: &'static str) -> Convention {
    Convention { metric, name, divisor: 1.0, unit, attribute: None }
}

const fn direction(metric: Metric, name: &'static str, key: &'static str, direction: &'static str) -> Convention {
    Convention { metric, name, divisor: 1.0, unit: "By", attribute: Some((key, direction)) }
}

const CONVENTIONS: &[Convention] = &[
    convention(Metric::Uptime, "container.uptime", "s"),
    convention(Metric::CpuUsage, "container.cpu.time", "s"),
    convention(Metric::CpuUsageCores, "container.cpu.usage", "{cpu}"),
    convention(Metric::MemoryUsage, "container.memory.usage", "By"),
    convention(Metric::MemoryWorkingSet, "container.memory.working_set", "By"),
    convention(Metric::MemoryAnon, "container.memory.rss", "By"),
    direction(Metric::DiskReadBytes, "container.disk.io", "disk.io.direction", "read"),
    direction(Metric::DiskWriteBytes, "container.disk.io", "disk.io.direction", "write"),
    direction(Metric::NetworkRxBytes, "container.network.io", "network.io.direction", "receive"),
    direction(Metric::NetworkTxBytes, "container.network.io", "network.io.direction", "transmit"),
    convention(Metric::DiskUsage, "container.filesystem.usage", "By"),
    convention(Metric::DiskTotal, "container.filesystem.capacity", "By"),
];

/// Encodes the request for some containers of a report.
pub(super) fn request(report: &Report, containers: &[Container]) -> Vec<u8> {
    Message::default().messages(1, containers.iter().map(|container| resource(report, container))).into_bytes()
}

fn resource(report: &Report, container: &Container) -> Message {
    let resource = Message::default().messages(1, identity(report, container).into_iter().map(attribute));
    let scope = Message::default().text(1, "system-monitor").text(2, env!("CARGO_PKG_VERSION"));
    let metrics = Message::default().message(1, &scope).messages(2, metrics(report, container));
    Message::default().message(1, &resource).message(2, &metrics)
}

/// The identity of a container. Receivers that keep no other attributes identify it by its service and instance.
fn identity<'a>(report: &'a Report, container: &'a Container) -> Vec<(&'a str, &'a str)> {
    let identity = &container.identity;
    let label = |key: &str| identity.labels.get(key).map(String::as_str);
    let known = [
        ("service.name", Some(identity.name.as_str())),
        ("service.instance.id", Some(report.host.as_str())),
        ("container.name", Some(identity.name.as_str())),
        ("container.id", identity.container_id.as_deref()),
        ("container.runtime.name", identity.runtime.as_deref()),
        ("container.image.name", identity.image.as_deref()),
        ("host.name", Some(report.host.as_str())),
        ("k8s.container.name", label("io.kubernetes.container.name")),
        ("k8s.pod.name", label("io.kubernetes.pod.name")),
        ("k8s.namespace.name", label("io.kubernetes.pod.namespace")),
    ];
    known.into_iter().filter_map(|(key, value)| Some((key, value.filter(|value| !value.is_empty())?))).collect()
}

fn attribute((key, value): (&str, &str)) -> Message {
    Message::default().text(1, key).message(2, &Message::default().text(1, value))
}

/// The metrics by name: points of one name belong together.
fn metrics(report: &Report, container: &Container) -> Vec<Message> {
    let mut all: BTreeMap<String, (Metric, &str, Message)> = BTreeMap::new();
    for &metric in Metric::ALL {
        let Some((name, divisor, unit, attribute)) = named(metric) else { continue };
        let Some(value) = wire::number(container, metric) else { continue };
        let point = point(report, container, metric, attribute, value, divisor);
        let (.., points) = all.entry(name).or_insert_with(|| (metric, unit, Message::default()));
        *points = std::mem::take(points).message(1, &point);
    }
    let described = |(name, (metric, unit, points)): (String, (Metric, &str, Message))| {
        let described = Message::default().text(1, &name).text(2, metric.spec().help).text(3, unit);
        match metric.spec().kind {
            Kind::Gauge => described.message(5, &points),
            Kind::Counter => described.message(7, &points.number(2, CUMULATIVE).number(3, 1)),
        }
    };
    all.into_iter().map(described).collect()
}

/// Encodes a number with its time; a counter also has its start time.
fn point(
    report: &Report,
    container: &Container,
    metric: Metric,
    attribute: Option<(&str, &str)>,
    value: Shape,
    divisor: f64,
) -> Message {
    let point = Message::default().messages(7, attribute.map(self::attribute)).fixed(3, nanos(report.taken.wall));
    let is_counter = metric.spec().kind == Kind::Counter;
    let point = match since(report, container, metric).filter(|_| is_counter) {
        Some(since) => point.fixed(2, nanos(since)),
        None => point,
    };
    value_of(point, value, divisor)
}

type Named = (String, f64, &'static str, Option<(&'static str, &'static str)>);

/// Returns the name of a row in OTLP; `None` for rates, which receivers compute from the counters, and for ingredients.
fn named(metric: Metric) -> Option<Named> {
    if let Some(known) = CONVENTIONS.iter().find(|known| known.metric == metric) {
        return Some((known.name.to_owned(), known.divisor, known.unit, known.attribute));
    }
    let spec = metric.spec();
    let Shown::Field(path) = spec.shown else { return None };
    let unit = match spec.unit {
        Unit::PerSecond | Unit::BytesPerSecond => return None,
        Unit::Bytes => "By",
        Unit::Seconds | Unit::Nanoseconds => "s",
        Unit::Percent => "%",
        Unit::Cores => "{cpu}",
        // Without braces it would be a ratio.
        Unit::Count => "{count}",
        Unit::Load => "{thread}",
    };
    Some((format!("system_monitor.{path}"), 1.0, unit, None))
}

/// Returns the start time of a counter: for files the start of the container, for eBPF the time of attachment if that is later.
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
