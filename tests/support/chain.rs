//! Checks a history: every sample is present, once, and in order.
//!
//! A report contains the time since the reading before it. So each report must begin where the one before it says, or
//! one is missing between the two.

use std::time::{Duration, SystemTime};

use monitor::events::Topic;

use crate::valkey::{StreamEntry, Valkey};

/// The wall clock and the clock of intervals are read one after the other, and the interval is rounded.
const TOLERANCE: Duration = Duration::from_millis(5);

/// A history without a gap.
#[derive(Debug)]
pub struct Chain {
    pub samples: usize,
    pub first: SystemTime,
    pub last: SystemTime,
    /// The longest interval between two samples.
    pub longest: Duration,
    /// Intervals that exceeded the requested one by more than a tenth.
    pub late: usize,
}

/// The history of a container as it is stored in a server.
pub fn of(valkey: &Valkey, name: &str, interval: Duration) -> Result<Chain, String> {
    check(valkey.history(name).iter().map(|(_, report)| report.as_bytes()), interval)
}

/// Entries of one sample follow each other by a nanosecond.
const MOMENT: Duration = Duration::from_micros(1);

/// Checks the log of a container in which each sample since `whole` wrote a heartbeat, unless it came sooner than
/// `least` after the one before. The entries are identified by their times: each is present, once, in the order of the
/// samples. Returns their number.
pub fn logged(valkey: &Valkey, name: &str, whole: SystemTime, least: Duration) -> Result<usize, String> {
    let times = |key: &str, picked: fn(&serde_json::Value) -> bool| -> Result<Vec<SystemTime>, String> {
        let entries: Vec<StreamEntry> = valkey.query(&["XRANGE", &format!("system:{key}:{name}"), "-", "+"]);
        let mut times = Vec::new();
        for (_, fields) in entries {
            let document = serde_json::from_slice(&fields[0].1).map_err(|error| error.to_string())?;
            if picked(&document) {
                let time = document["timestamp"].as_str().ok_or("no timestamp")?;
                times.push(humantime::parse_rfc3339(time).map_err(|error| error.to_string())?);
            }
        }
        times.retain(|time| *time >= whole);
        Ok(times)
    };
    let is_heartbeat =
        |entry: &serde_json::Value| entry["message"].as_str().is_some_and(|text| Topic::of(text) == Topic::Heartbeat);
    let logged = times("logstream", is_heartbeat)?;
    let mut sampled = times("history", |_| true)?;
    // The agent may have written more between the two queries.
    let latest = *logged.last().ok_or("no log entry")?;
    sampled.retain(|sample| *sample <= latest || *sample > latest + Duration::from_secs(1));
    let mut entries = logged.iter().peekable();
    let mut last = None;
    for sample in &sampled {
        if entries.next_if(|entry| entry.duration_since(*sample).is_ok_and(|by| by < MOMENT)).is_some() {
            last = Some(*sample);
        } else if last.is_none_or(|last| *sample > last + least + TOLERANCE) {
            return Err(format!("of {sample:?} there is no log entry; the next is {:?}", entries.peek()));
        }
    }
    entries.next().map_or(Ok(logged.len()), |entry| Err(format!("of a log entry, {entry:?}, there is no sample")))
}

/// Judges reports in the order in which they were found.
pub fn check<'a>(reports: impl Iterator<Item = &'a [u8]>, interval: Duration) -> Result<Chain, String> {
    let mut chain: Option<Chain> = None;
    for bytes in reports {
        let report: serde_json::Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let at = report["timestamp"].as_str().ok_or("no timestamp")?;
        let taken = humantime::parse_rfc3339(at).map_err(|error| format!("{at}: {error}"))?;
        let length = Duration::from_secs_f64(report["interval_seconds"].as_f64().ok_or("no interval")?);
        let Some(chain) = &mut chain else {
            let (late, longest) = (0, Duration::ZERO);
            chain = Some(Chain { samples: 1, first: taken, last: taken, longest, late });
            continue;
        };
        let gap = taken.duration_since(chain.last).map_err(|_| format!("{at} comes too late"))?;
        if gap.abs_diff(length) > TOLERANCE {
            return Err(format!("before {at}: the sample before was {length:?} earlier, the entry before {gap:?}"));
        }
        chain.samples += 1;
        chain.last = taken;
        chain.longest = chain.longest.max(length);
        chain.late += usize::from(length > interval + interval / 10);
    }
    chain.ok_or_else(|| "nothing is there".to_owned())
}
