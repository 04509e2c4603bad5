//! The newest log entries of a container, as keys of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use redis::Cmd;

use super::commands::set;
use super::stream::EntryId;
use crate::findings::Level;
use crate::unix_time::since_epoch;
use crate::valkey::keys::entry_key;
use crate::valkey::{Document, Request};
use crate::wire;

/// The most keys that are removed in one tick, so that the leftovers of a long run do not burden the server.
const MOST_REMOVED: usize = 500;

/// The log entries of one container: which keys exist, and which are to go.
#[derive(Debug)]
pub(super) struct LogKeys {
    name: String,
    keep: usize,
    ttl: Duration,
    /// The keys that may exist.
    known: BTreeSet<u64>,
    /// The newest entries, as far as they are not known to be written.
    waiting: BTreeMap<u64, Document>,
    latest: u64,
}

impl LogKeys {
    /// Keeps the newest `keep` entries of `name`.
    pub(super) fn new(name: &str, keep: usize, ttl: Duration) -> Self {
        let (known, waiting) = (BTreeSet::new(), BTreeMap::new());
        Self { name: name.to_owned(), keep, ttl, known, waiting, latest: 0 }
    }

    /// Returns the name of the container.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    fn key(&self, nanos: u64) -> String {
        entry_key(&self.name, nanos)
    }

    /// Returns a new entry, and its place in the stream of all entries. It gets a later time if the entry before has
    /// the same: keys are unique, and readers sort by time.
    pub(super) fn entry(&mut self, wall: SystemTime, level: Level, message: &str) -> (EntryId, Document) {
        let nanos = since_epoch(wall).as_nanos();
        let nanos = u64::try_from(nanos).unwrap_or(u64::MAX).max(self.latest + 1);
        self.latest = nanos;
        let wall = SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos);
        let json: Document = wire::entry(&self.name, wall, level, message).into();
        self.waiting.insert(nanos, json.clone());
        while self.waiting.len() > self.keep {
            self.waiting.pop_first();
        }
        (EntryId { millis: nanos / 1_000_000, seq: nanos % 1_000_000 }, json)
    }

    /// Returns the entries that are not known to be written, as keys of their own.
    pub(super) fn waiting(&mut self) -> Vec<(u64, Request)> {
        self.known.extend(self.waiting.keys());
        self.waiting.iter().map(|(nanos, json)| (*nanos, set(&self.key(*nanos), json, self.ttl))).collect()
    }

    /// Returns whether all entries are written.
    pub(super) fn is_written(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Records that an entry is written.
    pub(super) fn written(&mut self, nanos: u64) {
        self.waiting.remove(&nanos);
    }

    /// Removes keys that are older than the newest entries, a bounded number at a time.
    pub(super) fn prune(&mut self) -> Vec<Cmd> {
        let surplus = self.known.len().saturating_sub(self.keep).min(MOST_REMOVED);
        let old: Vec<u64> = (0..surplus).filter_map(|_| self.known.pop_first()).collect();
        // One by one: in a cluster they may be on different nodes.
        old.into_iter().map(|nanos| redis::cmd("DEL").arg(self.key(nanos)).to_owned()).collect()
    }

    /// Records an entry of an earlier run.
    pub(super) fn found(&mut self, nanos: u64) {
        self.known.insert(nanos);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(request: impl Into<Request>) -> String {
        request.into().text()
    }

    fn at(nanos: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos)
    }

    const T: u64 = 1_700_000_000_000_000_000;

    fn log(name: &str) -> LogKeys {
        LogKeys::new(name, 2, Duration::from_secs(60))
    }

    fn texts(log: &mut LogKeys) -> Vec<String> {
        log.waiting().into_iter().map(|(_, request)| text(request)).collect()
    }

    #[test]
    fn an_entrys_key_is_its_timestamp_and_no_two_are_equal() {
        let mut log = log("web");
        let (id, _) = log.entry(at(T), Level::Info, "a");
        assert_eq!(id, EntryId { millis: T / 1_000_000, seq: 0 });
        let (id, _) = log.entry(at(T), Level::Info, "b");
        assert_eq!(id, EntryId { millis: T / 1_000_000, seq: 1 });
        let [first, second] = &texts(&mut log)[..] else { panic!("two entries") };
        assert!(
            first.starts_with("SET system:logs:web:1700000000000000000 {") && first.ends_with("PX 60000"),
            "{first}"
        );
        assert!(
            second.contains("system:logs:web:1700000000000000001") && second.contains("22:13:20.000000001Z"),
            "{second}"
        );
    }

    #[test]
    fn a_clock_that_goes_back_does_not_take_the_order_with_it() {
        let mut log = log("web");
        log.entry(at(T), Level::Info, "a");
        log.entry(at(T - 1_000_000), Level::Info, "b");
        assert!(texts(&mut log)[1].contains("system:logs:web:1700000000000000001"));
    }

    #[test]
    fn only_the_newest_entries_wait_until_they_are_written() {
        let mut log = log("web");
        for offset in 0..4 {
            log.entry(at(T + offset), Level::Info, "a");
        }
        assert_eq!(texts(&mut log).len(), 2);
        log.written(T + 2);
        assert!(texts(&mut log)[0].contains(&format!("system:logs:web:{}", T + 3)) && !log.is_written());
        log.written(T + 3);
        assert!(texts(&mut log).is_empty() && log.is_written());
    }

    #[test]
    fn only_the_newest_entries_stay() {
        let mut log = log("web");
        for offset in 0..4 {
            log.entry(at(T + offset), Level::Info, "a");
            log.waiting();
            log.written(T + offset);
        }
        let removed: Vec<String> = log.prune().into_iter().map(text).collect();
        assert_eq!(removed, [format!("DEL system:logs:web:{T}"), format!("DEL system:logs:web:{}", T + 1)]);
        assert!(log.prune().is_empty());
    }

    #[test]
    fn a_long_legacy_goes_in_small_steps() {
        let mut log = log("web");
        (0..1200).for_each(|offset| log.found(T + offset));
        let removed: Vec<usize> =
            std::iter::from_fn(|| Some(log.prune().len()).filter(|removed| *removed > 0)).collect();
        assert_eq!(removed, [500, 500, 198]);
    }
}
