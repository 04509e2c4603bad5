//! Writes to Valkey, in the shape that readers know.

mod commands;
mod connection;
pub mod health;
mod resolve;
mod target;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, Value};

pub(crate) use self::commands::{CONTAINERS, history_key, metrics_key};
use self::commands::{Log, Purpose};
pub use self::connection::Fault;
pub(crate) use self::connection::connect;
pub use self::target::{Address, Secret, Target, TargetError};
use super::{Sink, SinkFuture, Voice, wire};
use crate::events::{Event, Level, Watch, heartbeat};
use crate::report::{Container, Report};
use crate::snapshot::{CgroupId, Extent, Stamp, Status};

/// After the agent's goodbye the report stays for at most so long.
const GOODBYE_TTL: Duration = Duration::from_secs(30);
/// So many commands of log entries wait for a server that is away.
const MOST_WAITING: usize = 300;

/// Where Valkey is, and what is kept there for how long.
#[derive(Clone, Debug)]
pub struct ValkeyOptions {
    /// The server.
    pub target: Target,
    /// ACL user.
    pub username: Option<String>,
    /// Password.
    pub password: Option<Secret>,
    /// File that holds the password; read at each connect.
    pub password_file: Option<PathBuf>,
    /// Database number.
    pub db: Option<i64>,
    /// Certificates.
    pub tls: TlsOptions,
    /// Expiry of the report.
    pub metrics_ttl: Duration,
    /// How much history is kept, if any.
    pub history: Option<Duration>,
    /// Time between two heartbeats.
    pub log_interval: Duration,
    /// Newest log entries that are kept.
    pub log_keys: usize,
    /// Expiry of a log entry.
    pub log_ttl: Duration,
    /// Whether log entries of earlier runs are removed.
    pub log_cleanup: bool,
}

impl Default for ValkeyOptions {
    fn default() -> Self {
        Self {
            target: Target::nowhere(),
            username: None,
            password: None,
            password_file: None,
            db: None,
            tls: TlsOptions::default(),
            metrics_ttl: Duration::from_secs(30),
            history: None,
            log_interval: Duration::from_secs(30),
            log_keys: 3,
            log_ttl: Duration::from_secs(24 * 3600),
            log_cleanup: true,
        }
    }
}

/// Certificates, as files.
#[derive(Clone, Debug, Default)]
pub struct TlsOptions {
    /// Authorities to trust instead of the system's.
    pub ca: Option<PathBuf>,
    /// Client certificate.
    pub cert: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
}

/// Whether the server can be reached, with the login given.
///
/// # Errors
/// Why not.
pub async fn probe(options: &ValkeyOptions) -> Result<(), Fault> {
    connect(options).await.map(drop)
}

/// The sink.
pub struct Valkey {
    options: ValkeyOptions,
    clock: fn() -> Stamp,
    connection: Option<MultiplexedConnection>,
    /// Since when, and why, there is no connection; from the start on there is none.
    away: Option<(Stamp, String)>,
    connected: Option<Stamp>,
    round_trip: Duration,
    containers: BTreeMap<CgroupId, Watched>,
    /// What the server refused on this connection, and is not asked for again.
    refused: BTreeSet<Purpose>,
    voices: BTreeMap<Purpose, Voice>,
}

/// What is remembered of a container.
struct Watched {
    watch: Watch,
    log: Log,
    heartbeat_due: Duration,
    waiting: Vec<(Purpose, Cmd)>,
}

/// What the log entries of all containers of a tick share.
struct Context {
    /// That the server was away, if it was.
    back: Option<Event>,
    /// How the connection is.
    connection: String,
    /// Whether this is the agent's goodbye.
    stopping: bool,
}

/// A command of a tick: what it is for, and whose it is.
type Batch = Vec<(Purpose, CgroupId, Cmd)>;

impl Valkey {
    /// Writes as `options` say. Nothing is connected yet.
    pub fn new(options: ValkeyOptions, clock: fn() -> Stamp) -> Self {
        tracing::info!("Writing to Valkey at {}", options.target);
        Self {
            options,
            clock,
            connection: None,
            away: None,
            connected: None,
            round_trip: Duration::ZERO,
            containers: BTreeMap::new(),
            refused: BTreeSet::new(),
            voices: BTreeMap::new(),
        }
    }

    async fn connect(&mut self) -> Result<(), Fault> {
        if self.connection.is_some() {
            return Ok(());
        }
        match connect(&self.options).await {
            Ok(connection) => {
                tracing::info!("Connected to Valkey at {}", self.options.target);
                self.connection = Some(connection);
                self.connected = Some((self.clock)());
                self.refused.clear();
                Ok(())
            }
            Err(fault) => {
                self.lose(&fault);
                Err(fault)
            }
        }
    }

    fn lose(&mut self, fault: &Fault) {
        self.connection = None;
        if self.away.is_none() {
            self.away = Some(((self.clock)(), fault.text.clone()));
        }
    }

    fn batch(&mut self, report: &Report) -> Batch {
        let mut batch = Batch::new();
        let ids: BTreeSet<CgroupId> = report.containers.iter().map(|container| container.id).collect();
        self.containers.retain(|id, _| report.extent == Extent::Ended || ids.contains(id));
        let back = self.away.as_ref().map(|(since, cause)| {
            let away = (self.clock)().mono.saturating_sub(since.mono);
            Event::new(Level::Warn, format!("Valkey was away for {:.1} s: {cause}", away.as_secs_f64()))
        });
        let stopping = report.extent == Extent::Whole && report.is_goodbye();
        let context = Context { back, connection: self.connection_state(), stopping };
        for container in &report.containers {
            let name = &container.identity.name;
            let ttl = if container.status == Status::Exited {
                GOODBYE_TTL.min(self.options.metrics_ttl)
            } else {
                self.options.metrics_ttl
            };
            let json = wire::report(report, container);
            batch.push((Purpose::Metrics, container.id, commands::metrics(name, &json, ttl)));
            for cmd in self
                .options
                .history
                .iter()
                .flat_map(|length| commands::history(name, &json, report.taken.wall, *length))
            {
                batch.push((Purpose::History, container.id, cmd));
            }
            batch.push((Purpose::Index, container.id, commands::index(name, report.taken.wall)));
            let options = &self.options;
            let watched = self.containers.entry(container.id).or_insert_with(|| Watched::new(name, options));
            watched.observe(container, report.taken, &context, options.log_interval);
            batch.extend(watched.waiting.iter().map(|(purpose, cmd)| (*purpose, container.id, cmd.clone())));
            batch.extend(watched.log.prune().map(|cmd| (Purpose::Prune, container.id, cmd)));
            batch.extend(watched.log.scan().map(|cmd| (Purpose::Scan, container.id, cmd)));
        }
        batch.retain(|(purpose, ..)| !self.refused.contains(purpose));
        batch
    }

    fn connection_state(&self) -> String {
        let since = self
            .connected
            .map_or_else(String::new, |since| format!(" since {}", humantime::format_rfc3339_seconds(since.wall)));
        format!(
            "Valkey {} connected{since}, round trip {:.1} ms",
            self.options.target,
            self.round_trip.as_secs_f64() * 1e3
        )
    }

    async fn send(&mut self, batch: &Batch) -> Result<Vec<redis::RedisResult<Value>>, Fault> {
        let Some(connection) = &mut self.connection else {
            return Err(Fault::from(redis::RedisError::from(std::io::Error::from(std::io::ErrorKind::NotConnected))));
        };
        let mut pipeline = redis::pipe();
        for (_, _, cmd) in batch {
            pipeline.add_command(cmd.clone());
        }
        Ok(pipeline.ignore_errors().query_async(connection).await?)
    }

    async fn deliver(&mut self, report: &Report) -> Result<(), super::SinkError> {
        let batch = self.batch(report);
        let sent = (self.clock)().mono;
        let answers = match self.send(&batch).await {
            Ok(answers) if answers.len() == batch.len() => answers,
            other => {
                let fault = other.err().unwrap_or_else(Fault::garbled);
                self.lose(&fault);
                self.look_for_leftovers();
                return Err(fault.storing(Purpose::Metrics.what()));
            }
        };
        self.round_trip = (self.clock)().mono.saturating_sub(sent);
        let mut lost = None;
        for ((purpose, id, _), answer) in batch.iter().zip(answers) {
            if let Err(fault) = self.take(*purpose, *id, answer) {
                lost.get_or_insert(fault);
            }
        }
        self.forget_written(report);
        match lost {
            None => {
                // All containers' logs shall tell of it.
                self.away.take_if(|_| report.extent == Extent::Whole);
                Ok(())
            }
            Some(fault) => {
                if !fault.answered {
                    self.lose(&fault);
                }
                Err(fault.storing(Purpose::Metrics.what()))
            }
        }
    }

    /// Takes one answer. Only a report that was not stored is a failure of the sink; whatever else the server refuses
    /// costs that alone.
    fn take(&mut self, purpose: Purpose, id: CgroupId, answer: redis::RedisResult<Value>) -> Result<(), Fault> {
        let watched = self.containers.get_mut(&id);
        let fault = match answer {
            Ok(value) => {
                if let (Purpose::Scan, Some(watched)) = (purpose, watched) {
                    match redis::from_redis_value::<(u64, Vec<Vec<u8>>)>(value) {
                        Ok((cursor, keys)) => watched.log.scanned(cursor, &keys),
                        Err(_) => watched.log.stop_scanning(),
                    }
                }
                self.voices.remove(&purpose);
                return Ok(());
            }
            Err(error) if commands::is_written_already(&error.to_string()) => return Ok(()),
            Err(error) => Fault::from(error),
        };
        if purpose == Purpose::Metrics {
            return Err(fault);
        }
        // The first refusal on a connection is said, and nothing more is asked for.
        if fault.is_forbidden() && purpose != Purpose::Log && !self.refused.insert(purpose) {
            return Ok(());
        }
        let voice = self.voices.entry(purpose).or_default();
        voice.warn(&if purpose == Purpose::Log {
            fault.storing("log").text
        } else {
            format!("Valkey refuses {}, going on without: {fault}", purpose.what())
        });
        Ok(())
    }

    fn forget_written(&mut self, report: &Report) {
        for container in &report.containers {
            match self.containers.get_mut(&container.id) {
                Some(_) if container.status == Status::Exited => _ = self.containers.remove(&container.id),
                Some(watched) => watched.waiting.clear(),
                None => {}
            }
        }
    }

    /// What was to be removed may not have been.
    fn look_for_leftovers(&mut self) {
        for watched in self.containers.values_mut() {
            watched.log.scan_again();
        }
    }
}

impl Watched {
    fn new(name: &str, options: &ValkeyOptions) -> Self {
        Self {
            watch: Watch::default(),
            log: Log::new(name, options.log_keys, options.log_ttl, options.log_cleanup),
            heartbeat_due: Duration::ZERO,
            waiting: Vec::new(),
        }
    }

    /// Puts what is worth an entry among those that wait to be written.
    fn observe(&mut self, container: &Container, taken: Stamp, context: &Context, interval: Duration) {
        let mut events: Vec<Event> = context.back.clone().into_iter().collect();
        events.extend(self.watch.events(container));
        if container.status == Status::Exited {
            events.push(Event::new(
                Level::Info,
                if context.stopping { "the agent stops" } else { "the container has ended" },
            ));
        } else if taken.mono >= self.heartbeat_due {
            self.heartbeat_due = taken.mono + interval;
            events.push(Event::new(Level::Info, format!("{}; {}", heartbeat(container), context.connection)));
        }
        for event in events {
            self.waiting.extend(self.log.entry(taken.wall, event.level, &event.message));
        }
        let surplus = self.waiting.len().saturating_sub(MOST_WAITING);
        self.waiting.drain(..surplus);
    }
}

impl Sink for Valkey {
    fn ready(&mut self) -> SinkFuture<'_> {
        Box::pin(async { self.connect().await.map_err(|fault| fault.storing(Purpose::Metrics.what())) })
    }

    fn write<'a>(&'a mut self, report: &'a Report) -> SinkFuture<'a> {
        Box::pin(self.deliver(report))
    }
}
