//! A report as OTLP metrics, with the semantic conventions' names for what they have
//! (<https://opentelemetry.io/docs/specs/semconv/system/container-metrics/>). Pure.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::metrics::{How, Kind, Metric, Origin, Shown, Unit};
use crate::report::{Container, Report};
use crate::sinks::wire::{self, Shape};

/// `AGGREGATION_TEMPORALITY_CUMULATIVE`.
const CUMULATIVE: u32 = 2;

/// What the conventions call a row: its name, what our unit is divided by, the unit, and the attribute that tells it from
/// the others of the name.
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
    Convention { divisor: 1e9, ..convention(Metric::CpuUsage, "container.cpu.time", "s") },
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

/// The request that tells of some containers of a report.
pub(super) fn request(report: &Report, containers: &[Container]) -> String {
    let resources: Vec<Value> = containers.iter().map(|container| resource(report, container)).collect();
    json!({ "resourceMetrics": resources }).to_string()
}

fn resource(report: &Report, container: &Container) -> Value {
    let scope = json!({ "name": "system-monitor", "version": env!("CARGO_PKG_VERSION") });
    json!({
        "resource": { "attributes": attributes(&identity(report, container)) },
        "scopeMetrics": [{ "scope": scope, "metrics": metrics(report, container) }],
    })
}

/// Who the container is.
fn identity<'a>(report: &'a Report, container: &'a Container) -> Vec<(&'a str, &'a str)> {
    let identity = &container.identity;
    let label = |key: &str| identity.labels.get(key).map(String::as_str);
    let known = [
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

fn attributes(all: &[(&str, &str)]) -> Value {
    all.iter().map(|(key, value)| json!({ "key": key, "value": { "stringValue": value } })).collect()
}

/// The metrics by name: points of one name belong together.
fn metrics(report: &Report, container: &Container) -> Vec<Value> {
    let mut metrics: BTreeMap<String, Value> = BTreeMap::new();
    for &metric in Metric::ALL {
        let Some((name, divisor, unit, attribute)) = named(metric) else { continue };
        let Some(value) = wire::number(container, metric) else { continue };
        let spec = metric.spec();
        let mut point = value_of(value, divisor);
        point["timeUnixNano"] = nanos(report.taken.wall).into();
        point["attributes"] = attributes(attribute.as_slice());
        let field = if spec.kind == Kind::Counter { "sum" } else { "gauge" };
        let described = metrics.entry(name.clone()).or_insert_with(|| {
            let data = match spec.kind {
                Kind::Counter => json!({ "aggregationTemporality": CUMULATIVE, "isMonotonic": true, "dataPoints": [] }),
                Kind::Gauge => json!({ "dataPoints": [] }),
            };
            json!({ "name": name, "unit": unit, "description": spec.help, field: data })
        });
        if let Some(since) = since(report, container, metric).filter(|_| spec.kind == Kind::Counter) {
            point["startTimeUnixNano"] = nanos(since).into();
        }
        if let Some(points) = described[field]["dataPoints"].as_array_mut() {
            points.push(point);
        }
    }
    metrics.into_values().collect()
}

type Named = (String, f64, &'static str, Option<(&'static str, &'static str)>);

/// What a row is called there; `None` for rates, which are made of the counters, and for what is only an ingredient.
fn named(metric: Metric) -> Option<Named> {
    if let Some(known) = CONVENTIONS.iter().find(|known| known.metric == metric) {
        return Some((known.name.to_owned(), known.divisor, known.unit, known.attribute));
    }
    let spec = metric.spec();
    let Shown::Field(path) = spec.shown else { return None };
    let unit = match spec.unit {
        Unit::PerSecond | Unit::BytesPerSecond => return None,
        Unit::Bytes => "By",
        Unit::Seconds => "s",
        Unit::Nanoseconds => "ns",
        Unit::Percent => "%",
        Unit::Cores => "{cpu}",
        Unit::Count | Unit::Load => "1",
    };
    (!matches!(spec.how, How::Never(_))).then(|| (format!("system_monitor.{path}"), 1.0, unit, None))
}

/// Since when a counter counts: eBPF since it was attached, files since the container began.
fn since(report: &Report, container: &Container, metric: Metric) -> Option<SystemTime> {
    if matches!(container.values.origin(metric), Some(Origin::Network(..) | Origin::Processes(..))) {
        return report.counting_since;
    }
    let Some(Shape::Whole(seconds)) = wire::number(container, Metric::Uptime) else { return None };
    report.taken.wall.checked_sub(Duration::from_secs(seconds))
}

/// Whole numbers of 64 bits are texts in the protocol's JSON.
#[expect(clippy::cast_precision_loss, reason = "a number of another unit is real")]
fn value_of(value: Shape, divisor: f64) -> Value {
    match value {
        Shape::Whole(value) if divisor == 1.0 => json!({ "asInt": value.to_string() }),
        Shape::Whole(value) => json!({ "asDouble": value as f64 / divisor }),
        Shape::Real(value) => json!({ "asDouble": value / divisor }),
    }
}

fn nanos(wall: SystemTime) -> String {
    wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos().to_string()
}
