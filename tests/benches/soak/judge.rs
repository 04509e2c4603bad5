//! Compares the data in Valkey and in the kernel with the work that was done.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, SystemTime};

use aya::maps::MapData;
use serde_json::Value;
use tests::leftovers;
use tests::valkey::Valkey;

use crate::plan::Counts;
use crate::world::{Gap, Life};

/// The time between two ticks.
const INTERVAL: Duration = Duration::from_secs(1);
/// The tolerance for times on a busy machine.
const SLACK: Duration = Duration::from_secs(2);
/// Time after its exit within which a container is reported; and within which a new agent reports all.
const TOLD: Duration = Duration::from_secs(15);

/// An entry of a history.
#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) at: SystemTime,
    interval: Option<Duration>,
    status: String,
    pub(crate) counts: Counts,
    pub(crate) dropped: u64,
    pub(crate) resent: u64,
}

/// The history of a container.
pub(crate) fn history(valkey: &Valkey, name: &str) -> Vec<Sample> {
    valkey.history(name).iter().map(|(_, report)| sample(&serde_json::from_str(report).unwrap())).collect()
}

fn sample(report: &Value) -> Sample {
    let number = |path: &str| report.pointer(path).and_then(Value::as_u64).unwrap_or_default();
    // A missing number must not look like a count of zero.
    let count = |path: &str| report.pointer(path).and_then(Value::as_u64).unwrap_or(u64::MAX);
    Sample {
        at: humantime::parse_rfc3339(report["timestamp"].as_str().unwrap()).unwrap(),
        interval: report["interval_seconds"].as_f64().map(Duration::from_secs_f64),
        status: report["status"].as_str().unwrap().to_owned(),
        counts: Counts {
            forks: count("/processes/forks"),
            thread_starts: count("/processes/thread_starts"),
            execs: count("/processes/execs"),
            exits: count("/processes/exits"),
            received: count("/network/loopback_rx_bytes"),
            sent: count("/network/loopback_tx_bytes"),
        },
        dropped: number("/agent/valkey/dropped"),
        resent: number("/agent/valkey/resent"),
    }
}

/// Finds missing and duplicate samples in a history, by the time that each sample states since the one before.
pub(crate) fn holes(samples: &[Sample], gaps: &[Gap]) -> Vec<String> {
    samples.windows(2).filter_map(|pair| hole(&pair[0], &pair[1], gaps)).collect()
}

fn hole(before: &Sample, after: &Sample, gaps: &[Gap]) -> Option<String> {
    let Ok(apart) = after.at.duration_since(before.at) else { return Some(format!("{:?} comes too late", after.at)) };
    // An agent that is stopped during a long reading publishes its goodbye from the sample before.
    if apart.is_zero() && after.status == "exited" && after.interval.is_none() && after.counts == before.counts {
        return None;
    }
    if after.interval.is_some_and(|interval| apart.abs_diff(interval) < INTERVAL / 10) && !apart.is_zero() {
        return None;
    }
    // In between, one agent ended and another began, perhaps several times.
    let mut between = gaps.iter().filter(|gap| gap.to > before.at && gap.from < after.at + INTERVAL);
    let (first, last) = (between.clone().next(), between.next_back());
    let (Some(first), Some(last)) = (first, last) else {
        return Some(format!("{apart:?} before {}", humantime::format_rfc3339_millis(after.at)));
    };
    // SIGKILL may lose the latest reading.
    let lost = if first.signal == libc::SIGKILL { INTERVAL } else { Duration::ZERO };
    let is_told_till_then = first.from < before.at + INTERVAL + lost + SLACK;
    let is_told_soon = after.at < last.to + TOLD;
    (!is_told_till_then || !is_told_soon)
        .then(|| format!("{apart:?} around an agent that ended at {}", humantime::format_rfc3339_millis(first.from)))
}

/// True if an agent ran throughout this time.
fn is_watched(from: SystemTime, to: SystemTime, gaps: &[Gap]) -> bool {
    !gaps.iter().any(|gap| gap.from < to && gap.to + TOLD > from)
}

/// Finds errors in the data of a container that has ended. `exact` counts those whose last report was compared
/// with the plan.
pub(crate) fn life(valkey: &Valkey, life: &Life, gaps: &[Gap], exact: &mut usize, samples: &mut usize) -> Vec<String> {
    let history = history(valkey, &life.name);
    *samples += history.len();
    let mut wrong = holes(&history, gaps);
    if is_watched(life.made, life.ended.1 + TOLD, gaps) {
        let told = history.first().is_some_and(|first| first.at < life.made + INTERVAL + TOLD);
        wrong.extend((!told).then(|| "is not told of soon".to_owned()));
    }
    if is_watched(life.ended.0, life.ended.1 + TOLD, gaps) {
        match (history.last(), life.counts) {
            (Some(last), _) if last.status != "exited" => wrong.push(format!("ends {}", last.status)),
            (Some(last), Some(counts)) if last.counts != counts => {
                wrong.push(format!("counted {:?}, done was {counts:?}", last.counts));
            }
            (Some(_), Some(_)) => *exact += 1,
            (Some(_), None) => {}
            (None, _) => wrong.push("was never told of".to_owned()),
        }
    }
    wrong.into_iter().map(|what| format!("{}: {what}", life.name)).collect()
}

/// The keys of exited containers that have not expired, or never will.
pub(crate) fn keys(valkey: &Valkey, run: &str, lives: &[Life]) -> Vec<String> {
    let mut left = Vec::new();
    for key in valkey.keys("system:").into_iter().filter(|key| key.contains(run)) {
        let is_stream = key.starts_with("system:history:") || key.starts_with("system:logstream:");
        let is_known = lives.iter().any(|life| key.ends_with(&format!(":{}", life.name)));
        let expiry: i64 = valkey.query(&["PTTL", &key]);
        if expiry < 0 || !(is_stream && is_known) {
            left.push(format!("{key} (expires in {expiry} ms)"));
        }
    }
    left
}

/// The cgroups in all pinned maps.
pub(crate) fn counted(pins: &Path) -> BTreeSet<u64> {
    let of = |object| std::fs::read_dir(pins.join(object).join("maps")).unwrap().flatten();
    let all = of("process").chain(of("network"));
    all.flat_map(|pin| leftovers::cgroups(MapData::from_pin(pin.path()).unwrap())).collect()
}

/// The paths of all pinned objects, without the numbers behind the names of grown maps.
pub(crate) fn pinned(dir: &Path) -> Vec<String> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        all.push(entry.path().display().to_string().trim_end_matches(|end: char| end.is_ascii_digit()).to_owned());
        if entry.file_type().unwrap().is_dir() {
            all.extend(pinned(&entry.path()));
        }
    }
    all.sort();
    all
}
