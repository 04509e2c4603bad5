//! Health checks: they read the latest report, so the agent needs no listener.

use std::time::{Duration, SystemTime};

use super::connector::connect;
use super::fault::Fault;
use super::keys::{metrics_key, owner_key};
use super::options::ValkeyOptions;
use crate::containers::owners::Owners;
use crate::findings::LATE_INTERVALS;
use crate::snapshot::{Stamp, Status};

/// Why an agent does not count as healthy.
#[derive(Debug, thiserror::Error)]
pub enum Unhealthy {
    /// The server could not be asked.
    #[error("Valkey at {0}: {1}")]
    Valkey(String, Fault),
    /// There is no report.
    #[error("there is no report under {0}: the agent is not running, or writes elsewhere")]
    Missing(String),
    /// The key holds no report.
    #[error("{0} holds no report of this agent")]
    Nonsense(String),
    /// The agent has said goodbye.
    #[error("{0}: the agent has stopped")]
    Exited(String),
    /// The report is too old.
    #[error("{0} was written {1:.1} s ago, more than three intervals")]
    Stale(String, f64),
}

/// Connects with the login given, and returns the time of a round trip by `clock`.
///
/// # Errors
/// Why the server cannot be used.
pub async fn probe(options: &ValkeyOptions, clock: fn() -> Stamp) -> Result<Duration, Fault> {
    let mut link = connect(options).await?;
    let before = clock().mono;
    match link.ask::<redis::Value>(redis::cmd("PING")).await {
        Err(fault) if !fault.is_answer() => Err(fault),
        _ => Ok(clock().mono.saturating_sub(before)),
    }
}

/// Returns the name under which the container or machine of that name is reported, if this machine has claimed another
/// one.
pub async fn claimed_name(options: &ValkeyOptions, owners: &Owners, name: &str) -> String {
    // Whoever asks next finds the fault.
    let Ok(mut link) = connect(options).await else { return name.to_owned() };
    let (value, names) = owners.names(name);
    for claimed in names {
        let owner: Result<Option<Vec<u8>>, Fault> =
            link.ask(redis::cmd("GET").arg(owner_key(&claimed)).to_owned()).await;
        if matches!(owner, Ok(Some(owner)) if owner == value.as_bytes()) {
            return claimed;
        }
    }
    name.to_owned()
}

/// The age of the latest report of `name`.
///
/// # Errors
/// Why the agent does not count as healthy.
pub async fn check(
    options: &ValkeyOptions,
    name: &str,
    interval: Duration,
    wall: SystemTime,
) -> Result<Duration, Unhealthy> {
    let failed = |fault: Fault| Unhealthy::Valkey(options.target.to_string(), fault);
    let key = metrics_key(name);
    let mut link = connect(options).await.map_err(failed)?;
    let text: Option<String> = link.ask(redis::cmd("GET").arg(&key).to_owned()).await.map_err(failed)?;
    judge(&key, text.as_deref(), interval, wall)
}

/// The part of a report that is about the agent itself.
#[derive(Debug, PartialEq, Eq)]
pub struct AgentStatus {
    /// The state of delivery of its reports.
    pub delivery: Option<String>,
    /// Events that it could not count.
    pub lost_events: u64,
    /// The number of times that it had to walk the tree again.
    pub walked_again: u64,
}

/// Reads the part of the latest report of `name` that is about the agent; `None` where there is no report.
pub async fn agent_status(options: &ValkeyOptions, name: &str) -> Option<AgentStatus> {
    let mut link = connect(options).await.ok()?;
    let get = redis::cmd("GET").arg(metrics_key(name)).to_owned();
    read(&link.ask::<Option<String>>(get).await.ok()??)
}

fn read(text: &str) -> Option<AgentStatus> {
    let report: serde_json::Value = serde_json::from_str(text).ok()?;
    let agent = report.get("agent")?;
    let count = |field: &str| agent[field].as_u64().unwrap_or(0);
    Some(AgentStatus {
        delivery: delivery(&agent["valkey"]),
        lost_events: count("lost_events"),
        walked_again: count("walked_again"),
    })
}

fn delivery(delivery: &serde_json::Value) -> Option<String> {
    delivery.as_object()?;
    let since = delivery["connected_since"]
        .as_str()
        .map_or("not connected".to_owned(), |since| format!("connected since {since}"));
    let round_trip =
        delivery["round_trip_micros"].as_u64().map_or(String::new(), |micros| format!(", round trip {micros} µs"));
    let count = |field: &str| delivery[field].as_u64().unwrap_or(0);
    Some(format!(
        "the agent is {since}{round_trip}; {} entries wait, {} dropped, {} sent again, {} bytes sent",
        count("backlog"),
        count("dropped"),
        count("resent"),
        count("bytes")
    ))
}

fn judge(key: &str, text: Option<&str>, interval: Duration, wall: SystemTime) -> Result<Duration, Unhealthy> {
    #[derive(serde::Deserialize)]
    struct Written {
        timestamp: String,
        status: String,
    }
    let text = text.ok_or_else(|| Unhealthy::Missing(key.to_owned()))?;
    let nonsense = || Unhealthy::Nonsense(key.to_owned());
    let written: Written = serde_json::from_str(text).map_err(|_| nonsense())?;
    if Status::parse(&written.status) == Some(Status::Exited) {
        return Err(Unhealthy::Exited(key.to_owned()));
    }
    let at = humantime::parse_rfc3339(&written.timestamp).map_err(|_| nonsense())?;
    // A report from the future (another machine's clock) is fresh.
    let age = wall.duration_since(at).unwrap_or_default();
    if age > interval * LATE_INTERVALS { Err(Unhealthy::Stale(key.to_owned(), age.as_secs_f64())) } else { Ok(age) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(text: Option<&str>, seconds: u64) -> String {
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        match judge("k", text, Duration::from_secs(5), wall) {
            Ok(age) => format!("{age:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn an_agent_tells_how_its_reports_get_out() {
        let valkey = r#"{"connected_since":"1970-01-01T00:01:40Z","round_trip_micros":180,"backlog":3,"dropped":0,"resent":1,"bytes":4096}"#;
        assert_eq!(
            read(&format!(r#"{{"agent":{{"valkey":{valkey}}}}}"#)).unwrap().delivery.unwrap(),
            "the agent is connected since 1970-01-01T00:01:40Z, round trip 180 µs; 3 entries wait, 0 dropped, 1 sent again, 4096 bytes sent"
        );
        let status = AgentStatus { delivery: None, lost_events: 5, walked_again: 6 };
        assert_eq!(read(r#"{"agent":{"lost_events":5,"walked_again":6,"valkey":null}}"#), Some(status));
        assert_eq!(read("7"), None);
    }

    #[test]
    fn healthy_is_a_report_of_the_last_three_intervals() {
        let report = r#"{"timestamp":"1970-01-01T00:01:40.000000000Z","status":"running","cpu_percent":null}"#;
        assert_eq!(judged(Some(report), 102), "2s");
        assert_eq!(judged(Some(report), 99), "0ns");
        assert!(judged(Some(report), 116).contains("16.0 s ago"));
        assert!(judged(Some(&report.replace("running", "exited")), 102).contains("has stopped"));
        assert!(judged(Some("7"), 102).contains("holds no report"));
        assert!(judged(Some(&report.replace("1970", "yore")), 102).contains("holds no report"));
        assert!(judged(None, 102).contains("no report under k"));
    }
}
