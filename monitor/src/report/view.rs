//! The values from which derived numbers are computed. Pure, and total.

use std::cell::OnceCell;
use std::time::Duration;

use crate::cause::{Cause, CauseKind};
use crate::metrics::{Derived, How, Metric, NO_LIMIT, NOT_VISIBLE, View};
use crate::snapshot::{HostValues, Values};

/// Causes that the containers of one report share.
#[derive(Debug)]
pub(super) struct SharedCauses {
    first_reading: Cause,
    no_limit: Cause,
    not_visible: Cause,
    unread: [OnceCell<Cause>; Metric::COUNT],
}

impl SharedCauses {
    pub(super) fn new() -> Self {
        Self {
            first_reading: Cause::new(CauseKind::FirstReading, "first reading"),
            no_limit: Cause::no_limit(),
            not_visible: Cause::not_visible(),
            unread: [const { OnceCell::new() }; Metric::COUNT],
        }
    }

    /// The cause of a limit that is not set.
    pub(super) fn no_limit(&self) -> Cause {
        self.no_limit.clone()
    }

    /// The cause of a limit that may be set at a level which cannot be seen.
    pub(super) fn not_visible(&self) -> Cause {
        self.not_visible.clone()
    }

    fn first_reading(&self) -> Cause {
        self.first_reading.clone()
    }

    fn unread(&self, metric: Metric) -> Cause {
        let cause = || {
            let origins: Vec<String> = metric.spec().origins().iter().map(ToString::to_string).collect();
            Cause::new(CauseKind::NoSource, format!("nothing on this host reads it: {}", origins.join(", ")))
        };
        self.unread[metric.index()].get_or_init(cause).clone()
    }
}

/// One cgroup in this reading and in the one before.
#[derive(Clone, Copy, Debug)]
pub(super) struct CgroupView<'a> {
    pub(super) now: &'a Values,
    pub(super) host: &'a HostValues,
    pub(super) prev: Option<&'a Values>,
    pub(super) interval: Option<Duration>,
    pub(super) causes: &'a SharedCauses,
}

impl View for CgroupView<'_> {
    fn raw(&self, metric: Metric) -> Result<u64, Cause> {
        let values = if metric.is_shared() { &self.host.values } else { self.now };
        match values.get(metric) {
            Some(reading) => reading.map_err(Cause::clone),
            None => Err(self.causes.unread(metric)),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a ratio needs 53 bits")]
    fn real(&self, metric: Metric) -> Derived {
        match metric.spec().how {
            How::Derived(f) => f(self),
            How::Read(_) => self.raw(metric).map(|value| value as f64),
        }
    }

    fn nonzero(&self, metric: Metric) -> Derived {
        match self.real(metric)? {
            0.0 => Err(Cause::new(CauseKind::Invalid, format!("{} is 0", metric.spec().name()))),
            value => Ok(value),
        }
    }

    fn rate(&self, metric: Metric) -> Derived {
        let growth = self.growth(metric)?;
        let seconds = self.interval.ok_or_else(|| self.causes.first_reading())?.as_secs_f64();
        Ok(growth / seconds)
    }

    fn share(&self, part: Metric, whole: Metric) -> Derived {
        let (part, whole) = (self.growth(part)?, self.growth(whole)?);
        Ok(if whole == 0.0 { 0.0 } else { (part / whole * 100.0).min(100.0) })
    }

    fn cpu_allowance(&self) -> Derived {
        let cpus = self.nonzero(Metric::CpusetCount).or_else(|_| self.nonzero(Metric::MachineCpus));
        match self.raw(Metric::CpuLimit) {
            Ok(NO_LIMIT | NOT_VISIBLE) => cpus,
            Ok(0) => Err(Cause::new(CauseKind::Invalid, "the CPU quota is 0")),
            #[expect(clippy::cast_precision_loss, reason = "millionths of a CPU")]
            Ok(limit) => Ok(cpus.map_or(limit as f64 / 1e6, |cpus| cpus.min(limit as f64 / 1e6))),
            Err(cause) => Err(cause),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a ratio needs 53 bits")]
    fn limit(&self, metric: Metric) -> Derived {
        match self.raw(metric)? {
            NO_LIMIT => Err(Cause::no_limit()),
            NOT_VISIBLE => Err(Cause::not_visible()),
            0 => Err(Cause::new(CauseKind::Invalid, format!("{} is 0", metric.spec().name()))),
            limit => Ok(limit as f64),
        }
    }

    fn cpu_limit(&self) -> Derived {
        let quota = self.limit(Metric::CpuLimit).map(|millionths| millionths / 1e6);
        let cpus = self.nonzero(Metric::CpusetCount).and_then(|cpus| Ok((cpus, self.nonzero(Metric::MachineCpus)?)));
        match (quota, cpus) {
            (Ok(quota), Ok((cpus, _))) => Ok(quota.min(cpus)),
            (Err(none), Ok((cpus, all))) if none.kind() == CauseKind::NoLimit && cpus < all => Ok(cpus),
            (quota, _) => quota,
        }
    }

    fn memory_allowance(&self) -> Derived {
        match self.raw(Metric::MemoryLimit) {
            Ok(NO_LIMIT | NOT_VISIBLE) => self.nonzero(Metric::MachineMemory),
            #[expect(clippy::cast_precision_loss, reason = "a ratio needs 53 bits")]
            Ok(limit) if limit > 0 => {
                Ok(self.nonzero(Metric::MachineMemory).map_or(limit as f64, |all| all.min(limit as f64)))
            }
            Ok(_) => Err(Cause::new(CauseKind::Invalid, "the memory limit is 0")),
            Err(cause) => Err(cause),
        }
    }
}

impl CgroupView<'_> {
    #[expect(clippy::cast_precision_loss, reason = "growth within one interval")]
    fn growth(&self, metric: Metric) -> Derived {
        let now = self.raw(metric)?;
        let before = self
            .prev
            .and_then(|prev| prev.get(metric))
            .ok_or_else(|| self.causes.first_reading())?
            .map_err(Cause::clone)?;
        now.checked_sub(before)
            .map(|grown| grown as f64)
            .ok_or_else(|| Cause::new(CauseKind::Invalid, format!("the counter {} went back", metric.spec().name())))
    }
}
