//! Names and units of the metric families: cAdvisor's where it has one, ours for the rest.

use std::collections::BTreeMap;
use std::time::SystemTime;

use crate::http::view::ContainerView;
use crate::metrics::{Kind, Metric, Shown, Unit};
use crate::readings::Interface;
use crate::unix_time::since_epoch;
use crate::wire::Shape;

/// The prefix of our own names.
pub(super) const PREFIX: &str = "system_monitor_";

/// A metric family of the containers.
pub(super) struct Family {
    pub(super) name: String,
    pub(super) help: String,
    pub(super) kind: Kind,
    /// The label that cAdvisor adds to those of the container.
    pub(super) label: Option<(&'static str, &'static str)>,
    pub(super) value: Value,
}

/// The value of a sample.
pub(super) enum Value {
    /// A metric, divided by a factor.
    Number(Metric, f64),
    /// A value computed from several metrics.
    Computed(Compute),
}

/// Computes a value from a container and the time at which it was read.
pub(super) type Compute = fn(&ContainerView, SystemTime) -> Option<f64>;

/// cAdvisor's names of our metrics, which have its units.
pub(super) const NAMES: &[(&str, Metric)] = &[
    ("container_cpu_usage_seconds", Metric::CpuUsage),
    ("container_cpu_user_seconds", Metric::CpuUser),
    ("container_cpu_system_seconds", Metric::CpuSystem),
    ("container_cpu_cfs_periods", Metric::CpuPeriods),
    ("container_cpu_cfs_throttled_periods", Metric::CpuThrottled),
    ("container_cpu_cfs_throttled_seconds", Metric::CpuThrottledTime),
    ("container_memory_usage_bytes", Metric::MemoryUsage),
    ("container_memory_working_set_bytes", Metric::MemoryWorkingSet),
    ("container_memory_rss", Metric::MemoryAnon),
    ("container_memory_cache", Metric::MemoryFile),
    ("container_memory_swap", Metric::MemorySwap),
    ("container_memory_max_usage_bytes", Metric::MemoryPeak),
    ("container_memory_mapped_file", Metric::MemoryMapped),
    ("container_memory_total_active_file_bytes", Metric::MemoryActiveFile),
    ("container_fs_reads_bytes", Metric::DiskReadBytes),
    ("container_fs_writes_bytes", Metric::DiskWriteBytes),
    ("container_fs_reads", Metric::IoReads),
    ("container_fs_writes", Metric::IoWrites),
    ("container_fs_usage_bytes", Metric::DiskWritable),
    ("container_fs_limit_bytes", Metric::DiskTotal),
    ("container_fs_inodes_total", Metric::InodesTotal),
    ("container_processes", Metric::ProcessCount),
    ("container_threads", Metric::Threads),
    ("container_file_descriptors", Metric::FileDescriptors),
];

/// The period of the quota as cAdvisor writes it: the kernel's default.
const PERIOD: f64 = 100_000.0;

/// Families of cAdvisor that are no metrics of ours.
const COMPUTED: &[(&str, &str, Compute)] = &[
    (
        "container_spec_cpu_quota",
        "The tightest CPU quota on the way to the root, in microseconds of each period.",
        |view, _| Some(real(view.number(Metric::CpuLimit)?) * PERIOD),
    ),
    ("container_spec_cpu_period", "The period of that quota, in microseconds.", |view, _| {
        view.number(Metric::CpuLimit).map(|_| PERIOD)
    }),
    ("container_fs_inodes_free", "Inodes that are left on the filesystem of the container's root.", |view, _| {
        Some((real(view.number(Metric::InodesTotal)?) - real(view.number(Metric::InodesUsed)?)).max(0.0))
    }),
    (
        "container_spec_memory_limit_bytes",
        "The smallest memory limit on the way to the root; 0 if there is none.",
        |view, _| view.limit(Metric::MemoryLimit),
    ),
    (
        "container_spec_memory_swap_limit_bytes",
        "The limit of swap, on cgroup v1 of memory and swap together; 0 if there is none.",
        |view, _| view.limit(Metric::MemorySwapLimit),
    ),
    ("container_threads_max", "The smallest limit of tasks on the way to the root; 0 if there is none.", |view, _| {
        view.limit(Metric::PidsLimit)
    }),
    // No counter here, since those end with `_total`.
    ("container_memory_failcnt", "Times that memory use was about to exceed the limit.", |view, _| {
        Some(real(view.number(Metric::MemoryLimitHits)?))
    }),
    ("container_start_time_seconds", "When the container's first process started, seconds since 1970.", |view, _| {
        Some(seconds(view.started()?))
    }),
    ("container_last_seen", "When the container was read, seconds since 1970.", |_, taken| {
        Some(seconds(taken).floor())
    }),
];

/// A counter of interfaces.
pub(super) struct NetworkFamily {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) value: fn(&Interface) -> u64,
}

const fn network(name: &'static str, help: &'static str, value: fn(&Interface) -> u64) -> NetworkFamily {
    NetworkFamily { name, help, value }
}

/// cAdvisor's counters of the interfaces of network namespaces.
pub(super) const NETWORK: &[NetworkFamily] = &[
    network("container_network_receive_bytes", "Bytes received by an interface.", |i| i.received.bytes),
    network("container_network_receive_packets", "Packets received by an interface.", |i| i.received.packets),
    network("container_network_receive_errors", "Errors while receiving.", |i| i.received.errors),
    network("container_network_receive_packets_dropped", "Received packets that were dropped.", |i| i.received.dropped),
    network("container_network_transmit_bytes", "Bytes sent by an interface.", |i| i.sent.bytes),
    network("container_network_transmit_packets", "Packets sent by an interface.", |i| i.sent.packets),
    network("container_network_transmit_errors", "Errors while sending.", |i| i.sent.errors),
    network("container_network_transmit_packets_dropped", "Packets dropped while sending.", |i| i.sent.dropped),
];

/// The metrics of the machine, which all its containers share, under cAdvisor's names where it has one.
pub(super) fn machine() -> impl Iterator<Item = (String, Metric)> {
    Metric::ALL.iter().filter(|metric| metric.is_shared()).map(|&metric| {
        let name = match metric {
            Metric::MachineCpus => "machine_cpu_cores".to_owned(),
            Metric::MachineMemory => "machine_memory_bytes".to_owned(),
            _ => own_name(metric),
        };
        (name, metric)
    })
}

/// The families of the containers: one per metric except rates, in the order of the table, then the computed ones.
pub(super) fn families() -> Vec<Family> {
    let theirs: BTreeMap<Metric, &str> = NAMES.iter().map(|(name, metric)| (*metric, *name)).collect();
    let is_here = |metric: &&Metric| !metric.is_shared() && **metric != Metric::OomKills;
    let rows = Metric::ALL.iter().filter(is_here).filter_map(|&metric| {
        let spec = metric.spec();
        let (name, divisor) = match theirs.get(&metric) {
            Some(name) => ((*name).to_owned(), 1.0),
            None if is_ours(metric) => (own_name(metric), if spec.unit == Unit::Percent { 100.0 } else { 1.0 }),
            None => return None,
        };
        let help = if name.ends_with("_ratio") {
            format!("{} Here 1 is 100 percent.", spec.help)
        } else {
            spec.help.to_owned()
        };
        // cAdvisor reports CPU time per CPU; the sum over all has this label.
        let label = (metric == Metric::CpuUsage).then_some(("cpu", "total"));
        Some(Family { name, help, kind: spec.kind, label, value: Value::Number(metric, divisor) })
    });
    let computed = COMPUTED.iter().map(|&(name, help, value)| Family {
        name: name.to_owned(),
        help: help.to_owned(),
        kind: Kind::Gauge,
        label: None,
        value: Value::Computed(value),
    });
    rows.chain(computed).collect()
}

/// True for a metric under a name of ours: one that is shown and is no rate.
fn is_ours(metric: Metric) -> bool {
    let spec = metric.spec();
    let is_rate = matches!(spec.unit, Unit::PerSecond | Unit::BytesPerSecond);
    matches!(spec.shown, Shown::Field(_)) && !is_rate
}

/// Our name of a metric: its path, in base units.
fn own_name(metric: Metric) -> String {
    let spec = metric.spec();
    let path = spec.name().replace('.', "_");
    match spec.unit {
        Unit::Percent if path.contains("percent") => format!("{PREFIX}{}", path.replace("percent", "ratio")),
        Unit::Percent => format!("{PREFIX}{path}_ratio"),
        _ => format!("{PREFIX}{path}"),
    }
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus knows no other numbers")]
pub(super) fn real(number: Shape) -> f64 {
    match number {
        Shape::Whole(value) => value as f64,
        Shape::Real(value) => value,
    }
}

pub(super) fn seconds(wall: SystemTime) -> f64 {
    since_epoch(wall).as_secs_f64()
}
