//! One container in a report, and its numbers.

use std::sync::Arc;
use std::time::SystemTime;

use super::view::CgroupView;
use crate::cause::{Cause, CauseKind};
use crate::metrics::{How, Metric, NO_LIMIT, NOT_VISIBLE, View};
use crate::readings::Interface;
use crate::snapshot::{Cgroup, CgroupId, Identity, Origins, Status};

/// The limits whose level a report names, with the number of levels above the container.
pub const LIMITS: [(&str, Metric); 3] =
    [("cpu", Metric::CpuLimitLevel), ("memory", Metric::MemoryLimitLevel), ("processes", Metric::PidsLimitLevel)];

/// A number as shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// Exact.
    Whole(u64),
    /// Finite, never negative.
    Real(f64),
}

/// One container in a report.
#[derive(Clone, Debug)]
pub struct Container {
    /// Its cgroup.
    pub id: CgroupId,
    /// Its identity.
    pub identity: Arc<Identity>,
    /// Its state.
    pub status: Status,
    /// The time at which its first process started, as far as it is known.
    pub started: Option<SystemTime>,
    /// The interfaces of its network namespace, if they belong to it.
    pub interfaces: Arc<[Interface]>,
    /// The origins of its numbers.
    pub origins: Origins,
    /// The numbers of all containers of the report, in one allocation, which is made and freed at each tick.
    numbers: Arc<Vec<Result<Number, Cause>>>,
    /// The position of its first number.
    first: usize,
}

impl Container {
    /// A row's number, or why there is none.
    pub fn get(&self, metric: Metric) -> Result<Number, &Cause> {
        self.numbers[self.first + metric.index()].as_ref().copied()
    }

    /// True if it is known to have no process: it has ended, or is about to.
    pub fn is_empty(&self) -> bool {
        self.get(Metric::ProcessCount) == Ok(Number::Whole(0))
    }

    /// The same with what is known from its earlier report.
    pub(super) fn completed_by(self, earlier: &Self) -> Self {
        let (origins, started) = (self.origins.or(&earlier.origins), self.started.or(earlier.started));
        Self { origins, started, ..self }
    }

    /// The path of the level of the tree whose limit binds, by its row in [`LIMITS`]; `None` without a limit.
    pub fn limiting(&self, level: Metric) -> Option<&str> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a number of levels, and saturating"
        )]
        let above = self.real(level)? as usize;
        let levels = std::iter::successors(Some(self.identity.path.as_str()), |path| Some(path.rsplit_once('/')?.0));
        Some(levels.take(above.saturating_add(1)).last().filter(|path| !path.is_empty()).unwrap_or("/"))
    }

    /// A row's number as a real, where it has one.
    pub fn real(&self, metric: Metric) -> Option<f64> {
        self.get(metric).ok().map(|number| match number {
            #[expect(clippy::cast_precision_loss, reason = "shown, not counted with")]
            Number::Whole(value) => value as f64,
            Number::Real(value) => value,
        })
    }
}

/// The container of a cgroup whose numbers begin at `first`.
pub(super) fn container(
    id: CgroupId,
    cgroup: &Cgroup,
    numbers: Arc<Vec<Result<Number, Cause>>>,
    first: usize,
) -> Container {
    let is_frozen = |metric| cgroup.values.get(metric) == Some(Ok(1));
    let frozen = is_frozen(Metric::Frozen) || is_frozen(Metric::FrozenV1);
    Container {
        id,
        identity: Arc::clone(&cgroup.identity),
        status: if frozen && cgroup.status == Status::Running { Status::Paused } else { cgroup.status },
        started: cgroup.started,
        interfaces: Arc::clone(&cgroup.interfaces),
        origins: cgroup.values.origins(),
        numbers,
        first,
    }
}

/// A row's number, or why there is none.
pub(super) fn number(metric: Metric, view: &CgroupView<'_>) -> Result<Number, Cause> {
    let spec = metric.spec();
    match spec.how {
        How::Derived(f) => real(f(view)?),
        How::Read(_) => match (view.raw(metric)?, spec.unit.divisor()) {
            (NO_LIMIT, _) => Err(view.causes.no_limit()),
            (NOT_VISIBLE, _) => Err(view.causes.not_visible()),
            (value, None) => Ok(Number::Whole(value)),
            #[expect(clippy::cast_precision_loss, reason = "the unit is a real number")]
            (value, Some(divisor)) => real(value as f64 / divisor),
        },
    }
}

/// The number of an earlier report, or why it was absent even there.
pub(super) fn known(earlier: Option<&Container>, metric: Metric, cause: Cause) -> Result<Number, Cause> {
    earlier.map_or(Err(cause), |earlier| earlier.get(metric).map_err(Cause::clone))
}

fn real(value: f64) -> Result<Number, Cause> {
    if value.is_finite() && value >= 0.0 {
        Ok(Number::Real(value))
    } else {
        Err(Cause::new(CauseKind::Invalid, "its ingredients contradict each other"))
    }
}
