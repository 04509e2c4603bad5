//! Names of OpenTelemetry's semantic conventions for our numbers
//! (<https://opentelemetry.io/docs/specs/semconv/system/>): those of containers, and those of the machine, which is a
//! host.

use crate::metrics::{Kind, Metric, Shown, Unit};
use crate::readings::{Interface, InterfaceCounters};

/// The version of the conventions whose names are sent.
pub(super) const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.44.0";

/// The kind of a metric: it decides how a receiver adds up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Instrument {
    /// A sum that only grows.
    Counter,
    /// A level that adds up over containers: a sum that also falls.
    UpDownCounter,
    /// A level that does not.
    Gauge,
}

/// An attribute of a point.
pub(super) type Attribute = (&'static str, &'static str);

/// A row as a point of a metric, divided by a factor between our unit and theirs.
#[derive(Debug)]
pub(super) struct Point {
    pub(super) metric: Metric,
    pub(super) divisor: f64,
    pub(super) attributes: &'static [Attribute],
}

/// A metric of the conventions.
#[derive(Debug)]
pub(super) struct Convention {
    pub(super) name: &'static str,
    pub(super) unit: &'static str,
    pub(super) instrument: Instrument,
    /// Its points.
    pub(super) points: &'static [Point],
    /// Points that are sent in their place if a number of `points` is absent.
    pub(super) otherwise: &'static [Point],
}

/// A counter of interfaces.
#[derive(Debug)]
pub(super) struct NetworkConvention {
    pub(super) name: &'static str,
    pub(super) unit: &'static str,
    pub(super) help: &'static str,
    /// The attribute that has the interface's name.
    pub(super) interface: &'static str,
    pub(super) value: fn(&InterfaceCounters) -> u64,
}

/// Metric names of one kind of resource: container, machine or process.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) conventions: &'static [Convention],
    pub(super) network: &'static [NetworkConvention],
}

const USER: &[Attribute] = &[("cpu.mode", "user")];
const SYSTEM: &[Attribute] = &[("cpu.mode", "system")];
const READ: &[Attribute] = &[("disk.io.direction", "read")];
const WRITE: &[Attribute] = &[("disk.io.direction", "write")];
const ROOT: &[Attribute] = &[("system.filesystem.mountpoint", "/")];
const ROOT_USED: &[Attribute] = &[("system.filesystem.mountpoint", "/"), ("system.filesystem.state", "used")];
const ROOT_FREE: &[Attribute] = &[("system.filesystem.mountpoint", "/"), ("system.filesystem.state", "free")];
const RECLAIMABLE: &[Attribute] = &[("system.memory.linux.slab.state", "reclaimable")];
const UNRECLAIMABLE: &[Attribute] = &[("system.memory.linux.slab.state", "unreclaimable")];

const fn of(metric: Metric) -> Point {
    with(metric, &[])
}

const fn with(metric: Metric, attributes: &'static [Attribute]) -> Point {
    Point { metric, divisor: 1.0, attributes }
}

/// A row in percent of one CPU.
const fn cores(metric: Metric, attributes: &'static [Attribute]) -> Point {
    Point { metric, divisor: 100.0, attributes }
}

const fn metric(
    name: &'static str,
    unit: &'static str,
    instrument: Instrument,
    points: &'static [Point],
) -> Convention {
    Convention { name, unit, instrument, points, otherwise: &[] }
}

const fn counter(name: &'static str, unit: &'static str, points: &'static [Point]) -> Convention {
    metric(name, unit, Instrument::Counter, points)
}

const fn level(name: &'static str, unit: &'static str, points: &'static [Point]) -> Convention {
    metric(name, unit, Instrument::UpDownCounter, points)
}

const fn gauge(name: &'static str, unit: &'static str, points: &'static [Point]) -> Convention {
    metric(name, unit, Instrument::Gauge, points)
}

/// CPU time by mode, or as a whole where the modes are not known.
const fn cpu_time(name: &'static str) -> Convention {
    const MODES: &[Point] = &[with(Metric::CpuUser, USER), with(Metric::CpuSystem, SYSTEM)];
    const WHOLE: &[Point] = &[of(Metric::CpuUsage)];
    Convention { otherwise: WHOLE, ..counter(name, "s", MODES) }
}

const CONTAINER_CPU_USAGE: Convention = Convention {
    otherwise: &[of(Metric::CpuUsageCores)],
    ..gauge(
        "container.cpu.usage",
        "{cpu}",
        &[cores(Metric::CpuUserPercent, USER), cores(Metric::CpuSystemPercent, SYSTEM)],
    )
};

/// The names of a container.
pub(super) const CONTAINER: Names = Names {
    conventions: &[
        gauge("container.uptime", "s", &[of(Metric::Uptime)]),
        cpu_time("container.cpu.time"),
        CONTAINER_CPU_USAGE,
        level("container.memory.usage", "By", &[of(Metric::MemoryUsage)]),
        level("container.memory.working_set", "By", &[of(Metric::MemoryWorkingSet)]),
        level("container.memory.rss", "By", &[of(Metric::MemoryAnon)]),
        counter("container.disk.io", "By", &[with(Metric::DiskReadBytes, READ), with(Metric::DiskWriteBytes, WRITE)]),
        level("container.filesystem.usage", "By", &[of(Metric::DiskWritable)]),
        level("container.filesystem.capacity", "By", &[of(Metric::DiskTotal)]),
        level("container.filesystem.available", "By", &[of(Metric::DiskAvailable)]),
    ],
    network: &[network("container.network.io", "By", "Bytes by interface.", "network.interface.name", |i| i.bytes)],
};

/// The names of the machine.
pub(super) const HOST: Names = Names {
    conventions: &[
        gauge("system.uptime", "s", &[of(Metric::Uptime)]),
        level("system.cpu.logical.count", "{cpu}", &[of(Metric::MachineCpus)]),
        cpu_time("system.cpu.time"),
        level("system.memory.usage", "By", &[with(Metric::MemoryUsage, &[("system.memory.state", "used")])]),
        level("system.memory.limit", "By", &[of(Metric::MachineMemory)]),
        level("system.memory.linux.shared", "By", &[of(Metric::MemoryShmem)]),
        level(
            "system.memory.linux.slab.usage",
            "By",
            &[with(Metric::MemorySlabReclaimable, RECLAIMABLE), with(Metric::MemorySlabUnreclaimable, UNRECLAIMABLE)],
        ),
        level("system.paging.usage", "By", &[with(Metric::MemorySwap, &[("system.paging.state", "used")])]),
        counter("system.disk.io", "By", &[with(Metric::DiskReadBytes, READ), with(Metric::DiskWriteBytes, WRITE)]),
        counter("system.disk.operations", "{operation}", &[with(Metric::IoReads, READ), with(Metric::IoWrites, WRITE)]),
        level(
            "system.filesystem.usage",
            "By",
            &[with(Metric::DiskUsage, ROOT_USED), with(Metric::DiskAvailable, ROOT_FREE)],
        ),
        level("system.filesystem.limit", "By", &[with(Metric::DiskTotal, ROOT)]),
        level("system.process.count", "{process}", &[of(Metric::ProcessCount)]),
    ],
    network: &[
        network("system.network.io", "By", "Bytes by interface.", "network.interface.name", |i| i.bytes),
        network("system.network.packet.count", "{packet}", "Packets by interface.", "system.device", |i| i.packets),
        network(
            "system.network.packet.dropped",
            "{packet}",
            "Packets that an interface dropped.",
            "network.interface.name",
            |i| i.dropped,
        ),
        network("system.network.errors", "{error}", "Errors of an interface.", "network.interface.name", |i| i.errors),
    ],
};

const fn network(
    name: &'static str,
    unit: &'static str,
    help: &'static str,
    interface: &'static str,
    value: fn(&InterfaceCounters) -> u64,
) -> NetworkConvention {
    NetworkConvention { name, unit, help, interface, value }
}

impl NetworkConvention {
    /// Its values of an interface, with their directions.
    pub(super) fn values(&self, interface: &Interface) -> [(&'static str, u64); 2] {
        [("receive", (self.value)(&interface.received)), ("transmit", (self.value)(&interface.sent))]
    }
}

impl Names {
    /// True if a convention has the row.
    pub(super) fn has(&self, metric: Metric) -> bool {
        let mut all = self.conventions.iter().flat_map(|known| known.points.iter().chain(known.otherwise));
        all.any(|point| point.metric == metric)
    }
}

/// Returns our own name and the unit of a row that no convention has; `None` for rates, which receivers compute from
/// the counters, and for ingredients.
pub(super) fn own_name(metric: Metric) -> Option<(String, &'static str, Instrument)> {
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
    let instrument = match spec.kind {
        Kind::Counter => Instrument::Counter,
        Kind::Gauge => Instrument::Gauge,
    };
    Some((format!("system_monitor.{path}"), unit, instrument))
}
