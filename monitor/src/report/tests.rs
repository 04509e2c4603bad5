use proptest::prelude::*;

use super::*;
use crate::cause::{Cause, CauseKind};
use crate::metrics::{How, NO_LIMIT, NOT_VISIBLE};
use crate::snapshot::{CgroupId, Identity};

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

#[test]
fn a_container_that_has_exited_keeps_the_numbers_that_it_had_and_takes_what_is_newer() {
    let (first, second) = (
        snapshot(10, &[(Metric::CpuUsage, 0), (Metric::CpuLimit, 1_000_000), (Metric::MemoryUsage, 5)]),
        snapshot(12, &[(Metric::CpuUsage, 1_000_000_000), (Metric::CpuLimit, 1_000_000), (Metric::MemoryUsage, 7)]),
    );
    let mut gone = snapshot(13, &[(Metric::ProcessCount, 0), (Metric::Forks, 4)]);
    let last = Report::new(Some(&first), &second, Duration::ZERO);
    let end = |gone: &Snapshot| Report::after(Some(&last), Some(&second), gone, Duration::ZERO).containers.remove(0);
    assert!(end(&gone).get(Metric::MemoryUsage).is_err(), "one that lives has only what was read");
    gone.cgroups.get_mut(&CgroupId(7)).unwrap().status = Status::Exited;
    let end = end(&gone);
    assert_eq!((end.real(Metric::CpuPercent), end.real(Metric::MemoryUsage)), (Some(50.0), Some(7.0)));
    assert_eq!((end.real(Metric::ProcessCount), end.real(Metric::Forks)), (Some(0.0), Some(4.0)));
    assert!(end.origins.of(Metric::MemoryUsage).is_some(), "its source is not lost");
}

#[test]
fn a_container_that_awaits_its_name_is_not_reported_and_has_rates_once_it_is() {
    let mut before = snapshot(10, &[(Metric::CpuUsage, 0)]);
    before.cgroups.get_mut(&CgroupId(7)).unwrap().withheld = true;
    assert!(Report::new(None, &before, Duration::ZERO).containers.is_empty());
    let now = snapshot(11, &[(Metric::CpuUsage, 500_000_000)]);
    assert_eq!(report(Some(&before), &now).real(Metric::CpuUsageCores), Some(0.5));
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
    assert_eq!(report(None, &now).get(Metric::MemoryPercent).unwrap_err().as_str(), "memory.max: permission denied");
}

#[test]
fn a_counter_that_went_back_has_no_rate_and_says_so() {
    let (before, now) = (snapshot(1, &[(Metric::CpuUsage, 9)]), snapshot(2, &[(Metric::CpuUsage, 3)]));
    assert_eq!(
        report(Some(&before), &now).get(Metric::CpuUsageCores).unwrap_err().as_str(),
        "the counter cpu.usage_seconds went back"
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

/// Percent of the time that was lost in one second: CPU time used and lost, and enforced periods of a tenth of a
/// second.
fn throttled(used: u64, lost: u64, periods: u64) -> Option<f64> {
    let milliseconds = 1_000_000;
    let before = [Metric::CpuUsage, Metric::CpuThrottledTime, Metric::CpuPeriods].map(|metric| (metric, 0));
    let now = [
        (Metric::CpuUsage, used * milliseconds),
        (Metric::CpuThrottledTime, lost * milliseconds),
        (Metric::CpuPeriods, periods),
        (Metric::CpuPeriod, 100 * milliseconds),
        (Metric::CpuLevel, 0),
    ];
    report(Some(&snapshot(1, &before)), &snapshot(2, &now)).real(Metric::CpuThrottledPercent).map(f64::round)
}

#[test]
fn throttling_is_the_time_that_was_lost_and_not_the_periods() {
    assert_eq!(throttled(200, 800, 10), Some(80.0), "one busy task with a fifth of a CPU");
    assert_eq!(throttled(1_000, 19_000, 10), Some(95.0), "twenty tasks with one CPU");
    assert_eq!(throttled(19_000, 1_000, 10), Some(5.0), "twenty tasks with nineteen CPUs, throttled in each period");
    assert_eq!(throttled(20, 90, 2), Some(9.0), "one request a second that waits once");
    assert_eq!(throttled(500, 0, 0), Some(0.0));
}

#[test]
fn a_limit_that_siblings_share_is_judged_by_what_all_of_them_use() {
    let machine = [(Metric::MachineCpus, 8), (Metric::MachineMemory, 10_000)];
    let own = [
        (Metric::CpuUsage, 500_000_000),
        (Metric::CpuLimit, 2_000_000),
        (Metric::MemoryUsage, 300),
        (Metric::MemoryInactiveFile, 100),
        (Metric::MemoryLimit, 1_000),
        (Metric::Threads, 10),
        (Metric::PidsLimit, 100),
    ];
    let level = |level: u64| {
        let levels = [Metric::CpuLevel, Metric::MemoryLimitLevel, Metric::PidsLimitLevel].map(|metric| (metric, level));
        let above =
            [(Metric::CpuLevelUsage, 1_800_000_000), (Metric::MemoryLevelUsage, 900), (Metric::PidsLevelUsage, 95)];
        let before = snapshot(1, &[(Metric::CpuUsage, 0), (Metric::CpuLevelUsage, 0)]);
        let mut now = snapshot(2, &[&machine[..], &own, &levels, &above].concat());
        let path = "/pod/web".to_owned();
        now.cgroups.get_mut(&CgroupId(7)).unwrap().identity = Identity { path, ..Identity::default() }.into();
        let container = report(Some(&before), &now);
        let used = [Metric::CpuLimitUsed, Metric::MemoryLimitUsed, Metric::PidsLimitUsed];
        let names = LIMITS.map(|(_, level)| container.limiting(level).map(str::to_owned));
        (used.map(|metric| container.real(metric).map(f64::round)), names)
    };
    let named = |path: &str| [(); 3].map(|()| Some(path.to_owned()));
    assert_eq!(level(0), ([Some(25.0), Some(20.0), Some(10.0)], named("/pod/web")));
    assert_eq!(level(1), ([Some(90.0), Some(90.0), Some(95.0)], named("/pod")));
    assert_eq!(level(2).1, named("/"));
}

#[test]
fn a_cpuset_limits_only_where_it_is_smaller_than_the_machine() {
    let used = |cpus| {
        let before = snapshot(1, &[(Metric::CpuUsage, 0)]);
        let now = [(Metric::CpuUsage, 1_000_000_000), (Metric::CpuLimit, NO_LIMIT), (Metric::MachineCpus, 4)];
        let now = snapshot(2, &[&now[..], &[(Metric::CpusetCount, cpus), (Metric::CpuLevel, 0)]].concat());
        let container = report(Some(&before), &now);
        (container.real(Metric::CpuLimitUsed), container.limiting(Metric::CpuLimitLevel).is_some())
    };
    assert_eq!([used(2), used(4)], [(Some(50.0), true), (None, false)]);
}

#[test]
fn a_limit_that_is_not_visible_is_not_said_to_be_unset() {
    let machine = (Metric::MachineMemory, 1000);
    let now = snapshot(1, &[(Metric::MemoryUsage, 100), (Metric::MemoryLimit, NOT_VISIBLE), machine]);
    let cause = report(None, &now).get(Metric::MemoryLimit).unwrap_err().clone();
    assert!(cause.as_str().contains("not visible from here") && cause.kind() == CauseKind::NoLimit, "{cause}");
    assert_eq!(Cause::written(cause.as_str()), cause);
    assert_eq!(report(None, &now).real(Metric::MemoryPercent), Some(10.0));
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
