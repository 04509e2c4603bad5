//! Judges a history: whether every sample is there, once, and in order.
//!
//! A report says how long before it the reading before it was. So each must begin where the one before it says, or one is
//! missing between the two.

use std::time::{Duration, SystemTime};

use crate::valkey::Valkey;

/// The clocks of the time of day and of the intervals are read one after the other, and the interval is rounded.
const TOLERANCE: Duration = Duration::from_millis(5);

/// A history without a gap.
#[derive(Debug)]
pub struct Chain {
    pub samples: usize,
    pub first: SystemTime,
    pub last: SystemTime,
    /// The longest interval between two samples.
    pub longest: Duration,
    /// So many intervals were longer than the one asked for by more than a tenth.
    pub late: usize,
}

/// An entry of a stream: its id and its fields.
pub type Entry = (String, Vec<(String, Vec<u8>)>);

/// The history of a container as it stands in a server.
pub fn of(valkey: &Valkey, name: &str, interval: Duration) -> Result<Chain, String> {
    let entries: Vec<Entry> = valkey.query(&["XRANGE", &format!("system:history:{name}"), "-", "+"]);
    check(entries.iter().map(|(_, fields)| &fields[0].1[..]), interval)
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
