//! `/metrics`: OpenMetrics or Prometheus text, with cAdvisor's names and labels for what cAdvisor has
//! (`docs/storage/prometheus.md` of its repository), and names of ours for the rest.
//!
//! Samples come from the latest frame alone, so a container that exited has none with the next one. An absent number
//! has no sample. Rates are left out: Prometheus computes them from counters.

mod families;
mod labels;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use hyper::body::Bytes;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, prometheus_text, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use self::families::{Family, NETWORK, NetworkFamily, PREFIX, Value, families, machine, real, seconds};
use self::labels::{HostLabel, Kept, Labels};
use super::about::AgentState;
use super::ended_kills::EndedKills;
use super::frame::Frame;
use super::text_format::TextFormat;
use super::view::{ContainerView, UNKNOWN};
use crate::metrics::{Kind, Metric};
use crate::snapshot::Status;

pub(super) use self::labels::own_labels;

/// Encodes a frame, and the OOM kills of the containers that have ended.
pub(super) fn encode(frame: Arc<Frame>, agent: AgentState, ended: EndedKills, format: TextFormat) -> Bytes {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Exposition { frame, agent, ended }));
    let mut text = String::new();
    // Writing to a text cannot fail.
    _ = match format {
        TextFormat::OpenMetrics => text::encode(&mut text, &registry),
        TextFormat::Prometheus => prometheus_text::encode(&mut text, &registry),
    };
    text.into()
}

/// The collector of one frame.
#[derive(Debug)]
struct Exposition {
    frame: Arc<Frame>,
    agent: AgentState,
    ended: EndedKills,
}

impl Collector for Exposition {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for family in families() {
            self.family(&family, &mut encoder)?;
        }
        self.oom_kills(&mut encoder)?;
        self.faults(&mut encoder)?;
        for family in NETWORK {
            self.network(family, &mut encoder)?;
        }
        self.identities(&mut encoder)?;
        for (name, metric) in machine() {
            self.machine(&name, metric, &mut encoder)?;
        }
        self.agent(&mut encoder)
    }
}

impl Exposition {
    /// The containers that have samples: neither exited nor silent ones.
    fn present(&self) -> impl DoubleEndedIterator<Item = &ContainerView> {
        self.frame.containers.iter().filter(|view| view.is_present())
    }

    /// Encodes a family. It has a head even without samples, so that the author of a query sees that the name is right.
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

    /// Encodes the OOM kills of each container, with those of its earlier lives, and of those that have ended.
    fn oom_kills(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let spec = Metric::OomKills.spec();
        let mut encoder = encoder.encode_descriptor("container_oom_events", spec.help, None, MetricType::Counter)?;
        let mut ended = self.ended.clone();
        for view in self.present() {
            let earlier = if ended.is_empty() { 0.0 } else { ended.take(&own_labels(view)) };
            if let Some(kills) = view.number(Metric::OomKills) {
                sample(encoder.encode_family(&Labels { view, more: &[] })?, Kind::Counter, real(kills) + earlier)?;
            }
        }
        for (labels, kills) in ended.rest() {
            sample(encoder.encode_family(&Kept(labels))?, Kind::Counter, kills)?;
        }
        Ok(())
    }

    /// Encodes page faults as cAdvisor has them.
    fn faults(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Page faults, by kind: pgfault are all of them, pgmajfault those that had to wait for a disk.";
        let mut encoder = encoder.encode_descriptor("container_memory_failures", help, None, MetricType::Counter)?;
        for view in self.present() {
            for (kind, metric) in [("pgfault", Metric::MemoryFaults), ("pgmajfault", Metric::MemoryMajorFaults)] {
                if let Some(faults) = view.number(metric) {
                    let more = [("failure_type", kind), ("scope", "hierarchy")];
                    sample(encoder.encode_family(&Labels { view, more: &more })?, Kind::Counter, real(faults))?;
                }
            }
        }
        Ok(())
    }

    /// Encodes a counter of the interfaces of each network namespace.
    fn network(&self, family: &NetworkFamily, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut encoder = encoder.encode_descriptor(family.name, family.help, None, MetricType::Counter)?;
        for view in self.present() {
            for interface in view.interfaces() {
                let more = [("interface", interface.name.as_str())];
                #[expect(clippy::cast_precision_loss, reason = "Prometheus knows no other numbers")]
                let value = (family.value)(interface) as f64;
                sample(encoder.encode_family(&Labels { view, more: &more })?, Kind::Counter, value)?;
            }
        }
        Ok(())
    }

    /// Encodes each container's status, runtime and id.
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

    /// Encodes a number of each machine, taken from the first of its containers.
    fn machine(&self, name: &str, metric: Metric, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut encoder = encoder.encode_descriptor(name, metric.spec().help, None, kind(metric.spec().kind))?;
        let machines: BTreeMap<Option<&str>, f64> =
            self.present().rev().filter_map(|view| Some((view.foreign_host(), real(view.number(metric)?)))).collect();
        for (host, value) in machines {
            sample(encoder.encode_family(&HostLabel(host))?, metric.spec().kind, value)?;
        }
        Ok(())
    }

    /// Encodes the samples about the agent.
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
