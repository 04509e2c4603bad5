//! A container as the server shows it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::ser::{Error, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::cause::{Cause, CauseKind};
use crate::findings::ClockOffset;
use crate::metrics::Metric;
use crate::readings::Interface;
use crate::report::{Container, Report};
use crate::snapshot::Status;
use crate::valkey::store::Stored;
use crate::wire::{self, Shape};

/// Shown as the status of a container whose report has expired.
pub(super) const UNKNOWN: &str = "unknown";

/// A container as the server shows it, from either origin.
#[derive(Clone, Debug)]
pub(super) enum ContainerView {
    /// The container at an index of a report of this agent.
    Reported(Arc<Report>, usize),
    /// A report that some agent has written to Valkey, and whether it has not expired.
    Stored(Arc<Stored>, bool),
}

impl ContainerView {
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

    /// Its status; `None` when its report has expired.
    pub(super) fn status(&self) -> Option<Status> {
        match self {
            Self::Reported(report, index) => Some(Self::reported(report, *index).status),
            Self::Stored(stored, is_there) => is_there.then_some(stored.status),
        }
    }

    /// True if it has a report, and has not exited.
    pub(super) fn is_present(&self) -> bool {
        self.status().is_some_and(|status| status != Status::Exited)
    }

    /// The host that it runs on.
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

    /// The time at which it was read, unless that is the time of the frame.
    pub(super) fn taken(&self) -> Option<SystemTime> {
        match self {
            Self::Reported(..) => None,
            Self::Stored(stored, _) => Some(stored.taken),
        }
    }

    /// The time at which its report arrived, on our clock, unless that is the time of the frame.
    pub(super) fn seen(&self) -> Option<SystemTime> {
        match self {
            Self::Reported(..) => None,
            Self::Stored(stored, _) => Some(stored.seen),
        }
    }

    /// The offset of its machine's clock, if that is known and large.
    pub(super) fn clock(&self) -> Option<ClockOffset> {
        match self {
            Self::Reported(..) => None,
            Self::Stored(stored, _) => stored.clock,
        }
    }

    /// The time at which its first process started.
    pub(super) fn started(&self) -> Option<SystemTime> {
        match self {
            Self::Reported(report, index) => Self::reported(report, *index).started,
            Self::Stored(stored, _) => humantime::parse_rfc3339(text(stored, "started")?).ok(),
        }
    }

    /// The host that it runs on, if it may be another one than this.
    pub(super) fn foreign_host(&self) -> Option<&str> {
        match self {
            Self::Reported(..) => None,
            Self::Stored(..) => self.host(),
        }
    }

    /// Its cgroup path.
    pub(super) fn cgroup(&self) -> Option<&str> {
        match self {
            Self::Reported(report, index) => Some(&Self::reported(report, *index).identity.path),
            Self::Stored(stored, _) => text(stored, "cgroup"),
        }
    }

    /// True for the entry of the machine itself.
    pub(super) fn is_machine(&self) -> bool {
        match self {
            Self::Reported(report, index) => report.is_machine(Self::reported(report, *index)),
            Self::Stored(stored, _) => stored.is_machine(),
        }
    }

    /// The id that its runtime gave it.
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

    /// The value of a label set by its runtime.
    pub(super) fn label(&self, key: &str) -> Option<&str> {
        match self {
            Self::Reported(report, index) => {
                Self::reported(report, *index).identity.labels.get(key).map(String::as_str)
            }
            Self::Stored(stored, _) => stored.document().get("labels")?.get(key)?.as_str(),
        }
    }

    /// The time between two of its reports, where it is not that of the frame.
    pub(super) fn interval(&self) -> Option<Duration> {
        match self {
            Self::Reported(..) => None,
            Self::Stored(stored, _) => {
                Duration::try_from_secs_f64(stored.document().get("interval_seconds")?.as_f64()?).ok()
            }
        }
    }

    /// The interfaces of its network namespace, if they are known and belong to it.
    pub(super) fn interfaces(&self) -> &[Interface] {
        match self {
            Self::Reported(report, index) => &Self::reported(report, *index).interfaces,
            Self::Stored(..) => &[],
        }
    }

    /// A limit, 0 if none is set.
    pub(super) fn limit(&self, metric: Metric) -> Option<f64> {
        let kind = match self {
            Self::Reported(report, index) => Self::reported(report, *index).get(metric).err().map(Cause::kind),
            Self::Stored(stored, _) => stored.cause(metric).map(|text| Cause::written(text).kind()),
        };
        if kind == Some(CauseKind::NoLimit) { Some(0.0) } else { self.real(metric) }
    }

    /// The value of a metric as a real number.
    pub(super) fn real(&self, metric: Metric) -> Option<f64> {
        match self {
            Self::Reported(report, index) => Self::reported(report, *index).real(metric),
            Self::Stored(stored, _) => stored.number(metric),
        }
    }

    /// The value of a metric.
    pub(super) fn number(&self, metric: Metric) -> Option<Shape> {
        match self {
            Self::Reported(report, index) => wire::number(Self::reported(report, *index), metric),
            Self::Stored(stored, _) => written(stored, metric),
        }
    }
}

/// Writes the report exactly as it is stored in Valkey.
impl Serialize for ContainerView {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Reported(report, index) => {
                let document = wire::report(report, Self::reported(report, *index)).map_err(S::Error::custom)?;
                RawValue::from_string(document).map_err(S::Error::custom)?.serialize(serializer)
            }
            Self::Stored(stored, _) => stored.document().serialize(serializer),
        }
    }
}

/// The value of a metric in a stored report.
pub(super) fn written(stored: &Stored, metric: Metric) -> Option<Shape> {
    let number = stored.field(metric)?;
    number.as_u64().map(Shape::Whole).or_else(|| number.as_f64().map(Shape::Real))
}

fn text<'a>(stored: &'a Stored, field: &str) -> Option<&'a str> {
    stored.document().get(field)?.as_str()
}
