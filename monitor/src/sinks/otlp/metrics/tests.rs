//! Names and resources of requests.

use std::time::Duration;

use super::super::conventions::{CONTAINER, HOST, Names};
use super::super::resource::resources;
use super::*;
use crate::readings::{Interface, InterfaceCounters};
use crate::snapshot::{CgroupId, Identity, Scope, Snapshot, Stamp};

/// Metrics of the semantic conventions 1.44.0 that are sent: name, instrument, unit, and the attributes that the points
/// may have.
const CONVENTIONS_1_44: &[(&str, Instrument, &str, &[&str])] = &[
    ("container.cpu.time", Instrument::Counter, "s", &["cpu.mode"]),
    ("container.cpu.usage", Instrument::Gauge, "{cpu}", &["cpu.mode"]),
    ("container.disk.io", Instrument::Counter, "By", &["disk.io.direction", "system.device"]),
    ("container.filesystem.available", Instrument::UpDownCounter, "By", &[]),
    ("container.filesystem.capacity", Instrument::UpDownCounter, "By", &[]),
    ("container.filesystem.usage", Instrument::UpDownCounter, "By", &[]),
    ("container.memory.rss", Instrument::UpDownCounter, "By", &[]),
    ("container.memory.usage", Instrument::UpDownCounter, "By", &[]),
    ("container.memory.working_set", Instrument::UpDownCounter, "By", &[]),
    ("container.network.io", Instrument::Counter, "By", &["network.interface.name", "network.io.direction"]),
    ("container.uptime", Instrument::Gauge, "s", &[]),
    ("system.cpu.logical.count", Instrument::UpDownCounter, "{cpu}", &[]),
    ("system.cpu.time", Instrument::Counter, "s", &["cpu.mode", "cpu.logical_number"]),
    ("system.disk.io", Instrument::Counter, "By", &["disk.io.direction", "system.device"]),
    ("system.disk.operations", Instrument::Counter, "{operation}", &["disk.io.direction", "system.device"]),
    (
        "system.filesystem.limit",
        Instrument::UpDownCounter,
        "By",
        &["system.device", "system.filesystem.mode", "system.filesystem.mountpoint", "system.filesystem.type"],
    ),
    (
        "system.filesystem.usage",
        Instrument::UpDownCounter,
        "By",
        &[
            "system.device",
            "system.filesystem.mode",
            "system.filesystem.mountpoint",
            "system.filesystem.state",
            "system.filesystem.type",
        ],
    ),
    ("system.memory.limit", Instrument::UpDownCounter, "By", &[]),
    ("system.memory.linux.shared", Instrument::UpDownCounter, "By", &[]),
    ("system.memory.linux.slab.usage", Instrument::UpDownCounter, "By", &["system.memory.linux.slab.state"]),
    ("system.memory.usage", Instrument::UpDownCounter, "By", &["system.memory.state"]),
    ("system.network.errors", Instrument::Counter, "{error}", &["network.interface.name", "network.io.direction"]),
    ("system.network.io", Instrument::Counter, "By", &["network.interface.name", "network.io.direction"]),
    ("system.network.packet.count", Instrument::Counter, "{packet}", &["network.io.direction", "system.device"]),
    (
        "system.network.packet.dropped",
        Instrument::Counter,
        "{packet}",
        &["network.interface.name", "network.io.direction"],
    ),
    ("system.paging.usage", Instrument::UpDownCounter, "By", &["system.device", "system.paging.state"]),
    ("system.process.count", Instrument::UpDownCounter, "{process}", &["process.state"]),
    ("system.uptime", Instrument::Gauge, "s", &[]),
];

/// Name, instrument, unit and attributes of all metrics.
fn sent(names: &Names) -> Vec<(&'static str, Instrument, &'static str, Vec<&'static str>)> {
    let metrics = names.conventions.iter().map(|known| {
        let points = known.points.iter().chain(known.otherwise);
        let keys = points.flat_map(|point| point.attributes.iter().map(|(key, _)| *key)).collect();
        (known.name, known.instrument, known.unit, keys)
    });
    let network = names
        .network
        .iter()
        .map(|known| (known.name, Instrument::Counter, known.unit, vec![known.interface, "network.io.direction"]));
    metrics.chain(network).collect()
}

#[test]
fn names_kinds_units_and_attributes_are_those_of_the_conventions() {
    let all: Vec<_> = [&CONTAINER, &HOST].into_iter().flat_map(sent).collect();
    for (name, instrument, unit, attributes) in &all {
        let known = CONVENTIONS_1_44.iter().find(|known| known.0 == *name);
        let Some((_, known_instrument, known_unit, known_attributes)) = known else {
            panic!("{name} is no convention")
        };
        assert_eq!((instrument, unit), (known_instrument, known_unit), "{name}");
        assert!(attributes.iter().all(|key| known_attributes.contains(key)), "{name}: {attributes:?}");
    }
    assert_eq!(all.len(), CONVENTIONS_1_44.len());
    assert!(SCHEMA_URL.ends_with("/1.44.0"));
}

fn report(scope: Scope, paths: &[&str]) -> Report {
    let mut now = Snapshot::new(Stamp { mono: Duration::ZERO, wall: SystemTime::UNIX_EPOCH + Duration::from_secs(9) });
    now.scope = scope;
    now.host.name = "node".to_owned();
    now.host.values.put(Metric::Load1, 0, 50);
    now.host.values.put(Metric::MachineMemory, 0, 1 << 30);
    for (id, path) in (1..).zip(paths) {
        let cgroup = now.cgroups.entry(CgroupId(id)).or_default();
        cgroup.identity =
            Identity { name: format!("name{path}"), path: (*path).to_owned(), ..Identity::default() }.into();
        cgroup.values.put(Metric::MemoryUsage, 0, 4096);
        cgroup.values.put(Metric::CpuUsage, 0, 3_000_000_000);
        let counters = InterfaceCounters { bytes: 1, packets: 2, errors: 3, dropped: 4 };
        cgroup.interfaces = [Interface { name: "eth0".to_owned(), received: counters, sent: counters }].into();
    }
    Report::new(None, &now, Duration::ZERO)
}

/// The number of times that a text stands in the message of each resource.
fn count(report: &Report, text: &str) -> Vec<usize> {
    let of = |resource: &Resource<'_>| {
        request(report, &[*resource]).windows(text.len()).filter(|window| *window == text.as_bytes()).count()
    };
    resources(report).iter().map(of).collect()
}

#[test]
fn the_machine_is_a_host_and_has_what_all_containers_share() {
    let report = report(Scope::Host, &["/docker/1", "/", "/docker/2"]);
    assert_eq!(count(&report, "system.memory.usage"), [1, 0, 0]);
    assert_eq!(count(&report, "container.memory.usage"), [0, 1, 1]);
    assert_eq!(count(&report, "container.name"), [0, 1, 1]);
    assert_eq!(count(&report, "load_average_1m"), [1, 0, 0]);
    assert_eq!(count(&report, "system.memory.limit"), [1, 0, 0]);
    assert_eq!(count(&report, "system.network.errors"), [1, 0, 0]);
    assert_eq!(count(&report, "container.network.io"), [0, 1, 1]);
    assert_eq!(count(&report, SCHEMA_URL), [2, 2, 2]);
}

#[test]
fn without_the_machine_shared_numbers_still_stand_once() {
    let host = report(Scope::Host, &["/docker/1", "/docker/2"]);
    assert_eq!(count(&host, "load_average_1m"), [1, 0, 0]);
    assert_eq!(count(&host, "system.memory.usage"), [0, 0, 0]);
    assert_eq!(count(&host, "system.network.io"), [0, 0, 0]);
    let own = report(Scope::SelfContainer, &["/"]);
    assert_eq!(count(&own, "load_average_1m"), [1]);
    assert_eq!(count(&own, "container.memory.usage"), [1]);
    assert!(count(&report(Scope::Host, &[]), "load_average_1m").is_empty());
}

#[test]
fn cpu_time_is_by_mode_or_whole_and_never_both() {
    let mut now = Snapshot::new(Stamp { mono: Duration::ZERO, wall: SystemTime::UNIX_EPOCH });
    let cgroup = now.cgroups.entry(CgroupId(1)).or_default();
    cgroup.values.put(Metric::CpuUsage, 0, 3_000_000_000);
    cgroup.values.put(Metric::CpuUser, 0, 2_000_000_000);
    let modes = |now: &Snapshot| count(&Report::new(None, now, Duration::ZERO), "cpu.mode");
    assert_eq!(modes(&now), [0], "half of the modes is not enough");
    now.cgroups.entry(CgroupId(1)).or_default().values.put(Metric::CpuSystem, 0, 1_000_000_000);
    assert_eq!(modes(&now), [2]);
}
