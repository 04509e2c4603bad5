//! The commands of one tick. Pure: what is sent for what is to be said.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use redis::Cmd;

use crate::events::Level;
use crate::sinks::wire;

/// So many digits has a log key's time until the year 2286.
const DIGITS: usize = 19;

/// About so many log entries of a container are kept in its stream …
const LONGEST_STREAM: u32 = 10_000;
/// … for so long after the latest.
const STREAM_TTL: Duration = Duration::from_secs(7 * 24 * 3600);

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
    /// The reports of the past.
    History,
    /// All log entries.
    Stream,
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
            Self::History => "the history of reports (XADD, PEXPIRE)",
            Self::Stream => "the stream of all log entries (XADD, PEXPIRE)",
        }
    }
}

/// The key of the list of containers.
pub(crate) const CONTAINERS: &str = "system:containers";

/// The key of a container's latest report.
pub(crate) fn metrics_key(name: &str) -> String {
    format!("system:metrics:{name}")
}

/// The report under its key; the expiry is what tells readers of a death.
pub(super) fn metrics(name: &str, json: &str, ttl: Duration) -> Cmd {
    set(&metrics_key(name), json, ttl)
}

/// The report as an entry of the container's history, of which the last `length` is kept. Its id is the sample's time, so
/// that writing it again after a lost answer adds nothing. The stream goes when nothing has been added for its length.
pub(super) fn history(name: &str, json: &str, taken: SystemTime, length: Duration) -> [Cmd; 2] {
    let key = history_key(name);
    let millis = since_1970(taken).as_millis();
    let oldest = millis.saturating_sub(length.as_millis());
    let add = redis::cmd("XADD")
        .arg(&key)
        .arg("MINID")
        .arg("~")
        .arg(oldest.to_string())
        .arg(format!("{millis}-0"))
        .arg("report")
        .arg(json)
        .to_owned();
    [add, expire(&key, length)]
}

/// The key of a container's history.
pub(crate) fn history_key(name: &str) -> String {
    format!("system:history:{name}")
}

fn expire(key: &str, length: Duration) -> Cmd {
    redis::cmd("PEXPIRE").arg(key).arg(length.as_millis().to_string()).to_owned()
}

fn since_1970(wall: SystemTime) -> Duration {
    wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// Whether an error says that an entry of a stream is there already: it was written, and only the answer was lost.
pub(super) fn is_written_already(error: &str) -> bool {
    error.contains("equal or smaller than the target stream top item")
}

/// The member of the list of containers, with the time of its latest report.
pub(super) fn index(name: &str, wall: SystemTime) -> Cmd {
    let millis = since_1970(wall).as_millis();
    redis::cmd("ZADD").arg(CONTAINERS).arg(millis.to_string()).arg(name).to_owned()
}

fn set(key: &str, value: &str, ttl: Duration) -> Cmd {
    redis::cmd("SET").arg(key).arg(value).arg("PX").arg(ttl.as_millis().to_string()).to_owned()
}

/// The log entries of one container: which keys exist, and which are to go.
#[derive(Debug)]
pub(super) struct Log {
    name: String,
    keep: usize,
    ttl: Duration,
    known: BTreeSet<u64>,
    latest: u64,
    clean: bool,
    /// Where the search for entries of earlier runs is; `None` when it is over.
    cursor: Option<u64>,
}

impl Log {
    /// Keeps the newest `keep` entries of `name`, and looks for older ones if `clean`.
    pub(super) fn new(name: &str, keep: usize, ttl: Duration, clean: bool) -> Self {
        Self { name: name.to_owned(), keep, ttl, known: BTreeSet::new(), latest: 0, clean, cursor: clean.then_some(0) }
    }

    fn key(&self, nanos: u64) -> String {
        format!("system:logs:{}:{nanos:0DIGITS$}", self.name)
    }

    /// A new entry: as a key of its own, and in the stream of all entries. Its time is moved on if the one before has it
    /// already: keys are unique, and readers sort by time.
    pub(super) fn entry(&mut self, wall: SystemTime, level: Level, message: &str) -> [(Purpose, Cmd); 3] {
        let nanos = since_1970(wall).as_nanos();
        let nanos = u64::try_from(nanos).unwrap_or(u64::MAX).max(self.latest + 1);
        self.latest = nanos;
        self.known.insert(nanos);
        let wall = SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos);
        let json = wire::entry(&self.name, wall, level, message);
        let stream = format!("system:logstream:{}", self.name);
        let id = format!("{}-{}", nanos / 1_000_000, nanos % 1_000_000);
        let add = redis::cmd("XADD")
            .arg(&stream)
            .arg("MAXLEN")
            .arg("~")
            .arg(LONGEST_STREAM)
            .arg(id)
            .arg("entry")
            .arg(&json)
            .to_owned();
        [
            (Purpose::Log, set(&self.key(nanos), &json, self.ttl)),
            (Purpose::Stream, add),
            (Purpose::Stream, expire(&stream, STREAM_TTL)),
        ]
    }

    /// Removes what is older than the newest entries, a bounded number at a time.
    pub(super) fn prune(&mut self) -> Option<Cmd> {
        let surplus = self.known.len().saturating_sub(self.keep).min(MOST_REMOVED);
        let old: Vec<u64> = (0..surplus).filter_map(|_| self.known.pop_first()).collect();
        (!old.is_empty())
            .then(|| redis::cmd("DEL").arg(old.into_iter().map(|nanos| self.key(nanos)).collect::<Vec<_>>()).to_owned())
    }

    /// The next step of the search for entries of earlier runs.
    pub(super) fn scan(&self) -> Option<Cmd> {
        let pattern = format!("system:logs:{}:*", escaped(&self.name));
        self.cursor.map(|cursor| {
            redis::cmd("SCAN").arg(cursor.to_string()).arg("MATCH").arg(pattern).arg("COUNT").arg("1000").to_owned()
        })
    }

    /// Takes the answer to [`Log::scan`]. Only keys of exactly this name and form are its business.
    pub(super) fn scanned(&mut self, cursor: u64, keys: &[Vec<u8>]) {
        self.cursor = (cursor != 0).then_some(cursor);
        let prefix = format!("system:logs:{}:", self.name);
        let keys = keys.iter().filter_map(|key| std::str::from_utf8(key).ok()?.strip_prefix(&prefix));
        let nanos = keys.filter(|rest| rest.len() == DIGITS && rest.bytes().all(|byte| byte.is_ascii_digit()));
        self.known.extend(nanos.filter_map(|nanos| nanos.parse::<u64>().ok()));
    }

    /// Looks again from the start, after an answer was lost.
    pub(super) fn scan_again(&mut self) {
        self.cursor = self.clean.then_some(0);
    }

    /// Gives the search up.
    pub(super) fn stop_scanning(&mut self) {
        self.cursor = None;
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
mod tests {
    use super::*;

    fn text(cmd: &Cmd) -> String {
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
        Log::new(name, 2, Duration::from_secs(60), true)
    }

    #[test]
    fn value_and_expiry_are_one_command() {
        assert_eq!(text(&metrics("web", "{}", Duration::from_secs(30))), "SET system:metrics:web {} PX 30000");
        assert_eq!(text(&index("web", at(T))), "ZADD system:containers 1700000000000 web");
    }

    #[test]
    fn an_entrys_key_is_its_timestamp_and_no_two_are_equal() {
        let mut log = log("web");
        let first = text(&log.entry(at(T), Level::Info, "a")[0].1);
        let second = text(&log.entry(at(T), Level::Info, "b")[0].1);
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
        assert!(
            text(&log.entry(at(T - 1_000_000), Level::Info, "b")[0].1).contains("system:logs:web:1700000000000000001")
        );
    }

    #[test]
    fn streams_have_explicit_ids_and_bounds() {
        let [add, expire] = history("web", "{}", at(T), Duration::from_secs(60));
        assert_eq!(text(&add), "XADD system:history:web MINID ~ 1699999940000 1700000000000-0 report {}");
        assert_eq!(text(&expire), "PEXPIRE system:history:web 60000");
        let [_, (_, add), (_, expire)] = log("web").entry(at(T + 1), Level::Info, "a");
        assert!(
            text(&add).starts_with("XADD system:logstream:web MAXLEN ~ 10000 1700000000000-1 entry {"),
            "{}",
            text(&add)
        );
        assert_eq!(text(&expire), "PEXPIRE system:logstream:web 604800000");
    }

    #[test]
    fn only_the_newest_entries_stay() {
        let mut log = log("web");
        for offset in 0..4 {
            log.entry(at(T + offset), Level::Info, "a");
        }
        assert_eq!(text(&log.prune().unwrap()), format!("DEL system:logs:web:{T} system:logs:web:{}", T + 1));
        assert!(log.prune().is_none());
    }

    #[test]
    fn entries_of_an_earlier_run_are_found_and_nothing_else_is_touched() {
        let mut log = log("a*b");
        assert_eq!(text(&log.scan().unwrap()), "SCAN 0 MATCH system:logs:a\\*b:* COUNT 1000");
        let keys = [
            format!("system:logs:a*b:{}", T + 1),
            format!("system:logs:a*b:{}", T + 2),
            format!("system:logs:a*b:{}", T + 3),
            format!("system:logs:axb:{T}"),
            format!("system:logs:a*b:c:{T}"),
            "system:logs:a*b:123".to_owned(),
            "system:logs:a*b:12345678901234567x9".to_owned(),
        ];
        log.scanned(7, &keys.map(String::into_bytes));
        assert_eq!(text(&log.prune().unwrap()), format!("DEL system:logs:a*b:{}", T + 1));
        assert!(text(&log.scan().unwrap()).starts_with("SCAN 7 "));
        log.scanned(0, &[]);
        assert!(log.scan().is_none());
    }

    #[test]
    fn a_long_legacy_goes_in_small_steps() {
        let mut log = log("web");
        let keys: Vec<Vec<u8>> =
            (0..1200).map(|offset| format!("system:logs:web:{}", T + offset).into_bytes()).collect();
        log.scanned(0, &keys);
        let removed: Vec<usize> = std::iter::from_fn(|| log.prune()).map(|cmd| cmd.args_iter().count() - 1).collect();
        assert_eq!(removed, [500, 500, 198]);
    }
}
