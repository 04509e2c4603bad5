//! What people see: the numbers of one reading, and what they say together with the one before. Pure, and total.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use crate::cause::{Cause, CauseKind};
use crate::metrics::{Derived, How, Metric, NO_LIMIT, View};
use crate::snapshot::{Cgroup, CgroupId, Extent, Host, Identity, Origins, Scope, Snapshot, Stamp, Status, Values};

// What is said of many numbers of many containers, made once.
static NOT_LIMITED: LazyLock<Cause> = LazyLock::new(Cause::no_limit);
static FIRST: LazyLock<Cause> = LazyLock::new(|| Cause::new(CauseKind::FirstReading, "first reading"));
static UNREAD: LazyLock<Vec<Cause>> = LazyLock::new(|| {
    let unread = |metric: &Metric| {
        let origins: Vec<String> = metric.spec().origins().iter().map(ToString::to_string).collect();
        Cause::new(CauseKind::NoSource, format!("nothing on this host reads it: {}", origins.join(", ")))
    };
    Metric::ALL.iter().map(unread).collect()
});

/// A number as shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// Exact.
    Whole(u64),
    /// Finite, never negative.
    Real(f64),
}

/// Everything that one reading tells.
#[derive(Clone, Debug)]
pub struct Report {
    /// When its reading began.
    pub taken: Stamp,
    /// Which containers it is about.
    pub extent: Extent,
    /// The real time between the two readings behind the rates; `None` in a report without rates.
    pub interval: Option<Duration>,
    /// What the reading cost.
    pub cost: Duration,
    /// What is watched.
    pub scope: Scope,
    /// Since when eBPF has counted, if it does.
    pub counting_since: Option<SystemTime>,
    /// Events that the kernel's programs have not counted: a map was full, or a task was preempted in a program.
    pub lost_events: u64,
    /// How often cgroups came and went faster than could be told, so that the tree was walked again.
    pub walked_again: u64,
    /// The machine's name.
    pub host: String,
    /// How the reports before have got out; `None` where nothing is written anywhere.
    pub delivery: Option<Delivery>,
    /// One entry per container, by cgroup id.
    pub containers: Vec<Container>,
}

/// How reports have got out so far: the state of the sink when the reading was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delivery {
    /// Since when the server has been connected; `None` while it is away.
    pub connected_since: Option<SystemTime>,
    /// What the latest round trip took.
    pub round_trip: Option<Duration>,
    /// Entries of history and log that wait to be written.
    pub backlog: u64,
    /// Entries that were given up: too old, too many, or refused for good.
    pub dropped: u64,
    /// Entries that were sent more than once, because an answer was lost.
    pub resent: u64,
    /// Bytes that were sent in commands.
    pub bytes: u64,
}

/// One container in a report.
#[derive(Clone, Debug)]
pub struct Container {
    /// Its cgroup.
    pub id: CgroupId,
    /// Who it is.
    pub identity: Arc<Identity>,
    /// What it is doing.
    pub status: Status,
    /// Where each of its numbers was read.
    pub origins: Origins,
    /// Those of all containers of the report, in one piece: it comes and goes at each tick.
    numbers: Arc<Vec<Result<Number, Cause>>>,
    /// Where its own begin.
    first: usize,
}

impl Container {
    /// A row's number, or why there is none.
    pub fn get(&self, metric: Metric) -> Result<Number, &Cause> {
        self.numbers[self.first + metric.index()].as_ref().copied()
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

impl Report {
    /// Puts two readings together. `cost` is what the later one took.
    pub fn new(prev: Option<&Snapshot>, now: &Snapshot, cost: Duration) -> Self {
        let interval = prev.map(|prev| now.taken.mono.saturating_sub(prev.taken.mono)).filter(|d| !d.is_zero());
        let mut numbers = Vec::with_capacity(now.cgroups.len() * Metric::COUNT);
        for (id, cgroup) in &now.cgroups {
            let before = prev.and_then(|prev| prev.cgroups.get(id));
            let view = CgroupView { now: &cgroup.values, host: &now.host, prev: before.map(|c| &c.values), interval };
            numbers.extend(Metric::ALL.iter().map(|&metric| number(metric, &view)));
        }
        let numbers = Arc::new(numbers);
        let firsts = (0..).step_by(Metric::COUNT);
        let containers = now.cgroups.iter().zip(firsts);
        let containers =
            containers.map(|((id, cgroup), first)| container(*id, cgroup, Arc::clone(&numbers), first)).collect();
        Self {
            taken: now.taken,
            extent: now.extent,
            interval,
            cost,
            scope: now.scope,
            counting_since: now.counting_since,
            lost_events: now.lost_events,
            walked_again: now.walked_again,
            host: now.host.name.clone(),
            delivery: None,
            containers,
        }
    }
}

impl Report {
    /// Whether everything has ended: the agent stops. The machine itself never ends.
    pub fn is_goodbye(&self) -> bool {
        self.containers.iter().all(|container| container.status == Status::Exited)
    }

    /// Takes the containers that have ended out, as a report of its own if there are any: a sink may miss a whole report, for
    /// the next one tells the same things anew; of these nothing will be told again.
    pub fn take_ended(&mut self) -> Option<Self> {
        let (ended, going_on) =
            std::mem::take(&mut self.containers).into_iter().partition(|container| container.status == Status::Exited);
        self.containers = going_on;
        let ended: Vec<Container> = ended;
        (!ended.is_empty()).then(|| Self {
            extent: Extent::Ended,
            containers: ended,
            host: self.host.clone(),
            delivery: self.delivery.clone(),
            ..*self
        })
    }
}

fn container(id: CgroupId, cgroup: &Cgroup, numbers: Arc<Vec<Result<Number, Cause>>>, first: usize) -> Container {
    let is_frozen = |metric| cgroup.values.get(metric) == Some(Ok(1));
    let frozen = is_frozen(Metric::Frozen) || is_frozen(Metric::FrozenV1);
    Container {
        id,
        identity: Arc::clone(&cgroup.identity),
        status: if frozen && cgroup.status == Status::Running { Status::Paused } else { cgroup.status },
        origins: cgroup.values.origins(),
        numbers,
        first,
    }
}

fn number(metric: Metric, view: &CgroupView<'_>) -> Result<Number, Cause> {
    let spec = metric.spec();
    match spec.how {
        How::Derived(f) => real(f(view)?),
        How::Read(_) => match (view.raw(metric)?, spec.unit.divisor()) {
            (NO_LIMIT, _) => Err(NOT_LIMITED.clone()),
            (value, None) => Ok(Number::Whole(value)),
            #[expect(clippy::cast_precision_loss, reason = "the unit is a real number")]
            (value, Some(divisor)) => real(value as f64 / divisor),
        },
    }
}

fn real(value: f64) -> Result<Number, Cause> {
    if value.is_finite() && value >= 0.0 {
        Ok(Number::Real(value))
    } else {
        Err(Cause::new(CauseKind::Invalid, "its ingredients contradict each other"))
    }
}

/// One cgroup in this reading and in the one before.
#[derive(Clone, Copy, Debug)]
struct CgroupView<'a> {
    now: &'a Values,
    host: &'a Host,
    prev: Option<&'a Values>,
    interval: Option<Duration>,
}

impl View for CgroupView<'_> {
    fn raw(&self, metric: Metric) -> Result<u64, Cause> {
        let values = if metric.is_shared() { &self.host.values } else { self.now };
        match values.get(metric) {
            Some(reading) => reading.map_err(Cause::clone),
            None => Err(UNREAD[metric.index()].clone()),
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
        let seconds = self.interval.ok_or_else(|| FIRST.clone())?.as_secs_f64();
        Ok(growth / seconds)
    }

    fn share(&self, part: Metric, whole: Metric) -> Derived {
        let (part, whole) = (self.growth(part)?, self.growth(whole)?);
        Ok(if whole == 0.0 { 0.0 } else { (part / whole * 100.0).min(100.0) })
    }

    fn cpu_allowance(&self) -> Derived {
        let cpus = self.nonzero(Metric::CpusetCount).or_else(|_| self.nonzero(Metric::MachineCpus));
        match self.raw(Metric::CpuLimit) {
            Ok(NO_LIMIT) => cpus,
            Ok(0) => Err(Cause::new(CauseKind::Invalid, "the CPU quota is 0")),
            #[expect(clippy::cast_precision_loss, reason = "millionths of a CPU")]
            Ok(limit) => Ok(cpus.map_or(limit as f64 / 1e6, |cpus| cpus.min(limit as f64 / 1e6))),
            Err(cause) => Err(cause),
        }
    }

    fn memory_allowance(&self) -> Derived {
        match self.raw(Metric::MemoryLimit) {
            Ok(NO_LIMIT) => self.nonzero(Metric::MachineMemory),
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
        let before = self.prev.and_then(|prev| prev.get(metric)).ok_or_else(|| FIRST.clone())?.map_err(Cause::clone)?;
        now.checked_sub(before)
            .map(|grown| grown as f64)
            .ok_or_else(|| Cause::new(CauseKind::Invalid, format!("the counter {} went back", metric.spec().name())))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn snapshot(seconds: u64, values: &[(Metric, u64)]) -> Snapshot {
        let mut now = Snapshot::new(Stamp { mono: Duration::from_secs(seconds), wall: SystemTime::UNIX_EPOCH });
        let cgroup = now.cgroups.entry(CgroupId(7)).or_default();
        for &(metric, value) in values {
            if metric.is_shared() { &mut now.host.values } else { &mut cgroup.values }.put(metric, 0, value);
        }
        now
    }

    fn report(prev: Option<&Snapshot>, now: &Snapshot) -> Container {
        Report::new(prev, now, Duration::ZERO).containers.remove(0)
    }

    fn cpu_percent(limit: u64, cpus: u64, used: Duration) -> Option<f64> {
        let reading = |seconds, used: Duration| {
            let used = u64::try_from(used.as_nanos()).unwrap();
            snapshot(seconds, &[(Metric::CpuUsage, used), (Metric::CpuLimit, limit), (Metric::MachineCpus, cpus)])
        };
        report(Some(&reading(10, Duration::ZERO)), &reading(15, used)).real(Metric::CpuPercent)
    }

    #[test]
    fn a_quarter_cpu_fully_used_is_100_percent_and_half_used_is_50() {
        assert_eq!(cpu_percent(250_000, 4, Duration::from_millis(1_250)), Some(100.0));
        assert_eq!(cpu_percent(250_000, 4, Duration::from_millis(625)), Some(50.0));
    }

    #[test]
    fn without_a_quota_the_machine_is_the_allowance() {
        assert_eq!(cpu_percent(NO_LIMIT, 4, Duration::from_secs(10)), Some(50.0));
    }

    #[test]
    fn a_quota_beyond_the_machine_does_not_make_the_allowance_larger() {
        assert_eq!(cpu_percent(8_000_000, 2, Duration::from_secs(10)), Some(100.0));
    }

    #[test]
    fn cpu_percent_is_clamped_and_cores_are_not() {
        assert_eq!(cpu_percent(250_000, 4, Duration::from_secs(5)), Some(100.0));
        let (before, now) = (snapshot(1, &[(Metric::CpuUsage, 0)]), snapshot(2, &[(Metric::CpuUsage, 3_000_000_000)]));
        assert_eq!(report(Some(&before), &now).real(Metric::CpuUsageCores), Some(3.0));
    }

    #[test]
    fn without_a_limit_memory_is_in_percent_of_the_machine() {
        let machine = (Metric::MachineMemory, 1000);
        let unlimited = snapshot(1, &[(Metric::MemoryUsage, 100), (Metric::MemoryLimit, NO_LIMIT), machine]);
        assert_eq!(report(None, &unlimited).real(Metric::MemoryPercent), Some(10.0));
        assert_eq!(report(None, &unlimited).get(Metric::MemoryLimit).unwrap_err().as_str(), "no limit is set");
        let limited = snapshot(1, &[(Metric::MemoryUsage, 100), (Metric::MemoryLimit, 200), machine]);
        assert_eq!(report(None, &limited).real(Metric::MemoryPercent), Some(50.0));
    }

    #[test]
    fn a_limit_that_cannot_be_read_is_not_taken_for_none() {
        let mut now = snapshot(1, &[(Metric::MemoryUsage, 100), (Metric::MachineMemory, 1000)]);
        now.cgroups.get_mut(&CgroupId(7)).unwrap().values.miss(
            Metric::MemoryLimit,
            0,
            Cause::new(CauseKind::Denied, "memory.max: permission denied"),
        );
        assert_eq!(
            report(None, &now).get(Metric::MemoryPercent).unwrap_err().as_str(),
            "memory.max: permission denied"
        );
    }

    #[test]
    fn a_counter_that_went_back_has_no_rate_and_says_so() {
        let (before, now) = (snapshot(1, &[(Metric::CpuUsage, 9)]), snapshot(2, &[(Metric::CpuUsage, 3)]));
        assert_eq!(
            report(Some(&before), &now).get(Metric::CpuUsageCores).unwrap_err().as_str(),
            "the counter cpu.usage went back"
        );
    }

    #[test]
    fn a_recreated_cgroup_starts_without_a_rate() {
        let mut before = snapshot(1, &[]);
        let gone = before.cgroups.remove(&CgroupId(7)).unwrap();
        before.cgroups.insert(CgroupId(6), gone);
        let now = snapshot(2, &[(Metric::CpuUsage, 3)]);
        assert_eq!(report(Some(&before), &now).get(Metric::CpuUsageCores).unwrap_err().as_str(), "first reading");
    }

    #[test]
    fn what_no_source_reads_is_absent_and_names_what_would_have_it() {
        let cause = report(None, &snapshot(1, &[])).get(Metric::MemoryUsage).unwrap_err().to_string();
        assert!(cause.contains("memory.current (cgroup v2)"), "{cause}");
    }

    #[test]
    fn throttling_is_the_share_of_the_intervals_periods() {
        let before = snapshot(1, &[(Metric::CpuPeriods, 100), (Metric::CpuThrottled, 100)]);
        let now = snapshot(2, &[(Metric::CpuPeriods, 110), (Metric::CpuThrottled, 105)]);
        assert_eq!(report(Some(&before), &now).real(Metric::CpuThrottledPercent), Some(50.0));
        assert_eq!(report(Some(&now), &now).get(Metric::CpuThrottledPercent), Ok(Number::Real(0.0)));
    }

    #[test]
    fn a_frozen_container_is_paused() {
        assert_eq!(report(None, &snapshot(1, &[(Metric::Frozen, 1)])).status, Status::Paused);
        assert_eq!(report(None, &snapshot(1, &[(Metric::Frozen, 0)])).status, Status::Running);
        let hybrid = snapshot(1, &[(Metric::Frozen, 0), (Metric::FrozenV1, 1)]);
        assert_eq!(report(None, &hybrid).status, Status::Paused);
    }

    proptest! {
        #[test]
        fn whatever_is_read_no_number_is_negative_or_not_finite(
            before in proptest::collection::vec(any::<u64>(), Metric::COUNT),
            now in proptest::collection::vec(any::<u64>(), Metric::COUNT),
            seconds in 0u64..1_000,
        ) {
            let rows = |values: &[u64]| Metric::ALL.iter().copied().zip(values.iter().copied()).filter(|(metric, _)| matches!(metric.spec().how, How::Read(_))).collect::<Vec<_>>();
            let (before, now) = (snapshot(0, &rows(&before)), snapshot(seconds, &rows(&now)));
            let container = report(Some(&before), &now);
            for &metric in Metric::ALL {
                if let Some(value) = container.real(metric) {
                    prop_assert!(value.is_finite() && value >= 0.0, "{metric:?} = {value}");
                }
            }
        }
    }
}
