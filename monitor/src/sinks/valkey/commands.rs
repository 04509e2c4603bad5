//! The commands of one tick. Pure: what is sent for what is to be said.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use redis::Cmd;

use super::stream::Id;
use crate::events::Level;
use crate::unix_time::{since_epoch, unix_millis};
use crate::valkey::keys::{CONTAINERS, LOGS, entry_key, metrics_key};
use crate::valkey::{Document, Request};
use crate::wire;

/// At most so many keys are removed in one tick, so that a long legacy is no burden.
const MOST_REMOVED: usize = 500;

/// What a command is for, and so what its refusal means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Purpose {
    /// The report itself.
    Metrics,
    /// A log entry.
    Log,
    /// Removing log entries that are too old to be shown.
    Prune,
    /// Looking for log entries of an earlier run.
    Scan,
    /// The list of containers.
    Index,
    /// Taking out of it what nothing is kept of any more.
    Forget,
    /// The reports of the past.
    History,
    /// All log entries.
    Stream,
    /// That a stream goes when nothing is added any more.
    Expiry,
    /// Where a stream ends, when an id was refused.
    End,
}

impl Purpose {
    /// What an operator reads when it fails.
    pub(super) fn what(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Log => "log",
            Self::Prune => "the removal of old log entries (DEL)",
            Self::Scan => "the search for log entries of earlier runs (SCAN)",
            Self::Index => "the list system:containers (ZADD)",
            Self::Forget => "the removal of old names from system:containers (ZREMRANGEBYSCORE)",
            Self::History => "the history of reports (XADD)",
            Self::Stream => "the stream of all log entries (XADD)",
            Self::Expiry => "the expiry of streams (PEXPIRE)",
            Self::End => "the last entry of a stream (XREVRANGE)",
        }
    }
}

/// The report under its key; the expiry is what tells readers of a death.
pub(super) fn metrics(name: &str, json: &Document, ttl: Duration) -> Request {
    set(&metrics_key(name), json, ttl)
}

/// The members of the list of containers, with the time of their latest report.
pub(super) fn index<'a>(names: impl Iterator<Item = &'a str>, wall: SystemTime) -> Cmd {
    let millis = unix_millis(wall).to_string();
    let mut add = redis::cmd("ZADD");
    add.arg(CONTAINERS);
    names.for_each(|name| _ = add.arg(&millis).arg(name));
    add
}

/// Takes those out of the list of containers that nothing has been kept of since `oldest`.
pub(super) fn forget(oldest: Duration) -> Cmd {
    let millis = oldest.as_millis().to_string();
    redis::cmd("ZREMRANGEBYSCORE").arg(CONTAINERS).arg("-inf").arg(format!("({millis}")).to_owned()
}

fn set(key: &str, value: &Document, ttl: Duration) -> Request {
    let head = redis::cmd("SET").arg(key).to_owned();
    Request::with(head, value.clone()).and("PX").and(ttl.as_millis().to_string())
}

/// The log entries of one container: which keys exist, and which are to go.
#[derive(Debug)]
pub(super) struct Log {
    name: String,
    keep: usize,
    ttl: Duration,
    /// The keys that may exist.
    known: BTreeSet<u64>,
    /// The newest entries, as far as they are not known to be written.
    waiting: BTreeMap<u64, Document>,
    latest: u64,
}

impl Log {
    /// Keeps the newest `keep` entries of `name`.
    pub(super) fn new(name: &str, keep: usize, ttl: Duration) -> Self {
        let (known, waiting) = (BTreeSet::new(), BTreeMap::new());
        Self { name: name.to_owned(), keep, ttl, known, waiting, latest: 0 }
    }

    /// Whose log it is.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    fn key(&self, nanos: u64) -> String {
        entry_key(&self.name, nanos)
    }

    /// A new entry, and its place in the stream of all entries. Its time is moved on if the one before has it already:
    /// keys are unique, and readers sort by time.
    pub(super) fn entry(&mut self, wall: SystemTime, level: Level, message: &str) -> (Id, Document) {
        let nanos = since_epoch(wall).as_nanos();
        let nanos = u64::try_from(nanos).unwrap_or(u64::MAX).max(self.latest + 1);
        self.latest = nanos;
        let wall = SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos);
        let json: Document = wire::entry(&self.name, wall, level, message).into();
        self.waiting.insert(nanos, json.clone());
        while self.waiting.len() > self.keep {
            self.waiting.pop_first();
        }
        (Id { millis: nanos / 1_000_000, seq: nanos % 1_000_000 }, json)
    }

    /// The entries that are not known to be written, as keys of their own.
    pub(super) fn waiting(&mut self) -> Vec<(u64, Request)> {
        self.known.extend(self.waiting.keys());
        self.waiting.iter().map(|(nanos, json)| (*nanos, set(&self.key(*nanos), json, self.ttl))).collect()
    }

    /// Whether all entries are written.
    pub(super) fn is_written(&self) -> bool {
        self.waiting.is_empty()
    }

    /// An entry is written.
    pub(super) fn written(&mut self, nanos: u64) {
        self.waiting.remove(&nanos);
    }

    /// Removes what is older than the newest entries, a bounded number at a time.
    pub(super) fn prune(&mut self) -> Vec<Cmd> {
        let surplus = self.known.len().saturating_sub(self.keep).min(MOST_REMOVED);
        let old: Vec<u64> = (0..surplus).filter_map(|_| self.known.pop_first()).collect();
        // One by one: in a cluster they may be on different nodes.
        old.into_iter().map(|nanos| redis::cmd("DEL").arg(self.key(nanos)).to_owned()).collect()
    }

    /// An entry of an earlier run is there.
    pub(super) fn found(&mut self, nanos: u64) {
        self.known.insert(nanos);
    }
}

/// The search for log entries of earlier runs: a walk over the server's keys, one for all containers and one step a tick, so
/// that an agent that watches many is no burden.
#[derive(Debug)]
pub(super) struct Search {
    is_wanted: bool,
    /// Where the walk is; `None` when it is over.
    cursor: Option<u64>,
    /// Whether there is to be another one behind it.
    again: bool,
}

impl Search {
    /// Looks for nothing yet, and never if it is not wanted.
    pub(super) fn new(is_wanted: bool) -> Self {
        Self { is_wanted, cursor: None, again: false }
    }

    /// Looks at all keys: there is a new name, or an answer was lost.
    pub(super) fn begin(&mut self) {
        match self.cursor {
            Some(_) => self.again = true,
            None => self.cursor = self.is_wanted.then_some(0),
        }
    }

    /// The next step; a single name's keys are picked by the server.
    pub(super) fn step<'a>(&self, mut names: impl Iterator<Item = &'a str>) -> Option<Cmd> {
        let cursor = self.cursor?.to_string();
        let pattern = match (names.next(), names.next()) {
            (Some(name), None) => format!("{LOGS}{}:*", escaped(name)),
            _ => format!("{LOGS}*"),
        };
        Some(redis::cmd("SCAN").arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg("1000").to_owned())
    }

    /// Takes note of where a step has led.
    pub(super) fn stepped(&mut self, cursor: u64) {
        let again = cursor == 0 && std::mem::take(&mut self.again);
        self.cursor = (cursor != 0 || again).then_some(cursor);
    }

    /// Gives up.
    pub(super) fn stop(&mut self) {
        (self.cursor, self.again) = (None, false);
    }
}

/// A name as a glob pattern that matches nothing else.
fn escaped(name: &str) -> String {
    name.chars().fold(String::new(), |mut text, c| {
        if matches!(c, '*' | '?' | '[' | ']' | '\\' | '^' | '-') {
            text.push('\\');
        }
        text.push(c);
        text
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A command as one would type it.
    pub(in crate::sinks::valkey) fn text(request: impl Into<Request>) -> String {
        let cmd = request.into().cmd();
        let args: Vec<String> = cmd
            .args_iter()
            .map(|arg| match arg {
                redis::Arg::Simple(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                _ => "?".to_owned(),
            })
            .collect();
        args.join(" ")
    }

    fn at(nanos: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos)
    }

    const T: u64 = 1_700_000_000_000_000_000;

    fn log(name: &str) -> Log {
        Log::new(name, 2, Duration::from_secs(60))
    }

    fn texts(log: &mut Log) -> Vec<String> {
        log.waiting().into_iter().map(|(_, request)| text(request)).collect()
    }

    #[test]
    fn value_and_expiry_are_one_command() {
        assert_eq!(text(metrics("web", &"{}".into(), Duration::from_secs(30))), "SET system:metrics:web {} PX 30000");
        let names = ["web", "db"].into_iter();
        assert_eq!(text(index(names, at(T))), "ZADD system:containers 1700000000000 web 1700000000000 db");
        assert_eq!(
            text(forget(Duration::from_secs(1_700_000_000))),
            "ZREMRANGEBYSCORE system:containers -inf (1700000000000"
        );
    }

    #[test]
    fn an_entrys_key_is_its_timestamp_and_no_two_are_equal() {
        let mut log = log("web");
        let (id, _) = log.entry(at(T), Level::Info, "a");
        assert_eq!(id, Id { millis: T / 1_000_000, seq: 0 });
        let (id, _) = log.entry(at(T), Level::Info, "b");
        assert_eq!(id, Id { millis: T / 1_000_000, seq: 1 });
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
    fn one_walk_finds_the_keys_of_all_and_begins_anew_behind_its_end_when_it_must() {
        let mut search = Search::new(true);
        let step = |search: &Search, names: &[&str]| search.step(names.iter().copied()).map(text);
        assert_eq!(step(&search, &["web"]), None);
        search.begin();
        assert_eq!(step(&search, &["a*b"]).unwrap(), "SCAN 0 MATCH system:logs:a\\*b:* COUNT 1000");
        search.stepped(7);
        assert_eq!(step(&search, &["web", "db"]).unwrap(), "SCAN 7 MATCH system:logs:* COUNT 1000");
        search.begin();
        search.stepped(0);
        assert!(step(&search, &["web"]).unwrap().starts_with("SCAN 0 "));
        search.stepped(0);
        assert_eq!(step(&search, &["web"]), None);
        let mut never = Search::new(false);
        never.begin();
        assert_eq!(step(&never, &["web"]), None);
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
