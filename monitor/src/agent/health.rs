//! Log lines about the agent's sources and numbers: when one becomes unavailable or recovers, not at every tick.

use std::collections::{BTreeMap, BTreeSet};

use crate::cause::{Cause, CauseKind};
use crate::metrics::{How, Metric};
use crate::report::{Container, Report};
use crate::snapshot::{CgroupId, Coverage, Status};

/// The most names in one line; a longer list is shortened to these names and the total count.
const MOST_NAMES: usize = 8;

/// The state that was logged last.
#[derive(Debug)]
pub(super) struct Health {
    /// The numbers whose loss is logged.
    watched: Vec<Metric>,
    failing: BTreeMap<&'static str, String>,
    absent: BTreeMap<(CgroupId, Metric), Cause>,
}

impl Default for Health {
    fn default() -> Self {
        let watched = Metric::ALL.iter().copied().filter(|metric| is_watched(*metric)).collect();
        Self { watched, failing: BTreeMap::new(), absent: BTreeMap::new() }
    }
}

impl Health {
    /// Logs which sources have failed or recovered.
    pub(super) fn sources(&mut self, errors: Vec<(&'static str, String)>) {
        self.failing.retain(|name, _| {
            let failing = errors.iter().any(|(failed, _)| failed == name);
            if !failing {
                tracing::info!(source = name, "Readable again");
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

    /// Logs which containers have exited, and, of a report about all of them, which numbers have appeared or
    /// disappeared.
    pub(super) fn report(&mut self, report: &Report) {
        let exited = |container: &&Container| container.status == Status::Exited;
        let exited: Vec<&str> = report.containers.iter().filter(exited).map(name).collect();
        if !exited.is_empty() {
            tracing::info!(count = exited.len(), containers = list(&exited), "Containers exited");
        }
        if report.coverage == Coverage::All {
            self.numbers(report);
        }
    }

    fn numbers(&mut self, report: &Report) {
        let ids: BTreeSet<CgroupId> = report.containers.iter().map(|container| container.id).collect();
        self.absent.retain(|(id, _), _| ids.contains(id));
        let (mut lost, mut regained) = (Changes::default(), Changes::default());
        // What a container without processes lacks ends with it.
        let lives = |container: &&Container| container.status != Status::Exited && !container.is_empty();
        for container in report.containers.iter().filter(lives) {
            for &metric in &self.watched {
                let key = (container.id, metric);
                match container.get(metric) {
                    // It ends with its container.
                    Err(cause) if cause.kind() == CauseKind::Exited => {}
                    Err(cause) if self.absent.get(&key) != Some(cause) => {
                        lost.add(cause, metric, container);
                        self.absent.insert(key, cause.clone());
                    }
                    Ok(_) => {
                        if let Some(cause) = self.absent.remove(&key) {
                            regained.add(&cause, metric, container);
                        }
                    }
                    Err(_) => {}
                }
            }
        }
        for Change { cause, count, numbers, containers, .. } in lost.0 {
            let (first, numbers, containers) = (numbers[0], list(&numbers), list(&containers));
            tracing::warn!(count, numbers, containers, "Error reading {first}: {cause}");
        }
        for Change { count, numbers, containers, .. } in regained.0 {
            let (numbers, containers) = (list(&numbers), list(&containers));
            tracing::info!(count, numbers, containers, "Readable again");
        }
    }
}

/// The numbers that changed, by cause: one line each.
#[derive(Default)]
struct Changes<'a>(Vec<Change<'a>>);

struct Change<'a> {
    cause: Cause,
    /// A number with a line of its own.
    fixed: Option<&'static str>,
    count: usize,
    /// Their names, each once.
    numbers: Vec<&'static str>,
    /// The containers, each once.
    containers: Vec<&'a str>,
}

impl<'a> Changes<'a> {
    fn add(&mut self, cause: &Cause, metric: Metric, container: &'a Container) {
        let (fixed, container) = (fixed_name(metric), name(container));
        let number = fixed.unwrap_or(metric.spec().name());
        match self.0.iter_mut().find(|change| change.cause == *cause && change.fixed == fixed) {
            Some(change) => {
                change.count += 1;
                if !change.numbers.contains(&number) {
                    change.numbers.push(number);
                }
                // The numbers of one container are adjacent.
                if change.containers.last() != Some(&container) {
                    change.containers.push(container);
                }
            }
            None => {
                let (numbers, containers) = (vec![number], vec![container]);
                self.0.push(Change { cause: cause.clone(), fixed, count: 1, numbers, containers });
            }
        }
    }
}

fn name(container: &Container) -> &str {
    &container.identity.name
}

/// The first names, in one line.
fn list(names: &[&str]) -> String {
    let rest = if names.len() > MOST_NAMES { ", …" } else { "" };
    names[..names.len().min(MOST_NAMES)].join(", ") + rest
}

/// True for the numbers that readers have relied on from the first version: their loss is worth a line each. The others
/// stand in the report's `absent` and in `doctor`.
fn is_watched(metric: Metric) -> bool {
    let contract = metric.spec().field().is_some_and(|field| !field.contains('.'));
    // A walk takes its time, and a v1 hierarchy counts I/O only with a rule: both are usual, and stand in `absent`.
    let usual = [Metric::DiskUsage, Metric::DiskReadBytes, Metric::DiskWriteBytes].contains(&metric);
    let read = matches!(metric.spec().how, How::Read(_)) && !usual;
    (contract && read) || metric == Metric::CpuUsage
}

/// The names under which operators grep for a number: their line is fixed by contract, and so is not shared with
/// others.
fn fixed_name(metric: Metric) -> Option<&'static str> {
    match metric {
        Metric::NetworkRxBytes => Some("network rx_bytes"),
        Metric::NetworkTxBytes => Some("network tx_bytes"),
        Metric::CpuUsage => Some("cpu.stat"),
        Metric::MemoryUsage => Some("memory.current"),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
