//! One container as the terminal views see it: its numbers by their rows of the table, whether they come from this
//! process' own report or from what an agent has written.

use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::text::printable;
use super::trouble::{self, Trouble};
use crate::cause::{Cause, CauseKind};
use crate::metrics::{GROUPS, Metric, Origin};
use crate::report::{Container, Report};
use crate::snapshot::{Scope, Status};
use crate::valkey::store::Stored;

/// A report that is so many intervals old is late: the agent's health check draws the same line.
const LATE: u32 = 3;

/// One container. Every text in it is safe to show.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its name, by which it is known from one report to the next.
    pub name: String,
    /// The machine that it runs on.
    pub host: String,
    /// The path of its cgroup.
    pub cgroup: String,
    /// Whether it is the machine itself.
    pub is_machine: bool,
    /// What else is known of it: the runtime and its id for it, the image.
    pub about: Vec<(&'static str, String)>,
    /// `running`, `paused`, `exited`; `silent` when nothing is reported any more.
    pub status: String,
    /// When it was read.
    pub taken: SystemTime,
    /// The time between the two readings behind its rates.
    pub interval: Option<Duration>,
    /// The backend that feeds each group of numbers.
    pub sources: Vec<(String, String)>,
    /// What is wrong with it, worst first.
    pub troubles: Vec<Trouble>,
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
        Self {
            name: printable(&identity.name),
            host: printable(&report.host),
            cgroup: printable(&identity.path),
            is_machine: report.scope == Scope::Host && identity.path == "/",
            about: about.iter().filter_map(|(what, text)| Some((*what, printable(text.as_ref()?)))).collect(),
            status: container.status.as_str().to_owned(),
            taken: report.taken.wall,
            interval: report.interval,
            sources: GROUPS.iter().filter_map(source).collect(),
            troubles: Vec::new(),
            numbers: Metric::ALL.iter().map(number).collect(),
            origins: Metric::ALL.iter().map(|&metric| Some(backend(container, metric))).collect(),
        }
        .judged()
    }

    /// A container as an agent has written it, looked at now.
    pub fn stored(stored: &Stored, now: SystemTime) -> Self {
        let document = stored.document();
        let text = |field: &str| document[field].as_str().map(printable);
        let number = |&metric: &Metric| match (stored.number(metric), stored.cause(metric)) {
            (Some(number), _) => Ok(number),
            (None, Some(cause)) => Err(Cause::written(cause)),
            (None, None) => Err(Cause::new(CauseKind::Missing, "the report does not have it")),
        };
        let about = [("runtime", "runtime"), ("id", "container_id"), ("image", "image")];
        let sources = document["sources"].as_object().into_iter().flatten();
        let interval = document["interval_seconds"].as_f64().and_then(|s| Duration::try_from_secs_f64(s).ok());
        let mut row = Self {
            name: printable(&stored.name),
            host: text("host").unwrap_or_default(),
            cgroup: text("cgroup").unwrap_or_default(),
            is_machine: document["scope"] == "host" && document["cgroup"] == "/",
            about: about.into_iter().filter_map(|(what, field)| Some((what, text(field)?))).collect(),
            status: printable(&stored.status),
            taken: stored.taken,
            interval,
            sources: sources.map(|(group, backend)| (printable(group), printable(word(backend)))).collect(),
            troubles: Vec::new(),
            numbers: Metric::ALL.iter().map(number).collect(),
            origins: vec![None; Metric::COUNT],
        }
        .judged();
        let age = now.duration_since(stored.taken).unwrap_or_default();
        if !Status::Exited.is(&row.status) && interval.is_some_and(|interval| age > interval * LATE) {
            row.complain(Trouble::late(age));
        }
        row
    }

    /// A container that agents have written about until some time ago.
    pub fn silent(name: &str, last: SystemTime, now: SystemTime) -> Self {
        let age = now.duration_since(last).unwrap_or_default();
        Self {
            name: printable(name),
            host: String::new(),
            cgroup: String::new(),
            is_machine: false,
            about: Vec::new(),
            status: "silent".to_owned(),
            taken: last,
            interval: None,
            sources: Vec::new(),
            troubles: vec![Trouble::silent(age)],
            numbers: vec![Err(Cause::new(CauseKind::Exited, "its last report has expired")); Metric::COUNT],
            origins: vec![None; Metric::COUNT],
        }
    }

    fn judged(mut self) -> Self {
        self.troubles = trouble::of(&self);
        self
    }

    /// Adds to what is wrong with it.
    pub fn complain(&mut self, trouble: Trouble) {
        self.troubles.push(trouble);
        trouble::sort(&mut self.troubles);
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

    /// Where a number came from, as far as the report says.
    pub fn origin(&self, metric: Metric) -> Option<&'static str> {
        self.origins[metric.index()]
    }

    /// The worst that is wrong with it.
    pub fn worst(&self) -> Option<&Trouble> {
        self.troubles.first()
    }
}

/// Where a number of an own report came from.
fn backend(container: &Container, metric: Metric) -> &'static str {
    let shared = || metric.spec().origins().first().filter(|_| metric.is_shared());
    container.origins.of(metric).or_else(shared).map_or("computed", Origin::backend)
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
