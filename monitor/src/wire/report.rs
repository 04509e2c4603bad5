//! Reports as JSON.

use super::error::EncodeError;
use super::layout::Layout;
use super::number::{number, seconds};
use super::object::Object;
use super::time::{micros, timestamp};
use crate::cause::Cause;
use crate::metrics::{GROUPS, Metric, Origin};
use crate::report::{Container, LIMITS, Report};

/// Version of the report's shape.
const SCHEMA: u32 = 3;

/// The contract's fields that are not numbers; the names in the order of the document.
const IDENTITY: [&str; 2] = ["container_name", "timestamp"];

/// One container's report as JSON.
///
/// # Errors
/// A bug of this program.
pub fn report(report: &Report, container: &Container) -> Result<String, EncodeError> {
    let mut text = Vec::new();
    Writer::new(report)?.write(container, &mut text)?;
    Ok(String::from_utf8(text)?)
}

/// Writes the documents of a report's containers. What they have in common is encoded once.
pub(crate) struct Writer<'a> {
    report: &'a Report,
    timestamp: String,
    /// The time since which eBPF has counted.
    since: Option<String>,
    /// The fields about the agent itself.
    agent: Vec<u8>,
    layout: Layout,
    /// The causes of the document that is being written. It has room for all of them.
    causes: Vec<&'a Cause>,
}

impl<'a> Writer<'a> {
    /// # Errors
    /// A bug of this program.
    pub(crate) fn new(report: &'a Report) -> Result<Self, EncodeError> {
        let mut agent = Vec::new();
        Object(&mut agent)
            .put("interval_seconds", &report.interval.map(seconds))?
            .put("collect_micros", &micros(report.cost))?
            .put("agent", &Agent::of(report))?;
        let since = report.counting_since.map(timestamp);
        Ok(Self {
            report,
            timestamp: timestamp(report.taken.wall),
            since,
            agent,
            layout: Layout::new(),
            causes: Vec::with_capacity(Metric::COUNT),
        })
    }

    /// Appends the document of one of the containers.
    ///
    /// # Errors
    /// A bug of this program.
    pub(crate) fn write(&mut self, container: &'a Container, text: &mut Vec<u8>) -> Result<(), EncodeError> {
        let mut document = Object::begin(text);
        self.contract(container, &mut document)?;
        self.identity(container, &mut document)?;
        document.comma().extend_from_slice(&self.agent);
        let mut sources = document.object("sources");
        for (group, metric) in GROUPS {
            if let Some(origin) = container.origins.of(*metric) {
                sources.plain(group, origin.backend());
            }
        }
        sources.end();
        self.absent(container, &mut document)?;
        for (group, fields) in &self.layout.groups {
            self.group(container, group, fields, document.object(group))?;
        }
        let mut limits = document.object("limits");
        for (field, level) in LIMITS {
            limits.put(field, &container.limiting(level))?;
        }
        limits.end();
        document.end();
        Ok(())
    }

    fn contract(&self, container: &Container, document: &mut Object<'_>) -> Result<(), EncodeError> {
        document.put(IDENTITY[0], &container.identity.name)?.plain(IDENTITY[1], &self.timestamp);
        for (metric, field) in &self.layout.contract {
            document.number(field, number(container, *metric))?;
        }
        document.plain("status", container.status.as_str());
        Ok(())
    }

    fn identity(&self, container: &Container, document: &mut Object<'_>) -> Result<(), EncodeError> {
        let identity = &container.identity;
        document.put("schema", &SCHEMA)?.put("host", &self.report.host)?.plain("scope", self.report.scope.as_str());
        document.put("cgroup", &identity.path)?.put("cgroup_id", &container.id.0)?;
        for (field, value) in
            [("container_id", &identity.container_id), ("runtime", &identity.runtime), ("image", &identity.image)]
        {
            if let Some(value) = value {
                document.put(field, value)?;
            }
        }
        if let Some(started) = container.started {
            document.plain("started", &timestamp(started));
        }
        if !identity.labels.is_empty() {
            document.put("labels", &identity.labels)?;
        }
        Ok(())
    }

    fn absent(&mut self, container: &'a Container, document: &mut Object<'_>) -> Result<(), EncodeError> {
        self.causes.clear();
        let mut absent = document.object("absent");
        for (metric, field) in &self.layout.fields {
            if let Err(cause) = container.get(*metric) {
                absent.put(field, &index(&mut self.causes, cause))?;
            }
        }
        absent.end();
        document.causes("causes", &self.causes)
    }

    fn group(
        &self,
        container: &Container,
        group: &str,
        fields: &[(Metric, &str)],
        mut numbers: Object<'_>,
    ) -> Result<(), EncodeError> {
        for (metric, field) in fields {
            numbers.number(field, number(container, *metric))?;
        }
        if group == "network" {
            // Interfaces count from their creation.
            let counted = container.origins.of(Metric::NetworkRxBytes);
            let counted = counted.is_some_and(|origin| matches!(origin, Origin::Network(..)));
            numbers.put("since", &self.since.as_ref().filter(|_| counted))?;
        }
        numbers.end();
        Ok(())
    }
}

/// The index of a cause in a list of different texts, which gets it if it is not there.
fn index<'a>(causes: &mut Vec<&'a Cause>, cause: &'a Cause) -> usize {
    // Neighbours often have the same cause.
    let known = causes.iter().rposition(|known| known.as_str() == cause.as_str());
    known.unwrap_or_else(|| {
        causes.push(cause);
        causes.len() - 1
    })
}

/// The agent itself, and the delivery of its reports.
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
