//! The JSON that leaves the process: the only shapes that readers know.
//!
//! The first nineteen fields of a report are a contract with readers that decode them strictly: integers are digits
//! only and fit `i64`, reals are finite, what is absent is `null`, and no two names are equal when case is ignored.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::cause::Cause;
use crate::events::Level;
use crate::metrics::{GROUPS, Metric, Origin, Unit};
use crate::report::{Container, Number, Report};

/// Version of the report's shape.
const SCHEMA: u32 = 2;

/// The contract's fields that are not numbers; the names in the order of the document.
const IDENTITY: [&str; 2] = ["container_name", "timestamp"];

/// RFC 3339 in UTC with nine digits of a second, always of one length, so that readers may sort it as text.
pub fn timestamp(wall: SystemTime) -> String {
    humantime::format_rfc3339_nanos(wall).to_string()
}

/// One container's report as JSON.
pub fn report(report: &Report, container: &Container) -> String {
    let mut text = Vec::new();
    Writer::new(report).write(container, &mut text);
    // It is put together from texts.
    String::from_utf8(text).unwrap_or_default()
}

/// Writes the documents of a report's containers. What all of them say is put into words once, and so is what is said
/// again and again: names of fields, which are this program's own, and causes.
pub(crate) struct Writer<'a> {
    report: &'a Report,
    timestamp: String,
    /// Since when eBPF has counted.
    since: Option<String>,
    /// The fields of the agent's own.
    agent: Vec<u8>,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(report: &'a Report) -> Self {
        let mut agent = Vec::new();
        Object(&mut agent)
            .put("interval_seconds", &report.interval.map(seconds))
            .put("collect_micros", &micros(report.cost))
            .put("agent", &Agent::of(report));
        let since = report.counting_since.map(timestamp);
        Self { report, timestamp: timestamp(report.taken.wall), since, agent }
    }

    /// Writes the document of one of the containers behind what there is.
    pub(crate) fn write(&self, container: &Container, text: &mut Vec<u8>) {
        let Self { report, timestamp, since, agent } = self;
        let identity = &container.identity;
        let mut document = Object::begin(text);
        document.put(IDENTITY[0], &identity.name).plain(IDENTITY[1], timestamp);
        for (metric, field) in &LAYOUT.contract {
            document.number(field, number(container, *metric));
        }
        document.plain("status", container.status.as_str());

        document.put("schema", &SCHEMA).put("host", &report.host).plain("scope", report.scope.as_str());
        document.put("cgroup", &identity.path).put("cgroup_id", &container.id.0);
        for (field, value) in
            [("container_id", &identity.container_id), ("runtime", &identity.runtime), ("image", &identity.image)]
        {
            if let Some(value) = value {
                document.put(field, value);
            }
        }
        if !identity.labels.is_empty() {
            document.put("labels", &identity.labels);
        }
        document.comma().extend_from_slice(agent);
        let mut sources = document.object("sources");
        for (group, metric) in GROUPS {
            if let Some(origin) = container.origins.of(*metric) {
                sources.plain(group, origin.backend());
            }
        }
        sources.end();
        let mut absent = document.object("absent");
        for (metric, field) in &LAYOUT.fields {
            if let Err(cause) = container.get(*metric) {
                absent.cause(field, cause);
            }
        }
        absent.end();
        for (group, fields) in &LAYOUT.groups {
            let mut numbers = document.object(group);
            for (metric, field) in fields {
                numbers.number(field, number(container, *metric));
            }
            if *group == "network" {
                // What interfaces count began with them.
                let counted = container.origins.of(Metric::NetworkRxBytes);
                let counted = counted.is_some_and(|origin| matches!(origin, Origin::Network(..)));
                numbers.put("since", &since.as_ref().filter(|_| counted));
            }
            numbers.end();
        }
        document.end();
    }
}

/// An object that is being written.
struct Object<'a>(&'a mut Vec<u8>);

impl<'a> Object<'a> {
    fn begin(text: &'a mut Vec<u8>) -> Self {
        text.push(b'{');
        Self(text)
    }

    fn end(self) {
        self.0.push(b'}');
    }

    /// Sets off what comes from what is there.
    fn comma(&mut self) -> &mut Vec<u8> {
        if !matches!(self.0.last(), None | Some(b'{')) {
            self.0.push(b',');
        }
        self.0
    }

    fn key(&mut self, key: &str) -> &mut Vec<u8> {
        let text = self.comma();
        text.push(b'"');
        text.extend_from_slice(key.as_bytes());
        text.extend_from_slice(b"\":");
        text
    }

    /// An object under a key.
    fn object(&mut self, key: &str) -> Object<'_> {
        Object::begin(self.key(key))
    }

    /// A value of any kind.
    fn put(&mut self, key: &str, value: &impl Serialize) -> &mut Self {
        // A vector takes all, and every map has text for keys.
        _ = serde_json::to_writer(self.key(key), value);
        self
    }

    /// A text that needs no escapes.
    fn plain(&mut self, key: &str, value: &str) -> &mut Self {
        let text = self.key(key);
        text.push(b'"');
        text.extend_from_slice(value.as_bytes());
        text.push(b'"');
        self
    }

    fn cause(&mut self, key: &str, cause: &Cause) {
        if cause.is_plain() {
            self.plain(key, cause.as_str());
        } else {
            self.put(key, &cause.as_str());
        }
    }

    fn number(&mut self, key: &str, number: Option<Shape>) {
        match number {
            None => self.key(key).extend_from_slice(b"null"),
            Some(Shape::Whole(value)) => _ = self.put(key, &value),
            Some(Shape::Real(value)) => _ = self.put(key, &value),
        }
    }
}

/// The rows that are fields, with their paths.
pub(crate) fn fields() -> impl Iterator<Item = (Metric, &'static str)> {
    Metric::fields()
}

/// Where each number stands, found once and not for each report.
static LAYOUT: LazyLock<Layout> = LazyLock::new(|| {
    let mut layout = Layout::default();
    for (metric, field) in fields() {
        layout.fields.push((metric, field));
        match (field.split_once('.'), layout.groups.last_mut()) {
            (None, _) => layout.contract.push((metric, field)),
            (Some((group, field)), Some((last, fields))) if *last == group => fields.push((metric, field)),
            (Some((group, field)), _) => layout.groups.push((group, vec![(metric, field)])),
        }
    }
    layout
});

type Fields = Vec<(Metric, &'static str)>;

#[derive(Default)]
struct Layout {
    /// All of them, with their paths.
    fields: Fields,
    /// The numbers of the contract.
    contract: Fields,
    /// The groups of the report, in the order of the table.
    groups: Vec<(&'static str, Fields)>,
}

/// A number as readers may have it, or `None` for `null`.
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
        Number::Real(value) => Some(Shape::Real(rounded(value, if unit == Unit::Cores { 1e6 } else { 1e3 }))),
    }
}

/// An interval as it is written.
pub(crate) fn seconds(interval: Duration) -> f64 {
    rounded(interval.as_secs_f64(), 1e3)
}

/// Without digits that say nothing; they are most of a document's length.
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

/// The agent itself, and how its reports get out.
#[derive(serde::Serialize)]
struct Agent {
    version: &'static str,
    lost_events: u64,
    walked_again: u64,
    valkey: Option<Valkey>,
}

#[derive(serde::Serialize)]
struct Valkey {
    connected_since: Option<String>,
    round_trip_micros: Option<u64>,
    backlog: u64,
    dropped: u64,
    resent: u64,
    bytes: u64,
}

impl Agent {
    fn of(report: &Report) -> Self {
        let valkey = report.delivery.as_ref().map(|delivery| Valkey {
            connected_since: delivery.connected_since.map(timestamp),
            round_trip_micros: delivery.round_trip.map(micros),
            backlog: delivery.backlog,
            dropped: delivery.dropped,
            resent: delivery.resent,
            bytes: delivery.bytes,
        });
        let Report { lost_events, walked_again, .. } = *report;
        Self { version: env!("CARGO_PKG_VERSION"), lost_events, walked_again, valkey }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A log entry as JSON: four texts, none of them null.
pub fn entry(container: &str, wall: SystemTime, level: Level, message: &str) -> String {
    #[derive(serde::Serialize)]
    struct Entry<'a> {
        container_name: &'a str,
        timestamp: String,
        level: &'a str,
        message: &'a str,
    }
    serde_json::to_string(&Entry {
        container_name: container,
        timestamp: timestamp(wall),
        level: level.as_str(),
        message,
    })
    .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::metrics::How;
    use crate::report::Delivery;
    use crate::snapshot::{CgroupId, Identity, Snapshot, Stamp};

    /// The contract, in its order, with the fields that must be integers.
    const CONTRACT: &[(&str, bool)] = &[
        ("container_name", false),
        ("timestamp", false),
        ("cpu_percent", false),
        ("memory_usage_bytes", true),
        ("memory_percent", false),
        ("network_rx_bytes", true),
        ("network_tx_bytes", true),
        ("disk_read_bytes", true),
        ("disk_write_bytes", true),
        ("disk_usage_bytes", true),
        ("disk_total_bytes", true),
        ("disk_percent", false),
        ("process_count", true),
        ("file_descriptors", true),
        ("load_average_1m", false),
        ("load_average_5m", false),
        ("load_average_15m", false),
        ("uptime_seconds", true),
        ("status", false),
    ];

    fn document(name: &str, values: &[(Metric, u64)]) -> String {
        let mut now = Snapshot::new(Stamp {
            mono: Duration::from_secs(5),
            wall: SystemTime::UNIX_EPOCH + Duration::from_nanos(1_000_000_120),
        });
        let cgroup = now.cgroups.entry(CgroupId(3)).or_default();
        cgroup.identity = Identity { name: name.to_owned(), ..Identity::default() }.into();
        for &(metric, value) in values {
            if metric.is_shared() { &mut now.host.values } else { &mut cgroup.values }.put(metric, 0, value);
        }
        let all = Report::new(None, &now, Duration::from_micros(77));
        report(&all, &all.containers[0])
    }

    #[test]
    fn the_contracts_fields_come_first_and_in_order() {
        let text = document("web", &[]);
        let mut at = 0;
        for (field, _) in CONTRACT {
            let found = text.find(&format!("\"{field}\":")).unwrap_or_else(|| panic!("{field} in {text}"));
            assert!(at <= found, "{field} is out of order");
            at = found;
        }
        assert!(text.find("\"schema\":2").unwrap() > at);
    }

    #[test]
    fn the_timestamp_has_nine_digits_and_is_utc() {
        assert!(document("web", &[]).contains(r#""timestamp":"1970-01-01T00:00:01.000000120Z""#));
    }

    #[test]
    fn what_is_absent_is_null_and_says_why() {
        let json: serde_json::Value = serde_json::from_str(&document("web", &[(Metric::ProcessCount, 3)])).unwrap();
        assert_eq!(json["process_count"], 3);
        assert!(json["memory_usage_bytes"].is_null());
        assert!(json["absent"]["memory_usage_bytes"].as_str().unwrap().contains("memory.current"));
        assert!(json["absent"]["process_count"].is_null());
        assert_eq!(
            json["absent"]["memory.peak_bytes"],
            "nothing on this host reads it: eBPF cgroup_controllers, memory.peak (cgroup v2), memory.max_usage_in_bytes (cgroup v1)"
        );
    }

    #[test]
    fn the_agent_says_how_its_reports_get_out() {
        let now = Snapshot {
            cgroups: [(CgroupId(3), Default::default())].into(),
            ..Snapshot::new(Stamp { mono: Duration::ZERO, wall: SystemTime::UNIX_EPOCH })
        };
        let mut all = Report::new(None, &now, Duration::ZERO);
        let agent = |all: &Report| {
            serde_json::from_str::<serde_json::Value>(&report(all, &all.containers[0])).unwrap()["agent"].clone()
        };
        (all.lost_events, all.walked_again) = (5, 6);
        let version = env!("CARGO_PKG_VERSION");
        let nowhere = serde_json::json!({ "version": version, "lost_events": 5, "walked_again": 6, "valkey": null });
        assert_eq!(agent(&all), nowhere);
        let round_trip = Some(Duration::from_micros(180));
        let connected_since = Some(SystemTime::UNIX_EPOCH);
        all.delivery = Some(Delivery { connected_since, round_trip, backlog: 1, dropped: 2, resent: 3, bytes: 4 });
        let valkey = serde_json::json!({
            "connected_since": "1970-01-01T00:00:00.000000000Z", "round_trip_micros": 180, "backlog": 1, "dropped": 2, "resent": 3, "bytes": 4
        });
        assert_eq!(agent(&all)["valkey"], valkey);
    }

    #[test]
    fn sources_name_the_backend_of_each_group_that_is_there() {
        let json: serde_json::Value = serde_json::from_str(&document("web", &[(Metric::CpuUsage, 3)])).unwrap();
        assert_eq!(json["sources"], serde_json::json!({ "cpu": "ebpf" }));
    }

    #[test]
    fn an_entry_is_four_texts() {
        let json: serde_json::Value =
            serde_json::from_str(&entry("a\"b", SystemTime::UNIX_EPOCH, Level::Warn, "x\ny")).unwrap();
        assert_eq!(
            json,
            serde_json::json!({ "container_name": "a\"b", "timestamp": "1970-01-01T00:00:00.000000000Z", "level": "WARN", "message": "x\ny" })
        );
    }

    #[test]
    fn no_two_names_are_equal_when_case_is_ignored() {
        let json: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&document("web", &[])).unwrap();
        let names: BTreeSet<String> = json.keys().map(|name| name.to_ascii_lowercase()).collect();
        assert_eq!(names.len(), json.len());
        let text = document("web", &[]);
        assert!(json.keys().all(|name| name.starts_with("disk") || text.matches(&format!("\"{name}\":")).count() >= 1));
    }

    proptest! {
        #[test]
        fn whatever_is_read_integers_are_digits_and_reals_are_finite(values in proptest::collection::vec(any::<u64>(), Metric::COUNT), name in ".*") {
            let rows: Vec<_> = Metric::ALL.iter().copied().zip(values).filter(|(metric, _)| matches!(metric.spec().how, How::Read(_))).collect();
            let text = document(&name, &rows);
            let json: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(json["container_name"].as_str(), Some(name.as_str()));
            for (field, whole) in CONTRACT.iter().filter(|(field, _)| !["container_name", "timestamp", "status"].contains(field)) {
                let value = &json[*field];
                prop_assert!(value.is_null() || if *whole { value.as_i64().is_some_and(|value| value >= 0) } else { value.as_f64().is_some_and(|value| value >= 0.0) }, "{} {}", field, value);
            }
        }
    }
}
