//! What is wrong with a container, in words: what a person should see first.

use std::cmp::Reverse;
use std::time::Duration;

use super::amount::{long, short};
use super::row::Row;
use crate::events::{FULL, Level, THROTTLED};
use crate::metrics::{Metric, Unit};

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Trouble {
    /// How bad it is.
    pub level: Level,
    /// What it is, and why.
    pub words: String,
    /// The number that tells of it, if one does.
    pub metric: Option<Metric>,
}

/// A number with two bounds.
struct Rule {
    metric: Metric,
    value: fn(&Row) -> Option<f64>,
    warn: f64,
    error: f64,
    words: fn(&Row, f64) -> String,
}

/// No value is as bad as an error.
const NEVER: f64 = f64::INFINITY;

/// What kills comes first, then what stands still, then what is slow. The page judges by the same bounds (`trouble.js`).
const RULES: &[Rule] = &[
    Rule {
        metric: Metric::MemoryPercent,
        value: memory,
        warn: FULL,
        error: 97.0,
        words: |row, value| format!("memory {value:.0}% of {}", limit(row, Metric::MemoryLimit, "the machine")),
    },
    Rule {
        metric: Metric::PidsLimit,
        value: |row| share(row, Metric::Threads, Metric::PidsLimit),
        warn: 90.0,
        error: 99.0,
        words: |row, value| {
            format!(
                "tasks {value:.0}% of {}: no more can be started beyond",
                limit(row, Metric::PidsLimit, "their limit")
            )
        },
    },
    Rule {
        metric: Metric::DescriptorsNearest,
        value: |row| row.number(Metric::DescriptorsNearest),
        warn: 90.0,
        error: 98.0,
        words: |_, value| format!("a process has {value:.0}% of its descriptors"),
    },
    Rule {
        metric: Metric::DiskPercent,
        value: |row| row.number(Metric::DiskPercent),
        warn: 90.0,
        error: 97.0,
        words: |row, value| format!("disk {value:.0}% of {}", limit(row, Metric::DiskTotal, "its filesystem")),
    },
    Rule {
        metric: Metric::InodesUsed,
        value: |row| share(row, Metric::InodesUsed, Metric::InodesTotal),
        warn: 90.0,
        error: 97.0,
        words: |_, value| format!("inodes {value:.0}% used"),
    },
    Rule {
        metric: Metric::CpuThrottledPercent,
        value: |row| row.number(Metric::CpuThrottledPercent),
        warn: THROTTLED,
        error: 50.0,
        words: |row, value| format!("throttled {value:.0}% at {}", limit(row, Metric::CpuLimit, "its limit")),
    },
    Rule {
        metric: Metric::MemoryPressureFull,
        value: |row| row.number(Metric::MemoryPressureFull),
        warn: 5.0,
        error: 25.0,
        words: |_, value| format!("stalled for memory {value:.0}% of time"),
    },
    Rule {
        metric: Metric::IoPressure,
        value: |row| row.number(Metric::IoPressure),
        warn: 40.0,
        error: NEVER,
        words: |_, value| format!("waits for disks {value:.0}% of time"),
    },
    Rule {
        metric: Metric::CpuPercent,
        value: |row| unless_throttled(row, Metric::CpuPercent),
        warn: 95.0,
        error: NEVER,
        words: |_, value| format!("CPU {value:.0}% of its allowance"),
    },
    Rule {
        metric: Metric::CpuPressure,
        value: |row| unless_throttled(row, Metric::CpuPressure),
        warn: 50.0,
        error: NEVER,
        words: |_, value| format!("waits for a CPU {value:.0}% of time"),
    },
];

/// What is wrong by a container's numbers and its state, worst first.
pub fn of(row: &Row) -> Vec<Trouble> {
    let mut troubles: Vec<Trouble> = RULES.iter().filter_map(|rule| judge(rule, row)).collect();
    match row.status.as_str() {
        "exited" => troubles.push(Trouble::new(Level::Warn, "it has ended")),
        "paused" => troubles.push(Trouble::new(Level::Info, "it is frozen")),
        _ => {}
    }
    sort(&mut troubles);
    troubles
}

/// Worst first; what is equally bad stays as it is.
pub fn sort(troubles: &mut [Trouble]) {
    troubles.sort_by_key(|trouble| Reverse(trouble.level));
}

/// How bad a number is.
pub fn level(row: &Row, metric: Metric) -> Level {
    let about = row.troubles.iter().filter(|trouble| trouble.metric == Some(metric));
    about.map(|trouble| trouble.level).max().unwrap_or(Level::Info)
}

fn judge(rule: &Rule, row: &Row) -> Option<Trouble> {
    let value = (rule.value)(row)?;
    let level = match value {
        value if value >= rule.error => Level::Error,
        value if value >= rule.warn => Level::Warn,
        _ => return None,
    };
    Some(Trouble { level, words: (rule.words)(row, value), metric: Some(rule.metric) })
}

/// Page cache gives way when memory is short, so what counts is the working set.
fn memory(row: &Row) -> Option<f64> {
    share(row, Metric::MemoryWorkingSet, Metric::MemoryLimit).or_else(|| row.number(Metric::MemoryPercent))
}

fn share(row: &Row, part: Metric, whole: Metric) -> Option<f64> {
    let whole = row.number(whole).filter(|whole| *whole > 0.0)?;
    Some(row.number(part)? / whole * 100.0)
}

/// What throttling explains is not said again.
fn unless_throttled(row: &Row, metric: Metric) -> Option<f64> {
    let throttled = row.number(Metric::CpuThrottledPercent).is_some_and(|share| share >= THROTTLED);
    row.number(metric).filter(|_| !throttled)
}

fn limit(row: &Row, metric: Metric, otherwise: &str) -> String {
    match (row.number(metric), metric.spec().unit) {
        (Some(value), Unit::Cores) => format!("{} CPUs", short(value, Unit::Cores)),
        (Some(value), unit) => long(value, unit),
        (None, _) => otherwise.to_owned(),
    }
}

impl Trouble {
    fn new(level: Level, words: impl Into<String>) -> Self {
        Self { level, words: words.into(), metric: None }
    }

    /// The agent is late.
    pub fn late(age: Duration) -> Self {
        Self::new(Level::Warn, format!("its latest report is {} old", span(age)))
    }

    /// The agent has stopped writing.
    pub fn silent(age: Duration) -> Self {
        let why = "its agent is dead or cannot reach Valkey";
        Self::new(Level::Error, format!("no report for {}: {why}", span(age)))
    }

    /// The kernel killed processes while somebody was looking.
    pub fn out_of_memory(kills: u64, within: Duration) -> Self {
        let what = if kills == 1 { "a process".to_owned() } else { format!("{kills} processes") };
        let words = format!("out of memory: the kernel killed {what} in the last {}", span(within));
        Self { metric: Some(Metric::OomKills), ..Self::new(Level::Error, words) }
    }
}

fn span(time: Duration) -> String {
    long(time.as_secs_f64(), Unit::Seconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::views::sample::row;

    fn words(numbers: &[(Metric, u64)]) -> Vec<(Level, String)> {
        of(&row("web", numbers)).into_iter().map(|trouble| (trouble.level, trouble.words)).collect()
    }

    #[test]
    fn a_container_that_is_well_has_no_trouble() {
        assert_eq!(words(&[(Metric::MemoryUsage, 89), (Metric::MemoryLimit, 100), (Metric::MachineMemory, 1000)]), []);
    }

    #[test]
    fn the_worst_comes_first_and_names_the_limit() {
        let full = [(Metric::MemoryUsage, 98), (Metric::MemoryLimit, 100), (Metric::MachineMemory, 1000)];
        let slow = [(Metric::CpuPressure, 6_000), (Metric::Threads, 95), (Metric::PidsLimit, 100)];
        let all: Vec<_> = slow.into_iter().chain(full).collect();
        assert_eq!(
            words(&all),
            [
                (Level::Error, "memory 98% of 100 B".to_owned()),
                (Level::Warn, "tasks 95% of 100: no more can be started beyond".to_owned()),
                (Level::Warn, "waits for a CPU 60% of time".to_owned()),
            ]
        );
    }

    #[test]
    fn the_page_judges_by_the_same_bounds() {
        let page = include_str!("../http/page/trouble.js");
        let bounds =
            page.split("const BOUNDS = [").nth(1).and_then(|rest| rest.split("\n];").next()).unwrap_or_default();
        let rows: Vec<&str> = bounds.lines().filter_map(|line| line.strip_prefix("  ['")).collect();
        assert_eq!(rows.len(), RULES.len());
        for (row, rule) in rows.iter().zip(RULES) {
            let error = if rule.error == NEVER { "Infinity".to_owned() } else { rule.error.to_string() };
            let expected = format!("{}', {}, {error}, ", rule.metric.spec().name(), rule.warn);
            assert!(row.starts_with(&expected), "{row} is not {expected}");
        }
    }

    #[test]
    fn the_number_behind_a_trouble_is_known() {
        let row = row("web", &[(Metric::DescriptorsNearest, 9_900)]);
        assert_eq!(level(&row, Metric::DescriptorsNearest), Level::Error);
        assert_eq!(level(&row, Metric::MemoryPercent), Level::Info);
    }
}
