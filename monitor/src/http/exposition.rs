//! `/metrics`: OpenMetrics or Prometheus text, with cAdvisor's names and labels for what cAdvisor has
//! (`docs/storage/prometheus.md` of its repository), and names of ours for the rest.
//!
//! Everything is made from the latest tick, so a container that ended is gone with the next one. What is absent has no
//! sample. Rates are left out, for Prometheus computes them from the counters.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use hyper::body::Bytes;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabel, EncodeLabelSet, LabelSetEncoder, MetricEncoder, NoLabelSet, prometheus_text, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::about::AgentState;
use super::frame::Frame;
use super::text_format::TextFormat;
use super::view::{ContainerView, UNKNOWN};
use crate::metrics::{Kind, Metric, Shown as Place, Unit};
use crate::snapshot::Status;
use crate::unix_time::since_epoch;
use crate::wire::Shape;

/// What our own names begin with.
const PREFIX: &str = "system_monitor_";

/// One metric family of the containers.
struct Family {
    name: String,
    help: String,
    kind: Kind,
    /// The label that cAdvisor has besides those of the container.
    label: Option<(&'static str, &'static str)>,
    value: Value,
}

/// What is in a sample.
enum Value {
    /// A row's number, divided by this.
    Number(Metric, f64),
    /// What follows from several.
    Computed(Compute),
}

/// A sample out of a container and the time at which it was read.
type Compute = fn(&ContainerView, SystemTime) -> Option<f64>;

/// cAdvisor's names for our rows, with what our unit is divided by to be theirs.
const NAMES: &[(&str, Metric, f64)] = &[
    ("container_cpu_usage_seconds", Metric::CpuUsage, 1e9),
    ("container_cpu_user_seconds", Metric::CpuUser, 1e9),
    ("container_cpu_system_seconds", Metric::CpuSystem, 1e9),
    ("container_cpu_cfs_periods", Metric::CpuPeriods, 1.0),
    ("container_cpu_cfs_throttled_periods", Metric::CpuThrottled, 1.0),
    ("container_memory_usage_bytes", Metric::MemoryUsage, 1.0),
    ("container_memory_working_set_bytes", Metric::MemoryWorkingSet, 1.0),
    ("container_memory_rss", Metric::MemoryAnon, 1.0),
    ("container_memory_cache", Metric::MemoryFile, 1.0),
    ("container_memory_swap", Metric::MemorySwap, 1.0),
    ("container_memory_max_usage_bytes", Metric::MemoryPeak, 1.0),
    ("container_spec_memory_limit_bytes", Metric::MemoryLimit, 1.0),
    ("container_oom_events", Metric::OomKills, 1.0),
    ("container_network_receive_bytes", Metric::NetworkRxBytes, 1.0),
    ("container_network_receive_packets", Metric::NetworkRxPackets, 1.0),
    ("container_network_transmit_bytes", Metric::NetworkTxBytes, 1.0),
    ("container_network_transmit_packets", Metric::NetworkTxPackets, 1.0),
    ("container_fs_reads_bytes", Metric::DiskReadBytes, 1.0),
    ("container_fs_writes_bytes", Metric::DiskWriteBytes, 1.0),
    ("container_fs_reads", Metric::IoReads, 1.0),
    ("container_fs_writes", Metric::IoWrites, 1.0),
    ("container_fs_usage_bytes", Metric::DiskUsage, 1.0),
    ("container_fs_limit_bytes", Metric::DiskTotal, 1.0),
    ("container_fs_inodes_total", Metric::InodesTotal, 1.0),
    ("container_processes", Metric::ProcessCount, 1.0),
    ("container_threads", Metric::Threads, 1.0),
    ("container_threads_max", Metric::PidsLimit, 1.0),
    ("container_file_descriptors", Metric::FileDescriptors, 1.0),
];

/// The period that cAdvisor's quota is told for: the kernel's default.
const PERIOD: f64 = 100_000.0;

/// What cAdvisor has and is no row of ours.
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
        "container_start_time_seconds",
        "When the container's first process started, seconds since 1970.",
        |view, taken| Some(seconds(taken).floor() - real(view.number(Metric::Uptime)?)),
    ),
    ("container_last_seen", "When the container was read, seconds since 1970.", |_, taken| {
        Some(seconds(taken).floor())
    }),
];

/// The machine's own numbers, which all its containers share: cAdvisor's names where it has one.
fn machine() -> impl Iterator<Item = (String, Metric)> {
    Metric::ALL.iter().filter(|metric| metric.is_shared()).map(|&metric| {
        let name = match metric {
            Metric::MachineCpus => "machine_cpu_cores".to_owned(),
            Metric::MachineMemory => "machine_memory_bytes".to_owned(),
            _ => own_name(metric),
        };
        (name, metric)
    })
}

/// The families of the containers: one per row but for rates, in the order of the table, then what is computed.
fn families() -> Vec<Family> {
    let theirs: BTreeMap<Metric, (&str, f64)> =
        NAMES.iter().map(|(name, metric, divisor)| (*metric, (*name, *divisor))).collect();
    let rows = Metric::ALL.iter().filter(|metric| !metric.is_shared()).filter_map(|&metric| {
        let spec = metric.spec();
        let (name, divisor) = match theirs.get(&metric) {
            Some((name, divisor)) => ((*name).to_owned(), *divisor),
            None if is_ours(metric) => (own_name(metric), if spec.unit == Unit::Percent { 100.0 } else { 1.0 }),
            None => return None,
        };
        let help = if name.ends_with("_ratio") {
            format!("{} Here 1 is 100 percent.", spec.help)
        } else {
            spec.help.to_owned()
        };
        // cAdvisor tells CPU time per CPU; the sum over all has this name.
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

/// Whether a row has a name of ours: what is view and is no rate.
fn is_ours(metric: Metric) -> bool {
    let spec = metric.spec();
    let is_rate = matches!(spec.unit, Unit::PerSecond | Unit::BytesPerSecond);
    matches!(spec.shown, Place::Field(_)) && !is_rate
}

/// Our name of a row: its path, in base units.
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
fn real(number: Shape) -> f64 {
    match number {
        Shape::Whole(value) => value as f64,
        Shape::Real(value) => value,
    }
}

fn seconds(wall: SystemTime) -> f64 {
    since_epoch(wall).as_secs_f64()
}

/// Encodes a frame.
pub(super) fn encode(frame: Arc<Frame>, agent: AgentState, format: TextFormat) -> Bytes {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Exposition { frame, agent }));
    let mut text = String::new();
    // Writing to a text cannot fail.
    _ = match format {
        TextFormat::OpenMetrics => text::encode(&mut text, &registry),
        TextFormat::Prometheus => prometheus_text::encode(&mut text, &registry),
    };
    text.into()
}

#[derive(Debug)]
struct Exposition {
    frame: Arc<Frame>,
    agent: AgentState,
}

impl Collector for Exposition {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for family in families() {
            self.family(&family, &mut encoder)?;
        }
        self.identities(&mut encoder)?;
        for (name, metric) in machine() {
            self.machine(&name, metric, &mut encoder)?;
        }
        self.agent(&mut encoder)
    }
}

impl Exposition {
    /// What has ended, or is silent, is not told of.
    fn present(&self) -> impl DoubleEndedIterator<Item = &ContainerView> {
        self.frame.containers.iter().filter(|view| view.is_present())
    }

    /// A family has a head even when nothing is in it: who writes a query sees that the name is right.
    fn family(&self, family: &Family, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut encoder = encoder.encode_descriptor(&family.name, &family.help, None, kind(family.kind))?;
        for view in self.present() {
            let value = match family.value {
                Value::Number(metric, divisor) => view.number(metric).map(|number| real(number) / divisor),
                Value::Computed(compute) => compute(view, self.frame.taken),
            };
            if let Some(value) = value {
                let labels = Labels { view, more: family.label.as_slice() };
                sample(encoder.encode_family(&labels)?, family.kind, value)?;
            }
        }
        Ok(())
    }

    /// What is known of each container besides numbers.
    fn identities(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let name = format!("{PREFIX}container_status");
        let help = "What a container is doing, where it runs and by what: always 1, the rest is in the labels.";
        let mut encoder = encoder.encode_descriptor(&name, help, None, MetricType::Gauge)?;
        for view in self.present() {
            let more = [
                ("status", view.status().map_or(UNKNOWN, Status::as_str)),
                ("runtime", view.runtime().unwrap_or_default()),
                ("container_id", view.container_id().unwrap_or_default()),
            ];
            encoder.encode_family(&Labels { view, more: &more })?.encode_gauge(&1)?;
        }
        Ok(())
    }

    /// A number of each machine, told by the first of its containers.
    fn machine(&self, name: &str, metric: Metric, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut encoder = encoder.encode_descriptor(name, metric.spec().help, None, kind(metric.spec().kind))?;
        let machines: BTreeMap<Option<&str>, f64> =
            self.present().rev().filter_map(|view| Some((view.foreign_host(), real(view.number(metric)?)))).collect();
        for (host, value) in machines {
            sample(encoder.encode_family(&Host(host))?, metric.spec().kind, value)?;
        }
        Ok(())
    }

    /// The agent itself.
    fn agent(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut gauge = |name: &str, help: &str, labels: &[(&str, &str)], value: f64| {
            let name = format!("{PREFIX}{name}");
            let mut encoder = encoder.encode_descriptor(&name, help, None, MetricType::Gauge)?;
            encoder.encode_family(&labels)?.encode_gauge(&value)
        };
        let version = [("version", self.agent.version)];
        gauge("build_info", "The agent's version: always 1, the rest is in the label.", &version, 1.0)?;
        #[expect(clippy::cast_precision_loss, reason = "no more containers than a real number has digits")]
        gauge("containers", "Containers that are watched.", &[], self.present().count() as f64)?;
        gauge(
            "last_reading_timestamp_seconds",
            "When the latest reading began, seconds since 1970.",
            &[],
            seconds(self.frame.taken),
        )?;
        gauge("interval_seconds", "Time between two readings, as it is set.", &[], self.agent.interval_seconds)?;
        if let Some(cost) = self.frame.cost {
            gauge("reading_seconds", "What the latest reading took.", &[], cost.as_secs_f64())?;
        }
        let name = format!("{PREFIX}program_attached");
        let help = "Whether an eBPF program is attached.";
        let mut encoder = encoder.encode_descriptor(&name, help, None, MetricType::Gauge)?;
        for program in &self.agent.programs {
            encoder
                .encode_family(&[("program", program.name.as_str())])?
                .encode_gauge(&i64::from(program.is_attached()))?;
        }
        Ok(())
    }
}

fn kind(kind: Kind) -> MetricType {
    match kind {
        Kind::Counter => MetricType::Counter,
        Kind::Gauge => MetricType::Gauge,
    }
}

fn sample(mut encoder: MetricEncoder<'_>, kind: Kind, value: f64) -> fmt::Result {
    match kind {
        Kind::Counter => encoder.encode_counter::<NoLabelSet, f64, f64>(&value, None),
        Kind::Gauge => encoder.encode_gauge(&value),
    }
}

/// A machine's name, where several are told of.
#[derive(Debug)]
struct Host<'a>(Option<&'a str>);

impl EncodeLabelSet for Host<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |host| ("host", host).encode(encoder.encode_label()))
    }
}

/// The labels of a container, as cAdvisor has them; those of Kubernetes as the kubelet adds them.
#[derive(Debug)]
struct Labels<'a> {
    view: &'a ContainerView,
    more: &'a [(&'static str, &'a str)],
}

/// What Kubernetes calls a container, in its runtime's labels.
const KUBERNETES: &[(&str, &str)] = &[
    ("container", "io.kubernetes.container.name"),
    ("pod", "io.kubernetes.pod.name"),
    ("namespace", "io.kubernetes.pod.namespace"),
];

impl EncodeLabelSet for Labels<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        let view = self.view;
        let own = [
            ("id", view.cgroup()),
            // The machine itself has no name there, so that a sum over all names counts nothing twice.
            ("name", Some(view.name()).filter(|_| !view.is_machine())),
            ("image", view.image()),
            ("host", view.foreign_host()),
        ];
        let kubernetes = KUBERNETES.iter().map(|(label, key)| (*label, view.label(key)));
        let more = self.more.iter().map(|(label, value)| (*label, Some(*value)));
        for (label, value) in own.into_iter().chain(kubernetes).chain(more) {
            // An empty label is none.
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                (label, value).encode(encoder.encode_label())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
