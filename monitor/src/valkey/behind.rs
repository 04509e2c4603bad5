//! Containers whose latest report is old by the time that stands in it: they have ended, or the clock of their machine
//! is behind. Most have ended, so only those with a report are asked for at each look.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::timer;

/// The time between two looks at the whole list.
const LIST: Duration = Duration::from_secs(2);
/// The time for which a container is asked for after its report has expired.
const SILENT: Duration = Duration::from_secs(15 * 60);

/// The containers that seem to be old.
#[derive(Debug, Default)]
pub(super) struct Behind {
    listed: Option<Instant>,
    /// Those that are asked for, with the time of their latest report.
    watched: BTreeMap<String, SystemTime>,
    /// Those that had no report when they were asked for, with that time.
    ended: BTreeMap<String, SystemTime>,
    /// When a report was last there.
    lived: BTreeMap<String, Instant>,
}

impl Behind {
    /// True if the list is to be read.
    pub(super) fn is_due(&self) -> bool {
        self.listed.is_none_or(|listed| timer::now() - listed >= LIST)
    }

    /// Takes the list. One that had no report is not asked for again until it has been written.
    pub(super) fn list(&mut self, older: Vec<(String, SystemTime)>) {
        self.listed = Some(timer::now());
        self.watched = older.into_iter().collect();
        self.ended.retain(|name, last| self.watched.get(name) == Some(last));
        self.lived.retain(|name, _| self.watched.contains_key(name));
        self.watched.retain(|name, _| !self.ended.contains_key(name));
    }

    /// Returns the containers to ask for.
    pub(super) fn watched(&self) -> Vec<(String, SystemTime)> {
        self.watched.iter().map(|(name, last)| (name.clone(), *last)).collect()
    }

    /// Records whether a container has a report.
    pub(super) fn judge(&mut self, name: &str, has_report: bool) {
        let now = timer::now();
        if has_report {
            self.lived.insert(name.to_owned(), now);
        } else if self.lived.get(name).is_none_or(|lived| now - *lived > SILENT) {
            self.lived.remove(name);
            self.ended.extend(self.watched.remove_entry(name));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(second)
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_has_a_report_is_asked_for_at_each_look() {
        let mut behind = Behind::default();
        let names = |behind: &Behind| behind.watched().into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        let older = |dead| vec![("alive".to_owned(), at(9)), ("dead".to_owned(), at(dead))];
        assert!(behind.is_due());
        behind.list(older(1));
        assert!(!behind.is_due());
        behind.judge("alive", true);
        behind.judge("dead", false);
        assert_eq!(names(&behind), ["alive"]);
        tokio::time::advance(LIST).await;
        assert!(behind.is_due());
        behind.list(older(1));
        assert_eq!(names(&behind), ["alive"]);
        behind.list(older(2));
        assert_eq!(names(&behind), ["alive", "dead"], "it was written again");
        behind.judge("alive", false);
        assert!(names(&behind).contains(&"alive".to_owned()), "its silence is shown for a while");
        tokio::time::advance(SILENT + LIST).await;
        behind.judge("alive", false);
        assert!(!names(&behind).contains(&"alive".to_owned()));
    }
}
