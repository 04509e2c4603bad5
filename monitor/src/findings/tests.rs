//! Findings out of plain numbers, and the places outside of the code that repeat the thresholds.

use std::cmp::Ordering;
use std::time::{Duration, SystemTime};

use super::*;
use crate::metrics::Metric;
use crate::snapshot::Status;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
}

fn texts(findings: Vec<Finding>) -> Vec<(Level, String)> {
    findings.into_iter().map(|finding| (finding.level, finding.text)).collect()
}

fn judged(numbers: &[(Metric, f64)]) -> Vec<(Level, String)> {
    texts(of_numbers(&|metric| numbers.iter().find(|(known, _)| *known == metric).map(|(_, value)| *value)))
}

fn reported(reporting: Reporting) -> Vec<(Level, String)> {
    texts(judge(&Evidence { numbers: &|_| None, reporting, clock: None, timeline: &Timeline::default(), now: at(0) }))
}

fn past(timeline: &Timeline, now: SystemTime) -> Vec<(Level, String)> {
    texts(judge(&Evidence {
        numbers: &|_| None,
        reporting: Reporting::now(Status::Running),
        clock: None,
        timeline,
        now,
    }))
}

#[test]
fn numbers_below_their_thresholds_are_no_findings() {
    assert_eq!(judged(&[]), []);
    assert_eq!(judged(&[(Metric::MemoryWorkingSet, 89.0), (Metric::MemoryLimit, 100.0)]), []);
}

#[test]
fn the_worst_comes_first_and_names_the_limit() {
    let numbers = [
        (Metric::CpuPressure, 60.0),
        (Metric::Threads, 95.0),
        (Metric::PidsLimit, 100.0),
        (Metric::MemoryWorkingSet, 98.0),
        (Metric::MemoryPercent, 100.0),
        (Metric::MemoryLimit, 100.0),
    ];
    assert_eq!(
        judged(&numbers),
        [
            (Level::Error, "memory at 98 % of 100 B".to_owned()),
            (Level::Warn, "95 % of 100 tasks: no more can be started beyond".to_owned()),
            (Level::Warn, "waits for a CPU 60 % of the time".to_owned()),
        ]
    );
}

#[test]
fn page_cache_does_not_count_where_the_working_set_is_known() {
    let cached = [(Metric::MemoryPercent, 99.0), (Metric::MemoryWorkingSet, 50.0), (Metric::MemoryLimit, 100.0)];
    assert_eq!(judged(&cached), []);
    let full = [(Metric::MemoryPercent, 99.0), (Metric::MemoryWorkingSet, 92.0), (Metric::MemoryLimit, 100.0)];
    assert_eq!(judged(&full), [(Level::Warn, "memory at 92 % of 100 B, cache left out".to_owned())]);
    assert_eq!(
        judged(&[(Metric::MemoryPercent, 91.0)]),
        [(Level::Warn, "memory at 91 % of the machine's".to_owned())],
        "without a limit"
    );
}

#[test]
fn what_throttling_explains_is_not_said_twice() {
    let numbers = [(Metric::CpuPercent, 100.0), (Metric::CpuPressure, 90.0), (Metric::CpuUsageCores, 2.0)];
    assert_eq!(
        judged(&numbers),
        [
            (Level::Warn, "CPU at 100 % of 2 cores".to_owned()),
            (Level::Warn, "waits for a CPU 90 % of the time".to_owned())
        ]
    );
    let throttled = [&numbers[..], &[(Metric::CpuThrottledPercent, 60.0), (Metric::CpuLimit, 0.25)]].concat();
    assert_eq!(judged(&throttled), [(Level::Error, "throttled 60 % at 0.25 cores".to_owned())]);
}

#[test]
fn a_threshold_itself_is_a_finding_and_its_levels_are_in_order() {
    for threshold in THRESHOLDS {
        assert!(threshold.warn < threshold.error, "{threshold:?}");
        assert!(threshold.kind.metric().is_some(), "{threshold:?}");
    }
    assert!(THRESHOLDS.is_sorted_by_key(|threshold| threshold.kind));
    assert_eq!(judged(&[(Metric::DiskPercent, 90.0)])[0].0, Level::Warn);
    assert_eq!(judged(&[(Metric::DiskPercent, 97.0)])[0].0, Level::Error);
}

#[test]
fn a_late_report_is_a_warning_and_a_lost_one_an_error() {
    let present = |age, interval, grace| Reporting::Present { status: Status::Running, age, interval, grace };
    for (age, expected) in [(15, vec![]), (16, vec![Level::Warn]), (30, vec![Level::Warn]), (31, vec![Level::Error])] {
        let found = reported(present(SECOND * age, Some(SECOND * 5), Duration::ZERO));
        assert_eq!(found.iter().map(|(level, _)| *level).collect::<Vec<_>>(), expected, "{age}");
    }
    assert_eq!(reported(present(MINUTE, None, Duration::ZERO)), [], "no interval is known");
    assert_eq!(reported(present(SECOND * 29, Some(SECOND), GRACE)), []);
    assert_eq!(reported(present(SECOND * 31, Some(SECOND), GRACE)), [(Level::Warn, "no report for 31 s".to_owned())]);
}

#[test]
fn the_status_is_a_finding_unless_it_is_running() {
    let present = |status, age| Reporting::Present { status, age, interval: Some(SECOND), grace: Duration::ZERO };
    assert_eq!(reported(Reporting::now(Status::Running)), []);
    assert_eq!(reported(Reporting::now(Status::Paused)), [(Level::Info, "frozen".to_owned())]);
    assert_eq!(reported(present(Status::Exited, Duration::ZERO)), [(Level::Info, "ended just now".to_owned())]);
    assert_eq!(reported(present(Status::Exited, MINUTE * 3)), [(Level::Info, "ended 3 min ago".to_owned())]);
    let (level, text) = &reported(Reporting::Expired(MINUTE * 2))[0];
    assert_eq!(*level, Level::Error);
    assert!(text.starts_with("no report for 2 min: "), "{text}");
    assert!(reported(Reporting::Expired(Duration::ZERO))[0].1.starts_with("no report any more: "));
}

#[test]
fn an_oom_kill_that_was_seen_is_an_error_then_a_warning_then_forgotten() {
    let mut timeline = Timeline::default();
    timeline.observe(at(0), Some(7.0), Some(90_000.0));
    assert_eq!(past(&timeline, at(0)), [], "long before anybody looked");
    timeline.observe(at(5), Some(8.0), Some(90_005.0));
    timeline.observe(at(10), None, None);
    assert_eq!(past(&timeline, at(5)), [(Level::Error, "OOM kill just now".to_owned())]);
    assert_eq!(past(&timeline, at(5 + 300)), [(Level::Error, "OOM kill 5 min ago".to_owned())]);
    assert_eq!(past(&timeline, at(5 + 601)), [(Level::Warn, "OOM kill 10 min ago".to_owned())]);
    assert_eq!(past(&timeline, at(5 + 3600)), []);
}

#[test]
fn an_oom_kill_before_the_first_report_has_the_uptime_for_a_bound_until_its_time_is_learnt() {
    let mut timeline = Timeline::default();
    timeline.observe(at(0), Some(1.0), Some(1200.0));
    assert_eq!(past(&timeline, at(0)), [(Level::Warn, "OOM kill in the last 20 min".to_owned())]);
    timeline.learn(at(0) - MINUTE * 2);
    assert_eq!(past(&timeline, at(0)), [(Level::Error, "OOM kill 2 min ago".to_owned())]);
    timeline.learn(at(0) - MINUTE * 5);
    assert_eq!(past(&timeline, at(0)), [(Level::Error, "OOM kill 2 min ago".to_owned())], "one that is known stays");
}

#[test]
fn a_shorter_uptime_is_a_restart_and_no_number_of_an_agent_ends_anything() {
    let mut timeline = Timeline::default();
    timeline.observe(at(0), Some(0.0), Some(500.0));
    timeline.observe(at(5), Some(0.0), Some(499.0));
    assert_eq!(past(&timeline, at(5)), [], "uptimes are rounded");
    timeline.observe(at(60), Some(0.0), Some(1.0));
    assert_eq!(past(&timeline, at(61)), [(Level::Warn, "restarted 2 s ago".to_owned())]);
    assert_eq!(past(&timeline, at(60 + 600)), []);
    for hostile in [f64::MAX, f64::INFINITY, f64::NAN, -1.0, u64::MAX as f64, 0.0] {
        timeline.observe(at(70), Some(hostile), Some(hostile));
        _ = past(&timeline, at(71));
    }
}

#[test]
fn containers_compare_by_level_then_by_kind_then_by_count() {
    let finding = |kind, level| Finding { kind, level, text: String::new() };
    let memory = finding(FindingKind::Memory, Level::Warn);
    let cpu = finding(FindingKind::Cpu, Level::Warn);
    let throttled = finding(FindingKind::Throttled, Level::Error);
    let frozen = finding(FindingKind::Frozen, Level::Info);
    let order = [vec![throttled], vec![memory.clone(), cpu.clone()], vec![memory], vec![cpu], vec![frozen], vec![]];
    for pair in order.windows(2) {
        assert_eq!(compare(&pair[0], &pair[1]), Ordering::Greater, "{pair:?}");
    }
    assert_eq!(level_of(&order[0], Metric::CpuThrottledPercent), Level::Error);
    assert_eq!(level_of(&order[0], Metric::MemoryPercent), Level::Info);
}

#[test]
fn the_alert_rules_have_the_same_thresholds() {
    let alerts = include_str!("../../../deploy/grafana/alerts.yml");
    let expression = |name: &str| {
        let (_, rule) = alerts.split_once(&format!("alert: {name}\n")).unwrap();
        rule.lines().find_map(|line| line.trim().strip_prefix("expr: ")).unwrap()
    };
    for (name, kind, metric) in [
        ("ContainerThrottled", FindingKind::Throttled, "cpu_throttled"),
        ("ContainerMemoryNearLimit", FindingKind::Memory, "memory_limit_used"),
        ("ContainerDescriptorsNearLimit", FindingKind::Descriptors, "descriptors_limit_highest"),
        ("ContainerTasksNearLimit", FindingKind::Tasks, "processes_limit_used"),
    ] {
        let threshold = threshold(kind).unwrap();
        let field = format!("{metric}_percent");
        assert!(threshold.measures.replace('.', "_").contains(&field), "{name}: {}", threshold.measures);
        assert_eq!(expression(name), format!("system_monitor_{metric}_ratio >= {}", threshold.warn / 100.0));
    }
    assert!(expression("ContainerOutOfMemory").contains("[10m]"), "an OOM kill is an error for ten minutes");
    assert!(expression("AgentSilent").contains("> 3 * system_monitor_interval_seconds"), "late after three intervals");
}

#[test]
fn the_documents_have_the_same_thresholds() {
    let document = include_str!("../../../docs/findings.md");
    for threshold in THRESHOLDS {
        let error = if threshold.error.is_finite() { format!("{} %", threshold.error) } else { "–".to_owned() };
        let row =
            format!("| `{}` | {} | {} % | {error} |", threshold.kind.as_str(), threshold.measures, threshold.warn);
        assert!(document.contains(&row), "docs/findings.md lacks this row:\n{row}");
    }
}
