//! OOM kills of containers that have ended. The kill that ends a container is known with its last report only, when the
//! container has left the frame, so that no scrape would ever see it.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use super::frame::Frame;
use super::view::ContainerView;
use crate::metrics::Metric;
use crate::snapshot::Status;

/// Time for which the kills of a name that has ended are told.
const KEPT: Duration = Duration::from_secs(60 * 60);
/// The most names that are kept; then the one that ended first is dropped.
const MOST: usize = 1_000;

/// Labels of a sample.
pub(super) type OwnLabels = Vec<(&'static str, String)>;

/// The kills in the lives that a name has had.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ended {
    pub(super) kills: f64,
    /// The time of the last report.
    at: SystemTime,
}

/// The kills of ended containers, by the labels under which a container's kills are told. A container that starts again
/// under the same labels continues the count.
#[derive(Clone, Debug, Default)]
pub(super) struct EndedKills(BTreeMap<OwnLabels, Ended>);

impl EndedKills {
    /// Takes the containers of a frame that have ended.
    pub(super) fn observe(&mut self, frame: &Frame, labels: impl Fn(&ContainerView) -> OwnLabels) {
        for view in frame.containers.iter().filter(|view| view.status() == Some(Status::Exited)) {
            let kills = view.real(Metric::OomKills).unwrap_or(0.0);
            let at = view.taken().unwrap_or(frame.taken);
            if kills > 0.0 {
                let ended = self.0.entry(labels(view)).or_insert(Ended { kills: 0.0, at: SystemTime::UNIX_EPOCH });
                // A report out of Valkey is seen again until it expires.
                if at > ended.at {
                    *ended = Ended { kills: ended.kills + kills, at };
                }
            }
        }
    }

    /// Drops the names that ended long ago, unless a container of that name runs.
    pub(super) fn forget(&mut self, frame: &Frame, labels: impl Fn(&ContainerView) -> OwnLabels) {
        if self.0.is_empty() {
            return;
        }
        let is_recent = |at| frame.taken.duration_since(at).is_ok_and(|age| age <= KEPT);
        let running: Vec<OwnLabels> = frame.containers.iter().filter(|view| view.is_present()).map(labels).collect();
        self.0.retain(|known, ended| is_recent(ended.at) || running.contains(known));
        while self.0.len() > MOST {
            let oldest = self.0.iter().min_by_key(|(_, ended)| ended.at).map(|(labels, _)| labels.clone());
            oldest.iter().for_each(|labels| _ = self.0.remove(labels));
        }
    }

    /// The kills in earlier lives under these labels, which are then told.
    pub(super) fn take(&mut self, labels: &OwnLabels) -> f64 {
        self.0.remove(labels).map_or(0.0, |ended| ended.kills)
    }

    /// Returns the entries that were not taken.
    pub(super) fn rest(self) -> impl Iterator<Item = (OwnLabels, f64)> {
        self.0.into_iter().map(|(labels, ended)| (labels, ended.kills))
    }

    /// True if nothing is kept.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::report::Report;
    use crate::snapshot::{CgroupId, Identity, Snapshot, Stamp};

    fn frame(second: u64, containers: &[(&str, Status, u64)]) -> Frame {
        let mono = Duration::from_secs(second);
        let mut now = Snapshot::new(Stamp { mono, wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_000) + mono });
        for (id, (name, status, kills)) in (1..).zip(containers) {
            let cgroup = now.cgroups.entry(CgroupId(id)).or_default();
            cgroup.identity = Identity { name: (*name).to_owned(), ..Identity::default() }.into();
            cgroup.status = *status;
            cgroup.values.put(Metric::OomKills, 0, *kills);
        }
        Frame::reported(&Arc::new(Report::new(None, &now, Duration::ZERO)))
    }

    fn labels(view: &ContainerView) -> OwnLabels {
        vec![("name", view.name().to_owned())]
    }

    fn told(kills: &EndedKills) -> Vec<(String, f64)> {
        kills.clone().rest().map(|(labels, kills)| (labels[0].1.clone(), kills)).collect()
    }

    #[test]
    fn the_kill_that_ends_a_container_is_kept_for_an_hour_and_lives_add_up() {
        let mut kills = EndedKills::default();
        kills.observe(&frame(1, &[("web", Status::Exited, 1), ("calm", Status::Exited, 0)]), labels);
        kills.observe(&frame(1, &[("web", Status::Exited, 1)]), labels);
        assert_eq!(told(&kills), [("web".to_owned(), 1.0)], "a report that is seen twice counts once");
        kills.observe(&frame(9, &[("web", Status::Exited, 2)]), labels);
        kills.forget(&frame(3_600, &[]), labels);
        assert_eq!(told(&kills), [("web".to_owned(), 3.0)]);
        kills.forget(&frame(9_000, &[("web", Status::Running, 0)]), labels);
        assert_eq!(kills.clone().take(&vec![("name", "web".to_owned())]), 3.0, "the count of a name that runs goes on");
        kills.forget(&frame(9_000, &[]), labels);
        assert!(kills.is_empty());
    }

    #[test]
    fn no_more_than_a_thousand_names_are_kept() {
        let mut kills = EndedKills::default();
        for second in 0..1_100 {
            kills.observe(&frame(second, &[(&format!("job-{second:04}"), Status::Exited, 1)]), labels);
        }
        kills.forget(&frame(1_100, &[]), labels);
        let kept = told(&kills);
        assert_eq!((kept.len(), kept[0].0.as_str()), (MOST, "job-0100"));
    }
}
