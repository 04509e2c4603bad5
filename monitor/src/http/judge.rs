//! The findings about all containers, out of the frames that the server has seen.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::ser::{Serialize, SerializeStruct, Serializer};

use super::frame::Frame;
use super::view::ContainerView;
use crate::findings::{self, Evidence, Finding, GRACE, Reporting, Timeline};
use crate::metrics::Metric;
use crate::snapshot::Status;

/// Time for which an exited container has findings.
const EXITED: Duration = Duration::from_secs(60);
/// Time for which a silent container has findings.
const SILENT: Duration = Duration::from_secs(10 * 60);

/// State of one container.
#[derive(Debug, Default)]
struct Watched {
    timeline: Timeline,
    /// The time of its latest report.
    reported: Option<SystemTime>,
    /// The time at which that arrived, on our clock.
    seen: Option<SystemTime>,
    /// Its last report, once it has exited between two frames.
    last: Option<ContainerView>,
}

/// Judges the containers of frames by their numbers and by earlier frames.
#[derive(Debug)]
pub(super) struct Judge {
    /// The time between two frames.
    interval: Duration,
    containers: BTreeMap<String, Watched>,
}

/// A finding with its container.
#[derive(Debug)]
pub(super) struct ContainerFinding {
    container: String,
    finding: Finding,
}

impl Judge {
    /// Creates a judge for frames that come at an interval.
    pub(super) fn new(interval: Duration) -> Self {
        Self { interval, containers: BTreeMap::new() }
    }

    /// Takes a frame of all containers.
    pub(super) fn observe(&mut self, frame: &Frame) {
        for view in &frame.containers {
            self.watch(view, frame.taken).last = None;
        }
        self.containers.retain(|name, watched| {
            let age = watched.age(frame.taken);
            frame.find(name).is_some() || age <= if watched.last.is_some() { EXITED } else { SILENT }
        });
    }

    /// Takes a frame of containers that have exited since the last one of all.
    pub(super) fn observe_exited(&mut self, frame: &Frame) {
        for view in &frame.containers {
            self.watch(view, frame.taken).last = Some(view.clone());
        }
    }

    fn watch(&mut self, view: &ContainerView, taken: SystemTime) -> &mut Watched {
        let watched = self.containers.entry(view.name().to_owned()).or_default();
        let at = view.taken().unwrap_or(taken);
        // A report out of Valkey may have been seen before.
        if watched.reported != Some(at) {
            watched.reported = Some(at);
            watched.seen = Some(view.seen().unwrap_or(taken));
            watched.timeline.observe(at, view.real(Metric::OomKills), view.real(Metric::Uptime));
        }
        watched
    }

    /// Takes the time of a container's latest OOM kill from its history.
    pub(super) fn learn(&mut self, container: &str, kill: SystemTime) {
        if let Some(watched) = self.containers.get_mut(container) {
            watched.timeline.learn(kill);
        }
    }

    /// Returns the findings about the containers of a frame, and about those that left it lately: the worst container
    /// first, its worst finding first.
    pub(super) fn findings(&self, frame: &Frame) -> Vec<ContainerFinding> {
        let mut judged: Vec<(&str, Vec<Finding>)> = self
            .containers
            .iter()
            .map(|(name, watched)| (name.as_str(), self.judge(name, watched, frame)))
            .filter(|(_, findings)| !findings.is_empty())
            .collect();
        judged.sort_by(|(a_name, a), (b_name, b)| findings::compare(b, a).then_with(|| a_name.cmp(b_name)));
        let one = |(name, findings): (&str, Vec<Finding>)| {
            let container = name.to_owned();
            findings.into_iter().map(move |finding| ContainerFinding { container: container.clone(), finding })
        };
        judged.into_iter().flat_map(one).collect()
    }

    fn judge(&self, name: &str, watched: &Watched, frame: &Frame) -> Vec<Finding> {
        let now = frame.taken;
        let age = watched.age(now);
        let view = frame.find(name).or(watched.last.as_ref());
        let status = match view {
            Some(_) if watched.last.is_some() => Some(Status::Exited),
            Some(view) => view.status(),
            None => Some(Status::Running),
        };
        let reporting = match status {
            None => Reporting::Expired(age),
            Some(status) => {
                let own = view.and_then(ContainerView::interval);
                let interval = Some(own.map_or(self.interval, |own| own.max(self.interval)));
                let grace = if view.is_some_and(|view| view.taken().is_some()) { GRACE } else { Duration::ZERO };
                Reporting::Present { status, age, interval, grace }
            }
        };
        if age > if status == Some(Status::Exited) { EXITED } else { SILENT } {
            return Vec::new();
        }
        let numbers = |metric| view.and_then(|view| view.real(metric));
        let clock = view.and_then(ContainerView::clock);
        findings::judge(&Evidence { numbers: &numbers, reporting, clock, timeline: &watched.timeline, now })
    }
}

impl Watched {
    fn age(&self, now: SystemTime) -> Duration {
        self.seen.and_then(|seen| now.duration_since(seen).ok()).unwrap_or_default()
    }
}

impl Serialize for ContainerFinding {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Finding { kind, level, text } = &self.finding;
        let mut fields = serializer.serialize_struct("Finding", 5)?;
        fields.serialize_field("container", &self.container)?;
        fields.serialize_field("kind", kind.as_str())?;
        fields.serialize_field("level", level.as_str())?;
        fields.serialize_field("field", kind.metric().map_or("status", |metric| metric.spec().name()))?;
        fields.serialize_field("text", text)?;
        fields.end()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::report::Report;
    use crate::snapshot::{CgroupId, Identity, Snapshot, Stamp};

    const INTERVAL: Duration = Duration::from_secs(5);

    /// A frame of containers: name, OOM kills, and the percentage of their descriptors that is in use.
    fn frame(second: u64, containers: &[(&str, u64, u64)]) -> Frame {
        let mono = Duration::from_secs(second);
        let mut now =
            Snapshot::new(Stamp { mono, wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000) + mono });
        for (id, (name, kills, descriptors)) in (1..).zip(containers) {
            let cgroup = now.cgroups.entry(CgroupId(id)).or_default();
            cgroup.identity = Identity { name: (*name).to_owned(), ..Identity::default() }.into();
            cgroup.values.put(Metric::OomKills, 0, *kills);
            cgroup.values.put(Metric::Uptime, 0, 100_000 + second);
            cgroup.values.put(Metric::DescriptorsNearest, 0, descriptors * 100);
        }
        Frame::reported(&Arc::new(Report::new(None, &now, Duration::ZERO)))
    }

    fn told(judge: &Judge, frame: &Frame) -> Vec<String> {
        let text = |found: ContainerFinding| {
            format!("{} {} {}", found.container, found.finding.level.as_str(), found.finding.text)
        };
        judge.findings(frame).into_iter().map(text).collect()
    }

    #[test]
    fn the_worst_container_comes_first_and_a_calm_one_not_at_all() {
        let mut judge = Judge::new(INTERVAL);
        judge.observe(&frame(0, &[("a", 0, 10), ("b", 0, 91), ("c", 0, 99), ("d", 4, 10)]));
        let now = frame(5, &[("a", 0, 10), ("b", 0, 91), ("c", 0, 99), ("d", 5, 10)]);
        judge.observe(&now);
        assert_eq!(
            told(&judge, &now),
            [
                "d ERROR OOM kill just now",
                "c ERROR a process at 99 % of its descriptors",
                "b WARN a process at 91 % of its descriptors"
            ]
        );
        let json = serde_json::to_value(judge.findings(&now)).unwrap();
        assert_eq!(json[2]["field"], "descriptors.limit_highest_percent");
        assert_eq!((&json[2]["kind"], &json[2]["level"]), (&"descriptors".into(), &"WARN".into()));
    }

    #[test]
    fn a_container_that_exits_has_findings_for_a_minute() {
        let mut judge = Judge::new(INTERVAL);
        judge.observe(&frame(0, &[("job", 0, 10)]));
        judge.observe_exited(&frame(3, &[("job", 1, 10)]));
        let later = frame(5, &[]);
        judge.observe(&later);
        assert_eq!(told(&judge, &later), ["job ERROR OOM kill 2 s ago", "job INFO ended 2 s ago"]);
        let last = frame(64, &[]);
        judge.observe(&last);
        assert_eq!(told(&judge, &last), [""; 0]);
        assert!(judge.containers.is_empty());
    }

    #[test]
    fn one_that_is_missing_is_late_then_lost_then_forgotten() {
        let mut judge = Judge::new(INTERVAL);
        judge.observe(&frame(0, &[("web", 0, 10)]));
        for (second, expected) in
            [(15, ""), (16, "web WARN no report for 16 s"), (31, "web ERROR no report for 31 s"), (601, "")]
        {
            let now = frame(second, &[]);
            judge.observe(&now);
            assert_eq!(told(&judge, &now).first().map_or("", String::as_str), expected);
        }
        assert!(judge.containers.is_empty());
    }

    #[test]
    fn a_history_dates_a_kill_of_before() {
        let mut judge = Judge::new(INTERVAL);
        let now = frame(0, &[("web", 3, 10)]);
        judge.observe(&now);
        assert_eq!(told(&judge, &now), [""; 0], "some time in a day");
        judge.learn("web", now.taken - Duration::from_secs(120));
        assert_eq!(told(&judge, &now), ["web ERROR OOM kill 2 min ago"]);
    }
}
