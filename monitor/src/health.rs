//! Says on stderr what has changed about the agent's eyesight: once when it changes, not at every tick.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use crate::metrics::{How, Metric, Shown};
use crate::report::{Container, Report};
use crate::snapshot::{CgroupId, Status};

/// The numbers whose loss is told, found once and not for each container.
static WATCHED: LazyLock<Vec<Metric>> =
    LazyLock::new(|| Metric::ALL.iter().copied().filter(|metric| is_watched(*metric)).collect());

/// What was said last.
#[derive(Debug, Default)]
pub struct Health {
    failing: BTreeMap<&'static str, String>,
    absent: BTreeMap<(CgroupId, Metric), String>,
}

impl Health {
    /// Takes note of the sources that failed.
    pub fn sources(&mut self, errors: Vec<(&'static str, String)>) {
        self.failing.retain(|name, _| {
            let failing = errors.iter().any(|(failed, _)| failed == name);
            if !failing {
                tracing::info!("{name} can be read again");
            }
            failing
        });
        for (name, error) in errors {
            if self.failing.get(name) != Some(&error) {
                tracing::warn!("Error reading {name}: {error}");
                self.failing.insert(name, error);
            }
        }
    }

    /// Takes note, in a whole report, of the numbers that appeared or disappeared.
    pub fn report(&mut self, report: &Report) {
        let ids: BTreeSet<CgroupId> = report.containers.iter().map(|container| container.id).collect();
        self.absent.retain(|(id, _), _| ids.contains(id));
        // Who has ended lacks most numbers, as it must.
        for container in report.containers.iter().filter(|container| container.status != Status::Exited) {
            for metric in WATCHED.iter() {
                self.number(container, *metric);
            }
        }
    }

    fn number(&mut self, container: &Container, metric: Metric) {
        let key = (container.id, metric);
        match container.get(metric) {
            Err(cause) if self.absent.get(&key).is_none_or(|said| said != cause.as_str()) => {
                tracing::warn!(container = container.identity.name, "Error reading {}: {cause}", what(metric));
                self.absent.insert(key, cause.to_string());
            }
            Ok(_) if self.absent.remove(&key).is_some() => {
                tracing::info!(container = container.identity.name, "{} can be read again", what(metric));
            }
            _ => {}
        }
    }
}

/// The numbers that readers have relied on from the first version: their loss is worth a line each. The others stand
/// in the report's `absent` and in `doctor`.
fn is_watched(metric: Metric) -> bool {
    let contract = matches!(metric.spec().shown, Shown::Field(name) if !name.contains('.'));
    // A walk takes its time, and a v1 hierarchy counts I/O only with a rule: both are usual, and told in `absent`.
    let usual = [Metric::DiskUsage, Metric::DiskReadBytes, Metric::DiskWriteBytes].contains(&metric);
    let read = matches!(metric.spec().how, How::Read(_)) && !usual;
    (contract && read) || metric == Metric::CpuUsage
}

/// The words operators look for: the file's name where they know one, else the number's.
fn what(metric: Metric) -> &'static str {
    match metric {
        Metric::NetworkRxBytes => "network rx_bytes",
        Metric::NetworkTxBytes => "network tx_bytes",
        Metric::CpuUsage => "cpu.stat",
        Metric::MemoryUsage => "memory.current",
        _ => metric.spec().name(),
    }
}
