//! The state that all connections share: the latest frame, the memory, the guard.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use axum::body::Body;
use hyper::StatusCode;
use hyper::body::Bytes;
use tokio::sync::{Semaphore, broadcast, watch};

use super::about::{About, AgentState, ProgramStatus};
use super::budget::Budget;
use super::chart::Columns;
use super::ended_kills::EndedKills;
use super::exposition;
use super::frame::Frame;
use super::guard::Guard;
use super::judge::Judge;
use super::log_entry::LogEntry;
use super::memory::{BOUND, Memory};
use super::past::Past;
use super::problem::Problem;
use super::stream::{self, News};
use super::text_format::TextFormat;
use crate::events::Topic;
use crate::findings::LATE_INTERVALS;
use crate::metrics::Metric;
use crate::mutex::lock;
use crate::snapshot::{Scope, Stamp};
use crate::unix_time::unix_millis;
use crate::wire;

/// Event streams that may be open at once.
const STREAMS: usize = 256;
/// Log entries that wait for a slow client; it misses older ones.
const WAITING: usize = 256;
/// Log entries that are searched for the events of a chart.
const MOST_EVENTS: usize = 1000;
/// The cause that is reported before the first frame.
const NOTHING: &str = "nothing has been read yet";

/// Health of the loop that reads.
#[derive(Debug)]
struct Health {
    /// The time of its latest sign of life.
    beat: Duration,
    /// The cause if it has nothing to show.
    failure: Option<String>,
}

/// The server's state.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) guard: Guard,
    /// The bytes of answers under way.
    pub(super) budget: Arc<Budget>,
    about: About,
    clock: fn() -> Stamp,
    started: Stamp,
    latest: watch::Sender<Option<Arc<Frame>>>,
    entries: broadcast::Sender<Bytes>,
    memory: Mutex<Memory>,
    judge: Arc<Mutex<Judge>>,
    ended_kills: Mutex<EndedKills>,
    past: Option<Past>,
    health: Mutex<Health>,
    streams: Arc<Semaphore>,
}

impl Server {
    pub(super) fn new(guard: Guard, about: About, past: Option<Past>, clock: fn() -> Stamp) -> Self {
        let judge = Judge::new(about.interval);
        Self {
            guard,
            budget: Arc::default(),
            past,
            health: Mutex::new(Health { beat: clock().mono, failure: None }),
            about,
            clock,
            started: clock(),
            latest: watch::Sender::new(None),
            entries: broadcast::Sender::new(WAITING),
            memory: Mutex::new(Memory::new(BOUND)),
            judge: Arc::new(Mutex::new(judge)),
            ended_kills: Mutex::default(),
            streams: Arc::new(Semaphore::new(STREAMS)),
        }
    }

    /// Shows a frame; `failure` is the reason why reports are not delivered.
    pub(super) fn show(&self, frame: Frame, failure: Option<String>) {
        self.memory().record(&frame);
        lock(&self.judge).observe(&frame);
        let mut kills = lock(&self.ended_kills);
        kills.observe(&frame, exposition::own_labels);
        kills.forget(&frame, exposition::own_labels);
        drop(kills);
        *lock(&self.health) = Health { beat: self.now().mono, failure };
        self.latest.send_replace(Some(Arc::new(frame)));
    }

    /// Records containers that exited since the latest frame.
    pub(super) fn remember(&self, frame: &Frame) {
        self.memory().add(frame);
        lock(&self.judge).observe_exited(frame);
        lock(&self.ended_kills).observe(frame, exposition::own_labels);
    }

    /// Sends log entries to the clients, and records them.
    pub(super) fn publish_entries(&self, happened: Vec<(String, LogEntry)>) {
        for (name, entry) in happened {
            if self.entries.receiver_count() > 0 {
                // A client may just have gone.
                _ = self.entries.send(stream::log(&name, &entry));
            }
            self.memory().note(&name, entry);
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        lock(&self.memory)
    }

    pub(super) fn now(&self) -> Stamp {
        (self.clock)()
    }

    pub(super) fn latest(&self) -> Option<Arc<Frame>> {
        self.latest.borrow().clone()
    }

    /// Succeeds if a reading has finished lately; the error says since when none has.
    pub(super) fn alive(&self) -> Result<(), String> {
        let beat = lock(&self.health).beat;
        let age = self.now().mono.saturating_sub(beat);
        if age <= self.about.interval * LATE_INTERVALS {
            return Ok(());
        }
        Err(format!("nothing has been read for {:.1} s", age.as_secs_f64()))
    }

    /// Succeeds if reports are read and delivered; the error says why they are not.
    pub(super) fn ready(&self) -> Result<(), String> {
        if let Some(failure) = lock(&self.health).failure.clone() {
            return Err(failure);
        }
        self.alive()?;
        if self.latest().is_none() {
            return Err(NOTHING.to_owned());
        }
        Ok(())
    }

    /// Records why there is nothing to show. The loop is alive.
    pub(super) fn record_failure(&self, failure: String) {
        *lock(&self.health) = Health { beat: self.now().mono, failure: Some(failure) };
    }

    /// Returns the text of `/metrics`. Outdated numbers are left out.
    pub(super) fn exposition(&self, format: TextFormat) -> Result<Bytes, Problem> {
        let unavailable = |reason| Problem::new(StatusCode::SERVICE_UNAVAILABLE, reason);
        self.alive().map_err(unavailable)?;
        let frame = self.latest().ok_or_else(|| unavailable(NOTHING.to_owned()))?;
        let ended = || lock(&self.ended_kills).clone();
        let encode = || self.budget.hold(exposition::encode(Arc::clone(&frame), self.about(), ended(), format));
        frame.text(format).get_or_make(encode)
    }

    /// Returns the numbers of a container since a time, and the events since then: from memory or from Valkey,
    /// whichever goes back further.
    pub(super) async fn history(
        &self,
        name: &str,
        metrics: &[Metric],
        since: SystemTime,
    ) -> Result<Option<History>, Problem> {
        let own = {
            let memory = self.memory();
            memory.columns(name, metrics, unix_millis(since)).zip(memory.entries(name))
        };
        // A few intervals may be missing at the beginning, because readings are not continuous.
        let enough = unix_millis(since + self.about.interval * LATE_INTERVALS);
        let begins = |columns: &Columns| columns.times.first().copied().unwrap_or(u64::MAX);
        let past = self.past.as_ref().filter(|_| own.as_ref().is_none_or(|(columns, _)| begins(columns) > enough));
        let found = match past {
            Some(past) => match past.columns(name, metrics, (since, self.now().wall)).await {
                Ok(columns) if own.as_ref().is_none_or(|(own, _)| begins(&columns) < begins(own)) => {
                    let entries = past.log(name, MOST_EVENTS).await.unwrap_or_default();
                    Some((columns, entries)).filter(|(columns, _)| own.is_some() || !columns.times.is_empty())
                }
                Ok(_) => own,
                // The memory of this process is used if Valkey fails.
                Err(error) if own.is_none() => {
                    return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()));
                }
                Err(_) => own,
            },
            None => own,
        };
        Ok(found.map(|(columns, mut events)| {
            if let Some(kill) = columns.last_rise(Metric::OomKills) {
                lock(&self.judge).learn(name, SystemTime::UNIX_EPOCH + Duration::from_millis(kill));
            }
            events.retain(|entry| entry.time >= unix_millis(since) && entry.topic != Topic::Heartbeat);
            History { name: name.to_owned(), columns, events }
        }))
    }

    /// The newest log entries of a container, oldest first: a fleet's as they were written, heartbeats included.
    pub(super) async fn entries(&self, name: &str, limit: usize) -> Result<Option<Logs>, Problem> {
        let own = self.memory().entries(name);
        let is_fleet = self.about.scope.is_none();
        let found = match self.past.as_ref().filter(|_| is_fleet) {
            Some(past) => match past.log(name, limit).await {
                Ok(entries) => own.map(|_| entries.clone()).or(Some(entries).filter(|entries| !entries.is_empty())),
                Err(error) if own.is_none() => {
                    return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()));
                }
                Err(_) => own,
            },
            None => own,
        };
        Ok(found.map(|mut entries| {
            let surplus = entries.len().saturating_sub(limit);
            entries.drain(..surplus);
            Logs { name: name.to_owned(), entries }
        }))
    }

    /// A new stream of events, unless there are too many.
    pub(super) fn stream(&self) -> Option<Body> {
        let permit = Arc::clone(&self.streams).try_acquire_owned().ok()?;
        let news = News {
            ticks: self.latest.subscribe(),
            entries: self.entries.subscribe(),
            judge: Arc::clone(&self.judge),
            budget: Arc::clone(&self.budget),
        };
        Some(stream::body(news, permit))
    }

    /// The agent's own state.
    pub(super) fn about(&self) -> AgentState {
        let frame = self.latest();
        let frame = frame.as_deref();
        AgentState {
            version: env!("CARGO_PKG_VERSION"),
            host: frame.and_then(|frame| frame.host.clone()),
            scope: self.about.scope.map(Scope::as_str),
            interval_seconds: self.about.interval.as_secs_f64(),
            started: wire::timestamp(self.started.wall),
            collect_micros: frame.and_then(|frame| frame.cost).map(|cost| cost.as_micros()),
            containers: frame.map_or(0, |frame| frame.containers.len()),
            programs: self.about.programs.iter().map(ProgramStatus::from).collect(),
            sinks: self.about.sinks.clone(),
        }
    }
}

/// The answer about a container's past.
#[derive(Debug, serde::Serialize)]
pub(super) struct History {
    name: String,
    #[serde(flatten)]
    columns: Columns,
    events: Vec<LogEntry>,
}

/// The answer about a container's log entries.
#[derive(Debug, serde::Serialize)]
pub(super) struct Logs {
    name: String,
    entries: Vec<LogEntry>,
}
