//! One container as the terminal views see it: its numbers by their rows of the table, from this process' own report or
//! from a document that an agent has written.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::text::printable;
use crate::cause::{Cause, CauseKind};
use crate::findings::{self, ClockOffset, Evidence, Finding, Level, Reporting, Timeline};
use crate::metrics::{GROUPS, Metric, Origin};
use crate::report::{Container, Report};
use crate::snapshot::Status;
use crate::valkey::store::Stored;

/// Shown as the status of a container whose latest report has expired.
const SILENT: &str = "silent";

/// One container. Every text in it is safe to show.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its name, by which it is known from one report to the next.
    pub name: String,
    /// The machine that it runs on.
    pub host: String,
    /// The path of its cgroup.
    pub cgroup: String,
    /// True for the machine itself.
    pub is_machine: bool,
    /// More facts: the runtime, its id for the container, the image.
    pub about: Vec<(&'static str, String)>,
    /// Its status; `None` when its latest report has expired.
    pub status: Option<Status>,
    /// The time at which it was read.
    pub taken: SystemTime,
    /// The time between the two readings behind its rates.
    pub interval: Option<Duration>,
    /// The backend that feeds each group of numbers.
    pub sources: Vec<(String, String)>,
    /// The findings about it, the worst first.
    pub findings: Vec<Finding>,
    /// The age before which its report is not late.
    grace: Duration,
    /// The time at which its report arrived, on our clock.
    seen: SystemTime,
    clock: Option<ClockOffset>,
    numbers: Vec<Result<f64, Cause>>,
    origins: Vec<Option<&'static str>>,
}

impl Row {
    /// A container of a report.
    pub fn of(report: &Report, container: &Container) -> Self {
        let identity = &container.identity;
        let about = [("runtime", &identity.runtime), ("id", &identity.container_id), ("image", &identity.image)];
        let number = |&metric: &Metric| match container.get(metric) {
            Ok(_) => container.real(metric).ok_or_else(|| Cause::new(CauseKind::Invalid, "")),
            Err(cause) => Err(cause.clone()),
        };
        let source = |(group, metric): &(&str, Metric)| {
            Some(((*group).to_owned(), container.origins.of(*metric)?.backend().to_owned()))
        };
        let row = Self {
            name: printable(&identity.name),
            host: printable(&report.host),
            cgroup: printable(&identity.path),
            is_machine: report.is_machine(container),
            about: about.iter().filter_map(|(what, text)| Some((*what, printable(text.as_ref()?)))).collect(),
            status: Some(container.status),
            taken: report.taken.wall,
            interval: report.interval,
            sources: GROUPS.iter().filter_map(source).collect(),
            findings: Vec::new(),
            grace: Duration::ZERO,
            seen: report.taken.wall,
            clock: None,
            numbers: Metric::ALL.iter().map(number).collect(),
            origins: Metric::ALL.iter().map(|&metric| Some(backend(container, metric))).collect(),
        };
        row.judged(report.taken.wall)
    }

    /// A container as an agent has written it, looked at now.
    pub fn stored(stored: &Stored, now: SystemTime) -> Self {
        let document = stored.document();
        let text = |field: &str| document[field].as_str().map(printable);
        let unknown = Cause::new(CauseKind::Missing, "the report does not have it");
        // Many numbers share a cause, in a report of others perhaps a very long one.
        let mut causes = BTreeMap::new();
        let number = |&metric: &Metric| match (stored.number(metric), stored.cause(metric)) {
            (Some(number), _) => Ok(number),
            (None, Some(cause)) => Err(causes.entry(cause).or_insert_with(|| Cause::written(cause)).clone()),
            (None, None) => Err(unknown.clone()),
        };
        let about = [("runtime", "runtime"), ("id", "container_id"), ("image", "image")];
        let sources = document["sources"].as_object().into_iter().flatten();
        let interval = document["interval_seconds"].as_f64().and_then(|s| Duration::try_from_secs_f64(s).ok());
        let row = Self {
            name: printable(&stored.name),
            host: text("host").unwrap_or_default(),
            cgroup: text("cgroup").unwrap_or_default(),
            is_machine: stored.is_machine(),
            about: about.into_iter().filter_map(|(what, field)| Some((what, text(field)?))).collect(),
            status: Some(stored.status),
            taken: stored.taken,
            interval,
            sources: sources.map(|(group, backend)| (printable(group), printable(word(backend)))).collect(),
            findings: Vec::new(),
            grace: findings::GRACE,
            seen: stored.seen,
            clock: stored.clock,
            numbers: Metric::ALL.iter().map(number).collect(),
            origins: vec![None; Metric::COUNT],
        };
        row.judged(now)
    }

    /// A container that agents have written about until some time ago.
    pub fn silent(name: &str, last: SystemTime, now: SystemTime) -> Self {
        let row = Self {
            name: printable(name),
            host: String::new(),
            cgroup: String::new(),
            is_machine: false,
            about: Vec::new(),
            status: None,
            taken: last,
            interval: None,
            sources: Vec::new(),
            findings: Vec::new(),
            grace: findings::GRACE,
            seen: last,
            clock: None,
            numbers: vec![Err(Cause::new(CauseKind::Exited, "its last report has expired")); Metric::COUNT],
            origins: vec![None; Metric::COUNT],
        };
        row.judged(now)
    }

    fn judged(mut self, now: SystemTime) -> Self {
        self.judge(&Timeline::default(), now);
        self
    }

    /// Sets its findings, as of a time and with what is known of its past.
    pub fn judge(&mut self, timeline: &Timeline, now: SystemTime) {
        let age = now.duration_since(self.seen).unwrap_or_default();
        let reporting = match self.status {
            Some(status) => Reporting::Present { status, age, interval: self.interval, grace: self.grace },
            None => Reporting::Expired(age),
        };
        let numbers = |metric| self.number(metric);
        self.findings = findings::judge(&Evidence { numbers: &numbers, reporting, clock: self.clock, timeline, now });
    }

    /// Its status as a word.
    pub fn status(&self) -> &'static str {
        self.status.map_or(SILENT, Status::as_str)
    }

    /// A number, or why there is none.
    ///
    /// # Errors
    /// Why it is absent.
    pub fn get(&self, metric: Metric) -> Result<f64, &Cause> {
        self.numbers[metric.index()].as_ref().copied()
    }

    /// A number, where it is there.
    pub fn number(&self, metric: Metric) -> Option<f64> {
        self.get(metric).ok()
    }

    /// The origin of a number, as far as the report says.
    pub fn origin(&self, metric: Metric) -> Option<&'static str> {
        self.origins[metric.index()]
    }

    /// Its worst finding.
    pub fn worst(&self) -> Option<&Finding> {
        self.findings.first()
    }

    /// The level of the findings about a metric.
    pub fn level(&self, metric: Metric) -> Level {
        findings::level_of(&self.findings, metric)
    }
}

/// The backend of a number of an own report.
fn backend(container: &Container, metric: Metric) -> &'static str {
    let shared = || metric.spec().origins().first().filter(|_| metric.is_shared());
    container.origins.of(metric).or_else(shared).map_or("computed", Origin::backend)
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
