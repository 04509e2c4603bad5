//! What all connections share: the latest tick, the memory, and who may ask.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use axum::body::Body;
use hyper::body::Bytes;
use tokio::sync::{Semaphore, broadcast, watch};

use super::exposition::{self, Form};
use super::guard::Guard;
use super::memory::{BOUND, Columns, Entry, Memory};
use super::problem::Problem;
use super::shown::{Tick, millis};
use super::stream::{self, News};
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
    streams: Arc<Semaphore>,
}

impl Server {
    pub(super) fn new(guard: Guard, about: About, clock: fn() -> Stamp) -> Self {
        Self {
            guard,
            about,
            clock,
            started: clock(),
            latest: watch::Sender::new(None),
            entries: broadcast::Sender::new(WAITING),
            memory: Mutex::new(Memory::new(BOUND)),
            streams: Arc::new(Semaphore::new(STREAMS)),
        }
    }

    /// Shows a tick.
    pub(super) fn show(&self, tick: Tick) {
        self.memory().record(&tick);
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

    /// What was remembered stays what it was if somebody should ever panic with it.
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> Stamp {
        (self.clock)()
    }

    pub(super) fn latest(&self) -> Option<Arc<Tick>> {
        self.latest.borrow().clone()
    }

    /// Whether a reading has ended of late; if not, since when none has.
    pub(super) fn alive(&self) -> Result<(), String> {
        let last = self.latest().map_or(self.started.mono, |tick| tick.mono);
        let age = self.now().mono.saturating_sub(last);
        if age <= self.about.interval * INTERVALS {
            return Ok(());
        }
        Err(format!("nothing has been read for {:.1} s", age.as_secs_f64()))
    }

    /// Whether all is as it should be; if not, why.
    pub(super) fn ready(&self) -> Result<(), String> {
        self.alive()?;
        if self.latest().is_none() {
            return Err(NOTHING.to_owned());
        }
        Ok(())
    }

    /// The text of `/metrics`. Numbers that are no longer true are not told.
    pub(super) fn exposition(&self, form: Form) -> Result<Bytes, String> {
        self.alive()?;
        let tick = self.latest().ok_or_else(|| NOTHING.to_owned())?;
        Ok(tick.text(form, || exposition::encode(Arc::clone(&tick), self.about(), form)))
    }

    /// The numbers of a container since a time, with what happened meanwhile.
    pub(super) async fn history(
        &self,
        name: &str,
        metrics: &[Metric],
        since: SystemTime,
    ) -> Result<Option<History>, Problem> {
        let memory = self.memory();
        let since = millis(since);
        let Some(columns) = memory.columns(name, metrics, since) else { return Ok(None) };
        let mut events = memory.entries(name).unwrap_or_default();
        events.retain(|entry| entry.time >= since);
        Ok(Some(History { name: name.to_owned(), columns, events }))
    }

    /// The newest log entries of a container, oldest first.
    pub(super) async fn entries(&self, name: &str, limit: usize) -> Result<Option<Logs>, Problem> {
        let Some(mut entries) = self.memory().entries(name) else { return Ok(None) };
        let surplus = entries.len().saturating_sub(limit);
        entries.drain(..surplus);
        Ok(Some(Logs { name: name.to_owned(), entries }))
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
            State::Off => ("off", None),
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
