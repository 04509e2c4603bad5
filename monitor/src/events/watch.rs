//! Events out of the difference between two reports of one container.

use std::collections::{BTreeMap, BTreeSet};

use super::event::Event;
use crate::cause::CauseKind;
use crate::findings::{FindingKind, THRESHOLDS, Threshold, measure};
use crate::metrics::{GROUPS, Metric};
use crate::report::{Container, Number};
use crate::snapshot::Status;

/// Watches one container.
#[derive(Debug, Default)]
pub struct Watch {
    backends: BTreeMap<&'static str, &'static str>,
    lost: BTreeMap<&'static str, &'static str>,
    /// Groups whose source was missing in the last report. It is lost if it is missing in the next one too: the files
    /// of a container that ends go one by one.
    missing: BTreeSet<&'static str>,
    oom_kills: Option<(&'static str, u64)>,
    exceeded: Vec<FindingKind>,
    status: Option<Status>,
}

impl Watch {
    /// The events since the last call. The first call sets the state that everything is compared with; a number at its
    /// threshold is an event even then.
    pub fn events(&mut self, container: &Container) -> Vec<Event> {
        let mut events = Vec::new();
        // The files of an exited container are removed with it, which is no loss of a source.
        if container.status != Status::Exited {
            for (group, metric) in GROUPS {
                events.extend(self.source(group, container, *metric));
            }
        }
        events.extend(self.oom(container));
        events.extend(THRESHOLDS.iter().filter_map(|threshold| self.threshold(threshold, container)));
        events.extend(self.status(container.status));
        events
    }

    fn source(&mut self, group: &'static str, container: &Container, metric: Metric) -> Option<Event> {
        let Some(origin) = container.origins.of(metric) else {
            let cause = container.get(metric).err();
            // The last process has exited, and the container is about to.
            if container.is_empty() || cause.is_some_and(|cause| cause.kind() == CauseKind::Exited) {
                return None;
            }
            if !self.backends.contains_key(group) || self.missing.insert(group) {
                return None;
            }
            let before = self.backends.remove(group)?;
            self.lost.insert(group, before);
            return Some(Event::SourceLost { group, before, cause: cause.cloned() });
        };
        self.missing.remove(group);
        let now = origin.backend();
        let before = self.backends.insert(group, now);
        match (before, self.lost.remove(group)) {
            (None, Some(_)) => Some(Event::SourceRegained { group, now }),
            (Some(before), _) if before != now => Some(Event::SourceChanged { group, before, now }),
            _ => None,
        }
    }

    fn oom(&mut self, container: &Container) -> Option<Event> {
        let Ok(Number::Whole(total)) = container.get(Metric::OomKills) else { return None };
        let backend = container.origins.of(Metric::OomKills)?.backend();
        let known = match (self.oom_kills.replace((backend, total)), container.status) {
            (Some((before, known)), _) if before == backend => known,
            // The last report may have the number from another backend, and may be the first report.
            (known, Status::Exited) => known.map_or(0, |(_, known)| known),
            _ => return None,
        };
        let killed = total.checked_sub(known).filter(|killed| *killed > 0)?;
        Some(Event::OomKilled { killed, total })
    }

    fn threshold(&mut self, threshold: &'static Threshold, container: &Container) -> Option<Event> {
        let (kind, logged) = (threshold.kind, threshold.logged.as_ref()?);
        let value = measure(kind, &|metric| container.real(metric))?;
        let exceeded = self.exceeded.contains(&kind);
        if !exceeded && value >= threshold.warn {
            self.exceeded.push(kind);
            return Some(Event::Exceeded(logged, value));
        }
        if exceeded && value < logged.below {
            self.exceeded.retain(|known| *known != kind);
            return Some(Event::Recovered(logged, value));
        }
        None
    }

    fn status(&mut self, now: Status) -> Option<Event> {
        match (self.status.replace(now)?, now) {
            (Status::Running, Status::Paused) => Some(Event::Frozen),
            (Status::Paused, Status::Running) => Some(Event::Thawed),
            _ => None,
        }
    }
}
