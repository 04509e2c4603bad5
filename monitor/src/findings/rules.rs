//! The thresholds, and the judge.

use std::time::SystemTime;

use super::clock::ClockOffset;
use super::finding::{Finding, FindingKind, sort};
use super::level::Level;
use super::silence::Reporting;
use super::timeline::Timeline;
use crate::amount::{long, short, size};
use crate::metrics::{Metric, Unit};

/// The numbers of a container.
type Numbers<'a> = &'a dyn Fn(Metric) -> Option<f64>;

/// A number in percent, and the values from which on it is a finding.
#[derive(Debug)]
pub struct Threshold {
    /// The finding.
    pub kind: FindingKind,
    /// [`Level::Warn`] from here on.
    pub warn: f64,
    /// [`Level::Error`] from here on; infinite for never.
    pub error: f64,
    /// The number, as the documents describe it.
    pub measures: &'static str,
    /// The log entries about it, if there are any.
    pub logged: Option<Logged>,
    measure: fn(Numbers<'_>) -> Option<f64>,
    text: fn(Numbers<'_>, f64) -> String,
}

/// The log entries about a number: one when it reaches [`Threshold::warn`], and one when it has fallen again.
#[derive(Debug, PartialEq)]
pub struct Logged {
    /// The number's words.
    pub words: &'static str,
    /// The number has fallen when it is below this, which is lower than the threshold, so that a number at the threshold
    /// does not write an entry at each reading.
    pub below: f64,
}

/// No value is as bad as an error.
const NEVER: f64 = f64::INFINITY;

/// All thresholds, in the order of [`FindingKind`].
pub const THRESHOLDS: &[Threshold] = &[
    Threshold {
        kind: FindingKind::Memory,
        warn: 90.0,
        error: 97.0,
        measures: "`memory.limit_used_percent`; without a limit the working set of the machine's memory",
        logged: Some(Logged { words: "memory in use, percent of the limit", below: 85.0 }),
        measure: memory,
        text: |numbers, value| {
            let cache = numbers(Metric::MemoryPercent).is_some_and(|usage| usage - value > 2.0);
            let of = limit(numbers, Metric::MemoryLimit, "the machine's");
            format!("memory at {} of {of}{}", percent(value), if cache { ", cache left out" } else { "" })
        },
    },
    Threshold {
        kind: FindingKind::Tasks,
        warn: 90.0,
        error: 99.0,
        measures: "`processes.limit_used_percent`",
        logged: None,
        measure: |numbers| {
            numbers(Metric::PidsLimitUsed).or_else(|| share(numbers, Metric::Threads, Metric::PidsLimit))
        },
        text: |numbers, value| {
            let of = limit(numbers, Metric::PidsLimit, "its");
            format!("{} of {of} tasks: no more can be started beyond", percent(value))
        },
    },
    Threshold {
        kind: FindingKind::Descriptors,
        warn: 90.0,
        error: 98.0,
        measures: "`descriptors.limit_highest_percent`",
        logged: None,
        measure: |numbers| numbers(Metric::DescriptorsNearest),
        text: |_, value| format!("a process at {} of its descriptors", percent(value)),
    },
    Threshold {
        kind: FindingKind::Disk,
        warn: 90.0,
        error: 97.0,
        measures: "`disk_percent`",
        logged: None,
        measure: |numbers| numbers(Metric::DiskPercent),
        text: |numbers, value| {
            format!("disk at {} of {}", percent(value), limit(numbers, Metric::DiskTotal, "its filesystem"))
        },
    },
    Threshold {
        kind: FindingKind::Inodes,
        warn: 90.0,
        error: 97.0,
        measures: "`disk.inodes_used` of `disk.inodes_total`",
        logged: None,
        measure: |numbers| share(numbers, Metric::InodesUsed, Metric::InodesTotal),
        text: |_, value| format!("inodes {} used", percent(value)),
    },
    Threshold {
        kind: FindingKind::Throttled,
        warn: 10.0,
        error: 50.0,
        measures: "`cpu.throttled_percent`",
        logged: Some(Logged { words: "CPU throttled, percent of the time", below: 5.0 }),
        measure: |numbers| numbers(Metric::CpuThrottledPercent),
        text: |numbers, value| {
            let of = numbers(Metric::CpuLimit).map_or("of the time".to_owned(), |limit| format!("at {}", cores(limit)));
            format!("throttled {} {of}", percent(value))
        },
    },
    Threshold {
        kind: FindingKind::MemoryPressure,
        warn: 5.0,
        error: 25.0,
        measures: "`memory.pressure_full_avg10`",
        logged: None,
        measure: |numbers| numbers(Metric::MemoryPressureFull),
        text: |_, value| format!("stalled for memory {} of the time", percent(value)),
    },
    Threshold {
        kind: FindingKind::IoPressure,
        warn: 40.0,
        error: NEVER,
        measures: "`io.pressure_some_avg10`",
        logged: None,
        measure: |numbers| numbers(Metric::IoPressure),
        text: |_, value| format!("waits for disks {} of the time", percent(value)),
    },
    Threshold {
        kind: FindingKind::Cpu,
        warn: 95.0,
        error: NEVER,
        measures: "`cpu.limit_used_percent`, without a limit `cpu_percent`, unless it is throttled",
        logged: None,
        measure: |numbers| {
            unless_throttled(numbers, Metric::CpuLimitUsed).or_else(|| unless_throttled(numbers, Metric::CpuPercent))
        },
        text: |numbers, value| {
            let of = numbers(Metric::CpuUsageCores).map(|used| format!(" of {}", cores(used / value * 100.0)));
            format!("CPU at {}{}", percent(value), of.unwrap_or_default())
        },
    },
    Threshold {
        kind: FindingKind::CpuPressure,
        warn: 50.0,
        error: NEVER,
        measures: "`cpu.pressure_some_avg10`, unless it is throttled",
        logged: None,
        measure: |numbers| unless_throttled(numbers, Metric::CpuPressure),
        text: |_, value| format!("waits for a CPU {} of the time", percent(value)),
    },
];

/// Facts about a container that findings are made of.
pub struct Evidence<'a> {
    /// Its numbers.
    pub numbers: Numbers<'a>,
    /// The arrival of its reports.
    pub reporting: Reporting,
    /// The offset of its machine's clock, if that is known and large.
    pub clock: Option<ClockOffset>,
    /// Its past.
    pub timeline: &'a Timeline,
    /// The time of the judgement.
    pub now: SystemTime,
}

/// Returns the findings about a container, the worst first.
pub fn judge(evidence: &Evidence<'_>) -> Vec<Finding> {
    let mut findings = of_numbers(evidence.numbers);
    findings.extend(evidence.reporting.finding());
    findings.extend(evidence.clock.map(ClockOffset::finding));
    findings.extend(evidence.timeline.findings(evidence.now));
    sort(&mut findings);
    findings
}

/// Returns the findings about the numbers of a container, the worst first.
pub fn of_numbers(numbers: Numbers<'_>) -> Vec<Finding> {
    let mut findings: Vec<Finding> = THRESHOLDS.iter().filter_map(|threshold| threshold.finding(numbers)).collect();
    sort(&mut findings);
    findings
}

/// The threshold of a kind; `None` for a kind that is not about a number.
pub fn threshold(kind: FindingKind) -> Option<&'static Threshold> {
    THRESHOLDS.iter().find(|threshold| threshold.kind == kind)
}

/// The number that a kind is about, in percent.
pub fn measure(kind: FindingKind, numbers: Numbers<'_>) -> Option<f64> {
    (threshold(kind)?.measure)(numbers)
}

impl Threshold {
    fn finding(&self, numbers: Numbers<'_>) -> Option<Finding> {
        let value = (self.measure)(numbers)?;
        let level = match value {
            value if value >= self.error => Level::Error,
            value if value >= self.warn => Level::Warn,
            _ => return None,
        };
        Some(Finding { kind: self.kind, level, text: (self.text)(numbers, value) })
    }
}

/// Page cache gives way when memory is short, so the working set counts.
fn memory(numbers: Numbers<'_>) -> Option<f64> {
    let used =
        numbers(Metric::MemoryLimitUsed).or_else(|| share(numbers, Metric::MemoryWorkingSet, Metric::MemoryLimit));
    used.or_else(|| {
        let needed = share(numbers, Metric::MemoryWorkingSet, Metric::MemoryUsage).unwrap_or(100.0);
        Some(numbers(Metric::MemoryPercent)? * needed / 100.0)
    })
}

fn share(numbers: Numbers<'_>, part: Metric, whole: Metric) -> Option<f64> {
    let whole = numbers(whole).filter(|whole| *whole > 0.0)?;
    Some(numbers(part)? / whole * 100.0)
}

/// Returns a number, unless throttling already explains it.
fn unless_throttled(numbers: Numbers<'_>, metric: Metric) -> Option<f64> {
    let bound = threshold(FindingKind::Throttled)?.warn;
    let throttled = numbers(Metric::CpuThrottledPercent).is_some_and(|share| share >= bound);
    numbers(metric).filter(|_| !throttled)
}

fn limit(numbers: Numbers<'_>, metric: Metric, otherwise: &str) -> String {
    let shown = |value| match metric.spec().unit {
        Unit::Bytes => size(value),
        unit => long(value, unit),
    };
    numbers(metric).map_or_else(|| otherwise.to_owned(), shown)
}

fn cores(value: f64) -> String {
    let text = short(value, Unit::Cores);
    // Writes 0.25, but 2 instead of 2.00.
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text} cores")
}

fn percent(value: f64) -> String {
    format!("{value:.0} %")
}
