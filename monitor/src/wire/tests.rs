use std::collections::BTreeSet;

use proptest::prelude::*;

use super::object::Object;
use super::*;
use std::time::{Duration, SystemTime};

use crate::cause::{Cause, CauseKind};
use crate::findings::Level;
use crate::metrics::{How, Metric, NO_LIMIT};
use crate::report::Delivery;
use crate::report::Report;
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
    report(&all, &all.containers[0]).unwrap()
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
    assert!(text.find("\"schema\":3").unwrap() > at);
}

#[test]
fn the_timestamp_has_nine_digits_and_is_utc() {
    assert!(document("web", &[]).contains(r#""timestamp":"1970-01-01T00:00:01.000000120Z""#));
}

/// The cause of a number, by its index.
fn cause<'a>(json: &'a serde_json::Value, field: &str) -> Option<&'a str> {
    json["causes"][usize::try_from(json["absent"].get(field)?.as_u64().unwrap()).unwrap()].as_str()
}

#[test]
fn each_cause_is_written_once_and_belongs_to_a_number() {
    let text = document("web", &[(Metric::CpuLimit, NO_LIMIT), (Metric::MemoryLimit, NO_LIMIT)]);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let causes = json["causes"].as_array().unwrap();
    for (at, cause) in causes.iter().enumerate() {
        assert!(!causes[..at].contains(cause), "{cause} is there twice");
    }
    let absent = json["absent"].as_object().unwrap();
    let used: BTreeSet<u64> = absent.values().map(|index| index.as_u64().unwrap()).collect();
    assert_eq!(used, (0..causes.len() as u64).collect());
    for field in ["cpu.limit_cores", "memory.limit_bytes"] {
        assert_eq!(cause(&json, field), Some("no limit is set"), "{field}");
    }
}

#[test]
fn causes_with_quotes_and_control_characters_are_escaped() {
    let causes = ["a \"b\"\n", "plain", "\\"].map(|text| Cause::new(CauseKind::Failed, text));
    let mut text = Vec::new();
    let mut object = Object::begin(&mut text);
    object.causes("none", &[]).unwrap();
    object.causes("causes", &causes.each_ref()).unwrap();
    object.end();
    let json: serde_json::Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(json, serde_json::json!({ "none": [], "causes": causes.each_ref().map(Cause::as_str) }));
}

#[test]
fn a_reader_that_takes_texts_alone_finds_every_number_and_no_cause() {
    let json: serde_json::Value = serde_json::from_str(&document("web", &[(Metric::ProcessCount, 3)])).unwrap();
    // As the readers of version 0.1 look for a cause.
    let told = |field: &str| json.get("absent")?.get(field)?.as_str();
    assert!(json["absent"].get("memory_usage_bytes").is_some());
    assert_eq!(Metric::fields().find_map(|(_, field)| told(field)), None);
    assert_eq!(json["process_count"], 3);
}

#[test]
fn what_is_absent_is_null_and_says_why() {
    let json: serde_json::Value = serde_json::from_str(&document("web", &[(Metric::ProcessCount, 3)])).unwrap();
    assert_eq!(json["process_count"], 3);
    assert!(json["memory_usage_bytes"].is_null());
    assert!(cause(&json, "memory_usage_bytes").unwrap().contains("memory.current"));
    assert_eq!(cause(&json, "process_count"), None);
    assert_eq!(
        cause(&json, "memory.peak_bytes").unwrap(),
        "nothing on this host reads it: eBPF cgroup_controllers, memory.peak (cgroup v2), memory.max_usage_in_bytes (cgroup v1), /proc/meminfo and vmstat (machine)"
    );
}

#[test]
fn no_object_is_written_twice() {
    let text = document("web", &[]);
    for group in ["cpu", "memory", "network", "io", "processes", "descriptors", "disk"] {
        assert_eq!(text.matches(&format!("\"{group}\":{{")).count(), 1, "{group} in {text}");
    }
}

#[test]
fn the_agent_says_how_its_reports_get_out() {
    let now = Snapshot {
        cgroups: [(CgroupId(3), Default::default())].into(),
        ..Snapshot::new(Stamp { mono: Duration::ZERO, wall: SystemTime::UNIX_EPOCH })
    };
    let mut all = Report::new(None, &now, Duration::ZERO);
    let agent = |all: &Report| {
        serde_json::from_str::<serde_json::Value>(&report(all, &all.containers[0]).unwrap()).unwrap()["agent"].clone()
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
