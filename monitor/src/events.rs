//! What is worth a log entry: what changed between one report and the next. Pure.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::SystemTime;

use crate::metrics::{GROUPS, Metric};
use crate::report::{Container, Number};
use crate::snapshot::Status;

/// Severity of a log entry; readers test for the exact words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something works as it should.
    Info,
    /// Someone should look.
    Warn,
    /// Something is broken or was killed.
    Error,
}

impl Level {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "INFO",
            Self::Warn => "WARN",
            Self::Error => "ERROR",
        }
    }

    /// The level of a word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Info, Self::Warn, Self::Error].into_iter().find(|level| level.as_str() == word)
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// How bad it is.
    pub level: Level,
    /// What it is, for an operator.
    pub message: String,
}

impl Event {
    /// Something that happened.
    pub fn new(level: Level, message: impl Into<String>) -> Self {
        Self { level, message: message.into() }
    }
}

/// Something that happened, as it is written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When.
    pub at: SystemTime,
    /// What.
    pub event: Event,
}

/// What the agent says last of a container that has ended.
pub const ENDED: &str = "the container has ended";
/// What it says last of everything when it stops.
pub const STOPS: &str = "the agent stops";

/// A number that has a bound, with another one for the way back, so that a value on the bound does not chatter.
struct Threshold {
    metric: Metric,
    above: f64,
    below: f64,
    what: &'static str,
}

/// Percent of the periods from which on a container counts as throttled.
pub const THROTTLED: f64 = 10.0;
/// Percent of a limit from which on memory counts as full.
pub const FULL: f64 = 90.0;

const THRESHOLDS: &[Threshold] = &[
    Threshold {
        metric: Metric::CpuThrottledPercent,
        above: THROTTLED,
        below: 5.0,
        what: "CPU throttled, percent of the periods",
    },
    Threshold { metric: Metric::MemoryPercent, above: FULL, below: 85.0, what: "memory in use, percent of the limit" },
];

/// Watches one container.
#[derive(Debug, Default)]
pub struct Watch {
    backends: BTreeMap<&'static str, &'static str>,
    lost: BTreeMap<&'static str, &'static str>,
    oom_kills: Option<(&'static str, u64)>,
    exceeded: Vec<Metric>,
    status: Option<Status>,
}

impl Watch {
    /// What happened since the last call. The first call is the state that everything is compared with; what is
    /// beyond a bound then is said.
    pub fn events(&mut self, container: &Container) -> Vec<Event> {
        let mut events = Vec::new();
        for (group, metric) in GROUPS {
            events.extend(self.source(group, container, *metric));
        }
        events.extend(self.oom(container));
        for threshold in THRESHOLDS {
            events.extend(self.threshold(threshold, container));
        }
        events.extend(self.life(container.status));
        events
    }

    fn source(&mut self, group: &'static str, container: &Container, metric: Metric) -> Option<Event> {
        let Some(origin) = container.origins.of(metric) else {
            let before = self.backends.remove(group)?;
            self.lost.insert(group, before);
            let cause = container.get(metric).err().map_or("", |cause| cause.as_str());
            return Some(Event::new(Level::Warn, format!("{group} is lost, was read from {before}: {cause}")));
        };
        let now = origin.backend();
        let before = self.backends.insert(group, now);
        match (before, self.lost.remove(group)) {
            (None, Some(_)) => Some(Event::new(Level::Info, format!("{group} is back, read from {now}"))),
            (Some(before), _) if before != now => {
                Some(Event::new(Level::Warn, format!("{group} is now read from {now}, no longer from {before}")))
            }
            _ => None,
        }
    }

    fn oom(&mut self, container: &Container) -> Option<Event> {
        let Ok(Number::Whole(kills)) = container.get(Metric::OomKills) else { return None };
        let backend = container.origins.of(Metric::OomKills)?.backend();
        let known = match (self.oom_kills.replace((backend, kills)), container.status) {
            (Some((before, known)), _) if before == backend => known,
            // The last report may have the number from elsewhere, and be the first one.
            (known, Status::Exited) => known.map_or(0, |(_, known)| known),
            _ => return None,
        };
        let more = kills.checked_sub(known).filter(|more| *more > 0)?;
        let plural = if more == 1 { "process" } else { "processes" };
        Some(Event::new(Level::Error, format!("out of memory: the kernel killed {more} {plural}, {kills} in all")))
    }

    fn threshold(&mut self, threshold: &Threshold, container: &Container) -> Option<Event> {
        let value = container.real(threshold.metric)?;
        let exceeded = self.exceeded.contains(&threshold.metric);
        if !exceeded && value > threshold.above {
            self.exceeded.push(threshold.metric);
            return Some(Event::new(Level::Warn, format!("{}: {value:.1}", threshold.what)));
        }
        if exceeded && value < threshold.below {
            self.exceeded.retain(|metric| *metric != threshold.metric);
            return Some(Event::new(Level::Info, format!("{}: {value:.1} again", threshold.what)));
        }
        None
    }

    fn life(&mut self, now: Status) -> Option<Event> {
        let before = self.status.replace(now)?;
        let message = match (before, now) {
            (_, Status::Paused) => "the container is frozen",
            (Status::Paused, Status::Running) => "the container runs again",
            _ => return None,
        };
        (before != now).then(|| Event::new(Level::Info, message))
    }
}

/// Whether an entry's message is a heartbeat: it says what numbers are read from.
pub fn is_heartbeat(message: &str) -> bool {
    message.contains("sources: ")
}

/// What the agent sees, in one line: what a reader of the log gets although nothing happened.
pub fn heartbeat(container: &Container) -> String {
    let mut text = String::new();
    let mut say = |metric, unit: &str, divisor: f64, digits: usize| {
        if let Some(value) = container.real(metric) {
            // Writing to a text cannot fail.
            _ = write!(text, "{:.digits$}{unit}, ", value / divisor);
        }
    };
    say(Metric::CpuPercent, " % CPU", 1.0, 1);
    say(Metric::MemoryUsage, " MiB", 1_048_576.0, 1);
    say(Metric::MemoryPercent, " % of memory", 1.0, 1);
    say(Metric::ProcessCount, " processes", 1.0, 0);
    say(Metric::FileDescriptors, " descriptors", 1.0, 0);
    let (there, absent): (Vec<_>, Vec<_>) = GROUPS
        .iter()
        .map(|(group, metric)| (group, container.origins.of(*metric)))
        .partition(|(_, origin)| origin.is_some());
    let there: Vec<String> = there
        .iter()
        .filter_map(|(group, origin)| Some(format!("{group} from {}", origin.as_ref()?.backend())))
        .collect();
    let absent: Vec<&str> = absent.iter().map(|(group, _)| **group).collect();
    _ = write!(text, "sources: {}", there.join(", "));
    if !absent.is_empty() {
        _ = write!(text, "; absent: {}", absent.join(", "));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cause::{Cause, CauseKind};
    use crate::report::Report;
    use crate::snapshot::{CgroupId, Snapshot, Stamp};

    fn container(values: &[(Metric, u8, u64)]) -> Container {
        let mut now = Snapshot::new(Stamp { mono: Duration::from_secs(1), wall: SystemTime::UNIX_EPOCH });
        let cgroup = now.cgroups.entry(CgroupId(1)).or_default();
        cgroup.values.miss(Metric::CpuUsage, 9, Cause::new(CauseKind::Exited, "cpu.stat: no such device"));
        for &(metric, rank, value) in values {
            if metric.is_shared() { &mut now.host.values } else { &mut cgroup.values }.put(metric, rank, value);
        }
        Report::new(None, &now, Duration::ZERO).containers.remove(0)
    }

    fn texts(events: Vec<Event>) -> Vec<String> {
        events.into_iter().map(|event| format!("{} {}", event.level.as_str(), event.message)).collect()
    }

    #[test]
    fn a_source_that_is_lost_and_comes_back_is_said_once_each() {
        let mut watch = Watch::default();
        let there = container(&[(Metric::CpuUsage, 1, 1)]);
        assert!(watch.events(&there).is_empty());
        assert_eq!(
            texts(watch.events(&container(&[]))),
            ["WARN cpu is lost, was read from cgroup2: cpu.stat: no such device"]
        );
        assert!(watch.events(&container(&[])).is_empty());
        assert_eq!(texts(watch.events(&there)), ["INFO cpu is back, read from cgroup2"]);
    }

    #[test]
    fn what_was_never_there_and_appears_is_no_event_and_another_source_is_one() {
        let mut watch = Watch::default();
        watch.events(&container(&[]));
        assert!(watch.events(&container(&[(Metric::CpuUsage, 2, 1)])).is_empty());
        let other = container(&[(Metric::CpuUsage, 1, 1)]);
        assert_eq!(texts(watch.events(&other)), ["WARN cpu is now read from cgroup2, no longer from cgroup1"]);
    }

    #[test]
    fn an_oom_kill_is_an_error_and_counted() {
        let mut watch = Watch::default();
        assert!(watch.events(&container(&[(Metric::OomKills, 0, 3)])).is_empty());
        let now = container(&[(Metric::OomKills, 0, 5)]);
        assert_eq!(texts(watch.events(&now)), ["ERROR out of memory: the kernel killed 2 processes, 5 in all"]);
        assert!(watch.events(&now).is_empty());
    }

    #[test]
    fn a_kill_that_only_the_last_report_knows_of_is_said() {
        let ended = |kills| {
            let mut container = container(&[(Metric::OomKills, 2, kills)]);
            container.status = Status::Exited;
            container
        };
        assert_eq!(
            texts(Watch::default().events(&ended(1)))[0],
            "ERROR out of memory: the kernel killed 1 process, 1 in all"
        );
        let mut watch = Watch::default();
        watch.events(&container(&[(Metric::OomKills, 0, 1)]));
        assert!(!texts(watch.events(&ended(1))).iter().any(|text| text.contains("memory")));
    }

    #[test]
    fn memory_beyond_its_bound_does_not_chatter() {
        let mut watch = Watch::default();
        let mut at = |percent: u64| {
            texts(watch.events(&container(&[
                (Metric::MemoryUsage, 0, percent),
                (Metric::MemoryLimit, 0, 100),
                (Metric::MachineMemory, 0, 1000),
            ])))
        };
        assert_eq!(at(91), ["WARN memory in use, percent of the limit: 91.0"]);
        assert!(at(89).is_empty());
        assert!(at(92).is_empty());
        assert_eq!(at(80), ["INFO memory in use, percent of the limit: 80.0 again"]);
    }

    #[test]
    fn a_frozen_container_is_said() {
        let mut watch = Watch::default();
        watch.events(&container(&[]));
        assert_eq!(texts(watch.events(&container(&[(Metric::Frozen, 0, 1)]))), ["INFO the container is frozen"]);
        assert_eq!(texts(watch.events(&container(&[]))), ["INFO the container runs again"]);
    }

    #[test]
    fn a_heartbeat_names_what_is_there_and_what_is_not() {
        let text = heartbeat(&container(&[(Metric::ProcessCount, 0, 3), (Metric::MemoryUsage, 2, 1 << 20)]));
        assert!(text.starts_with("1.0 MiB, 3 processes, sources: memory from cgroup2"), "{text}");
        assert!(text.contains("absent: cpu, network"), "{text}");
    }
}
