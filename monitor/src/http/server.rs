//! What all connections share: the latest tick, the memory, and who may ask.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use axum::body::Body;
use hyper::StatusCode;
use hyper::body::Bytes;
use tokio::sync::{Semaphore, broadcast, watch};

use super::chart::Columns;
use super::exposition::{self, Form};
use super::guard::Guard;
use super::memory::{BOUND, Entry, Memory};
use super::past::Past;
use super::problem::Problem;
use super::shown::{Tick, millis};
use super::stream::{self, News};
use crate::events::is_heartbeat;
use crate::metrics::Metric;
use crate::sinks::wire;
use crate::snapshot::{Scope, Stamp};
use crate::sources::bpf::{ProgramState, State};

/// So many event streams may be open.
const STREAMS: usize = 256;
/// So many log entries wait for a client that reads slowly; it misses those before.
const WAITING: usize = 256;
/// The loop is alive while the last tick is not older than so many intervals.
const INTERVALS: u32 = 3;

/// So many log entries are looked through for the events of a chart.
const MOST_EVENTS: usize = 1000;
/// Why there is nothing to show at first.
const NOTHING: &str = "nothing has been read yet";

/// What the server says of the agent, and does not change.
#[derive(Clone, Debug)]
pub struct About {
    /// What is watched; `None` for a fleet.
    pub scope: Option<Scope>,
    /// Time between two reports.
    pub interval: Duration,
    /// What became of the eBPF programs.
    pub programs: Vec<ProgramState>,
    /// Where reports go, or come from: kind and address.
    pub sinks: BTreeMap<&'static str, String>,
}

/// How the one who reads is.
#[derive(Debug)]
struct Health {
    /// When it has shown itself last.
    beat: Duration,
    /// Why it has nothing to show.
    trouble: Option<String>,
}

/// The server's state.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) guard: Guard,
    about: About,
    clock: fn() -> Stamp,
    started: Stamp,
    latest: watch::Sender<Option<Arc<Tick>>>,
    entries: broadcast::Sender<Bytes>,
    memory: Mutex<Memory>,
    past: Option<Past>,
    health: Mutex<Health>,
    streams: Arc<Semaphore>,
}

impl Server {
    pub(super) fn new(guard: Guard, about: About, past: Option<Past>, clock: fn() -> Stamp) -> Self {
        Self {
            guard,
            past,
            health: Mutex::new(Health { beat: clock().mono, trouble: None }),
            about,
            clock,
            started: clock(),
            latest: watch::Sender::new(None),
            entries: broadcast::Sender::new(WAITING),
            memory: Mutex::new(Memory::new(BOUND)),
            streams: Arc::new(Semaphore::new(STREAMS)),
        }
    }

    /// Shows a tick, and says why reports do not get to where they shall.
    pub(super) fn show(&self, tick: Tick, trouble: Option<String>) {
        self.memory().record(&tick);
        *Self::lock(&self.health) = Health { beat: self.now().mono, trouble };
        self.latest.send_replace(Some(Arc::new(tick)));
    }

    /// Remembers what is no tick of its own: containers that ended since the latest.
    pub(super) fn remember(&self, tick: &Tick) {
        self.memory().add(tick);
    }

    /// Tells what happened to which container.
    pub(super) fn tell(&self, happened: Vec<(String, Entry)>) {
        for (name, entry) in happened {
            if self.entries.receiver_count() > 0 {
                // A client may just have gone.
                _ = self.entries.send(stream::log(&name, &entry));
            }
            self.memory().note(&name, entry);
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        Self::lock(&self.memory)
    }

    /// What is held stays what it was if somebody should ever panic with it.
    fn lock<'a, T>(held: &'a Mutex<T>) -> MutexGuard<'a, T> {
        held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> Stamp {
        (self.clock)()
    }

    pub(super) fn latest(&self) -> Option<Arc<Tick>> {
        self.latest.borrow().clone()
    }

    /// Whether a reading has ended of late; if not, since when none has.
    pub(super) fn alive(&self) -> Result<(), String> {
        let beat = Self::lock(&self.health).beat;
        let age = self.now().mono.saturating_sub(beat);
        if age <= self.about.interval * INTERVALS {
            return Ok(());
        }
        Err(format!("nothing has been read for {:.1} s", age.as_secs_f64()))
    }

    /// Whether all is as it should be; if not, why.
    pub(super) fn ready(&self) -> Result<(), String> {
        if let Some(trouble) = Self::lock(&self.health).trouble.clone() {
            return Err(trouble);
        }
        self.alive()?;
        if self.latest().is_none() {
            return Err(NOTHING.to_owned());
        }
        Ok(())
    }

    /// Says that there is nothing to show, and why. The loop is alive.
    pub(super) fn suffer(&self, trouble: String) {
        *Self::lock(&self.health) = Health { beat: self.now().mono, trouble: Some(trouble) };
    }

    /// The text of `/metrics`. Numbers that are no longer true are not told.
    pub(super) fn exposition(&self, form: Form) -> Result<Bytes, String> {
        self.alive()?;
        let tick = self.latest().ok_or_else(|| NOTHING.to_owned())?;
        Ok(tick.text(form, || exposition::encode(Arc::clone(&tick), self.about(), form)))
    }

    /// The numbers of a container since a time, with what happened meanwhile: from whoever remembers further back.
    pub(super) async fn history(
        &self,
        name: &str,
        metrics: &[Metric],
        since: SystemTime,
    ) -> Result<Option<History>, Problem> {
        let own = {
            let memory = self.memory();
            memory.columns(name, metrics, millis(since)).zip(memory.entries(name))
        };
        // A little may be missing at the beginning: nobody reads at each moment.
        let enough = millis(since + self.about.interval * INTERVALS);
        let begins = |columns: &Columns| columns.times.first().copied().unwrap_or(u64::MAX);
        let past = self.past.as_ref().filter(|_| own.as_ref().is_none_or(|(columns, _)| begins(columns) > enough));
        let found = match past {
            Some(past) => match past.columns(name, metrics, (since, self.now().wall)).await {
                Ok(columns) if own.as_ref().is_none_or(|(own, _)| begins(&columns) < begins(own)) => {
                    let entries = past.log(name, MOST_EVENTS).await.unwrap_or_default();
                    Some((columns, entries)).filter(|(columns, _)| own.is_some() || !columns.times.is_empty())
                }
                Ok(_) => own,
                // What is remembered here is better than nothing.
                Err(error) if own.is_none() => {
                    return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()));
                }
                Err(_) => own,
            },
            None => own,
        };
        Ok(found.map(|(columns, mut events)| {
            events.retain(|entry| entry.time >= millis(since) && !is_heartbeat(&entry.message));
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
        let news = News { ticks: self.latest.subscribe(), entries: self.entries.subscribe() };
        Some(stream::body(news, permit))
    }

    /// The agent's own state.
    pub(super) fn about(&self) -> AgentState {
        let tick = self.latest();
        let tick = tick.as_deref();
        AgentState {
            version: env!("CARGO_PKG_VERSION"),
            host: tick.and_then(|tick| tick.host.clone()),
            scope: self.about.scope.map(Scope::as_str),
            interval_seconds: self.about.interval.as_secs_f64(),
            started: wire::timestamp(self.started.wall),
            collect_micros: tick.and_then(|tick| tick.cost).map(|cost| cost.as_micros()),
            containers: tick.map_or(0, |tick| tick.containers.len()),
            programs: self.about.programs.iter().map(Program::from).collect(),
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
    events: Vec<Entry>,
}

/// The answer about a container's log entries.
#[derive(Debug, serde::Serialize)]
pub(super) struct Logs {
    name: String,
    entries: Vec<Entry>,
}

/// The answer about the agent itself.
#[derive(Debug, Default, serde::Serialize)]
pub(super) struct AgentState {
    pub(super) version: &'static str,
    host: Option<String>,
    scope: Option<&'static str>,
    pub(super) interval_seconds: f64,
    started: String,
    collect_micros: Option<u128>,
    containers: usize,
    pub(super) programs: Vec<Program>,
    sinks: BTreeMap<&'static str, String>,
}

/// An eBPF program.
#[derive(Debug, serde::Serialize)]
pub(super) struct Program {
    pub(super) name: String,
    state: &'static str,
    cause: Option<String>,
    cure: Option<String>,
}

impl Program {
    pub(super) fn is_attached(&self) -> bool {
        self.state == "attached"
    }
}

impl From<&ProgramState> for Program {
    fn from(program: &ProgramState) -> Self {
        let (state, refusal) = match &program.state {
            State::Attached => ("attached", None),
            State::Off(_) => ("off", None),
            State::Refused(refusal) => ("refused", Some(refusal)),
        };
        Self {
            name: program.name.to_string(),
            state,
            cause: refusal.map(|refusal| refusal.cause.clone()),
            cure: refusal.and_then(|refusal| refusal.cure.clone()),
        }
    }
}
