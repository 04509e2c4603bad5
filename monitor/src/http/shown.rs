//! What the server shows: one tick, from the agent's own report or from what a fleet of agents has written.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use hyper::body::Bytes;
use serde::ser::{Error, Serialize, Serializer};
use serde_json::value::RawValue;

use super::exposition::Form;
use crate::metrics::{Metric, Unit};
use crate::report::{Container, Report};
use crate::sinks::wire::{self, Shape};
use crate::snapshot::{Scope, Stamp};
use crate::store::Stored;

/// One container at one moment.
#[derive(Clone, Debug)]
pub(super) enum Shown {
    /// The container at a position of a report of this agent.
    Reported(Arc<Report>, usize),
    /// What some agent has written, and whether it is still there.
    Stored(Arc<Stored>, bool),
}

impl Shown {
    fn reported(report: &Report, index: usize) -> &Container {
        &report.containers[index]
    }

    /// The name.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Reported(report, index) => &Self::reported(report, *index).identity.name,
            Self::Stored(stored, _) => &stored.name,
        }
    }

    /// `running`, `paused`, `exited`; `unknown` when its report has expired.
    pub(super) fn status(&self) -> &str {
        match self {
            Self::Reported(report, index) => Self::reported(report, *index).status.as_str(),
            Self::Stored(stored, true) => &stored.status,
            Self::Stored(_, false) => "unknown",
        }
    }

    /// The machine that it is on.
    pub(super) fn host(&self) -> Option<&str> {
        match self {
            Self::Reported(report, _) => Some(&report.host),
            Self::Stored(stored, _) => text(stored, "host"),
        }
    }

    /// Its runtime.
    pub(super) fn runtime(&self) -> Option<&str> {
        match self {
            Self::Reported(report, index) => Self::reported(report, *index).identity.runtime.as_deref(),
            Self::Stored(stored, _) => text(stored, "runtime"),
        }
    }

    /// When it was read, where that is not the time of the tick.
    pub(super) fn taken(&self) -> Option<SystemTime> {
        match self {
            Self::Reported(..) => None,
            Self::Stored(stored, _) => Some(stored.taken),
        }
    }

    /// The machine that it is on, where it need not be this one.
    pub(super) fn foreign_host(&self) -> Option<&str> {
        match self {
            Self::Reported(..) => None,
            Self::Stored(..) => self.host(),
        }
    }

    /// The path of its cgroup.
    pub(super) fn cgroup(&self) -> Option<&str> {
        match self {
            Self::Reported(report, index) => Some(&Self::reported(report, *index).identity.path),
            Self::Stored(stored, _) => text(stored, "cgroup"),
        }
    }

    /// Whether it is no container but the machine.
    pub(super) fn is_machine(&self) -> bool {
        match self {
            Self::Reported(report, index) => {
                report.scope == Scope::Host && Self::reported(report, *index).identity.is_root
            }
            Self::Stored(stored, _) => {
                text(stored, "scope") == Some(Scope::Host.as_str()) && text(stored, "cgroup") == Some("/")
            }
        }
    }

    /// The runtime's id of it.
    pub(super) fn container_id(&self) -> Option<&str> {
        match self {
            Self::Reported(report, index) => Self::reported(report, *index).identity.container_id.as_deref(),
            Self::Stored(stored, _) => text(stored, "container_id"),
        }
    }

    /// Its image.
    pub(super) fn image(&self) -> Option<&str> {
        match self {
            Self::Reported(report, index) => Self::reported(report, *index).identity.image.as_deref(),
            Self::Stored(stored, _) => text(stored, "image"),
        }
    }

    /// A label that its runtime has given it.
    pub(super) fn label(&self, key: &str) -> Option<&str> {
        match self {
            Self::Reported(report, index) => {
                Self::reported(report, *index).identity.labels.get(key).map(String::as_str)
            }
            Self::Stored(stored, _) => stored.document().get("labels")?.get(key)?.as_str(),
        }
    }

    /// A row's number.
    pub(super) fn number(&self, metric: Metric) -> Option<Shape> {
        match self {
            Self::Reported(report, index) => wire::number(Self::reported(report, *index), metric),
            Self::Stored(stored, _) => written(stored, metric),
        }
    }
}

/// The report, as readers of Valkey get it. It is written in one way only, so that both are the same.
impl Serialize for Shown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Reported(report, index) => {
                let document = wire::report(report, Self::reported(report, *index));
                RawValue::from_string(document).map_err(S::Error::custom)?.serialize(serializer)
            }
            Self::Stored(stored, _) => stored.document().serialize(serializer),
        }
    }
}

/// A row's number as some agent has written it.
pub(super) fn written(stored: &Stored, metric: Metric) -> Option<Shape> {
    let number = stored.field(metric)?;
    number.as_u64().map(Shape::Whole).or_else(|| number.as_f64().map(Shape::Real))
}

fn text<'a>(stored: &'a Stored, field: &str) -> Option<&'a str> {
    stored.document().get(field)?.as_str()
}

/// What is known at one moment.
#[derive(Debug)]
pub(super) struct Tick {
    /// When it was read.
    pub(super) taken: SystemTime,
    /// The machine, where there is only one.
    pub(super) host: Option<String>,
    /// Time between two readings, where there is only one agent.
    pub(super) interval: Option<Duration>,
    /// What the reading cost.
    pub(super) cost: Option<Duration>,
    /// By name.
    pub(super) containers: Vec<Shown>,
    frame: OnceLock<Bytes>,
    texts: [OnceLock<Bytes>; 2],
}

impl Tick {
    /// A report of this agent.
    pub(super) fn reported(report: &Arc<Report>) -> Self {
        let containers = (0..report.containers.len()).map(|index| Shown::Reported(Arc::clone(report), index));
        Self {
            taken: report.taken.wall,
            host: Some(report.host.clone()),
            interval: report.interval,
            cost: Some(report.cost),
            containers: by_name(containers),
            frame: OnceLock::new(),
            texts: Default::default(),
        }
    }

    /// What agents have written, as it is now.
    pub(super) fn stored(now: Stamp, reports: Vec<(Arc<Stored>, bool)>) -> Self {
        Self {
            taken: now.wall,
            host: None,
            interval: None,
            cost: None,
            containers: by_name(reports.into_iter().map(|(stored, is_there)| Shown::Stored(stored, is_there))),
            frame: OnceLock::new(),
            texts: Default::default(),
        }
    }

    /// The container of a name.
    pub(super) fn find(&self, name: &str) -> Option<&Shown> {
        let at = self.containers.binary_search_by(|shown| shown.name().cmp(name)).ok()?;
        self.containers.get(at)
    }

    /// The event that tells of this tick, made when somebody wants it first.
    pub(super) fn frame(&self, make: impl FnOnce(&Self) -> Bytes) -> Bytes {
        self.frame.get_or_init(|| make(self)).clone()
    }

    /// The text of `/metrics` in a form, likewise: however many ask, one tick is put into words once.
    pub(super) fn text(&self, form: Form, make: impl FnOnce() -> Bytes) -> Bytes {
        self.texts[form as usize].get_or_init(make).clone()
    }
}

/// Names are unique; were they not, the first one would be shown.
fn by_name(containers: impl Iterator<Item = Shown>) -> Vec<Shown> {
    let mut named: Vec<Shown> = containers.collect();
    named.sort_by(|a, b| a.name().cmp(b.name()));
    named.dedup_by(|later, first| later.name() == first.name());
    named
}

/// The row of a name.
pub(super) fn field(name: &str) -> Option<Metric> {
    wire::fields().find(|(_, field)| *field == name).map(|(metric, _)| metric)
}

/// What a number is multiplied by to be whole: as many digits as a report has.
pub(super) fn scale(metric: Metric) -> f64 {
    match metric.spec().unit {
        Unit::Count | Unit::Bytes | Unit::Seconds | Unit::Nanoseconds => 1.0,
        Unit::Cores => 1e6,
        Unit::Percent | Unit::Load | Unit::PerSecond | Unit::BytesPerSecond => 1e3,
    }
}

/// The numbers that readers were promised from the first version: those that stand in no group.
pub(super) fn contract() -> impl Iterator<Item = Metric> {
    wire::fields().filter(|(_, field)| !field.contains('.')).map(|(metric, _)| metric)
}

/// Milliseconds since 1970.
pub(super) fn millis(wall: SystemTime) -> u64 {
    let since = wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
