//! Turns reports into documents for the keys, and entries for the streams.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use redis::Value;

use super::backlog::Backlog;
use super::commands::Purpose;
use super::log_keys::LogKeys;
use super::log_search::LogSearch;
use super::pending_report::PendingReport;
use super::steady_clock::SteadyClock;
use super::stream::{EntryId, Stream};
use crate::events::{Event, Heartbeat, Watch};
use crate::log_once::LogOnce;
use crate::report::{Container, Report};
use crate::snapshot::{CgroupId, Coverage, Stamp, Status};
use crate::valkey::keys::parse_entry_key;
use crate::valkey::{Document, Request, ValkeyOptions};
use crate::wire::{EncodeError, Writer};

/// The most exited containers that are remembered until their last log entries are written.
const MOST_ENDED: usize = 1000;
/// The expected length of the first document.
const LENGTH: usize = 3072;
/// Room for growth of a document.
const SLACK: usize = 96;

/// Remembers the state of each container with which the next report is compared.
#[derive(Debug)]
pub(super) struct Recorder {
    options: ValkeyOptions,
    containers: BTreeMap<CgroupId, Watched>,
    search: LogSearch,
    clock: SteadyClock,
    /// The length of the latest document.
    length: usize,
    /// Errors of encoding, which are bugs.
    encoding: LogOnce,
}

#[derive(Debug)]
struct Watched {
    watch: Watch,
    log: LogKeys,
    heartbeat_due: Duration,
}

/// The part of log entries that all containers of a tick share.
#[derive(Debug)]
pub(super) struct Context {
    /// Events of the connection.
    pub(super) events: Vec<Event>,
    /// The state of the connection.
    pub(super) connection: String,
}

/// An upkeep command for log entries under keys.
pub(super) enum Maintenance {
    /// Writes an entry under its key.
    Write(CgroupId, u64),
    /// Removes one.
    Prune,
    /// Searches for those of earlier runs.
    Scan,
}

impl Recorder {
    /// Creates a recorder that knows no container.
    pub(super) fn new(options: ValkeyOptions) -> Self {
        let search = LogSearch::new(options.log_cleanup);
        Self {
            options,
            containers: BTreeMap::new(),
            search,
            clock: SteadyClock::default(),
            length: LENGTH,
            encoding: LogOnce::default(),
        }
    }

    /// Takes a report: its entries go to the backlog.
    pub(super) fn record(&mut self, report: Arc<Report>, context: &Context, backlog: &mut Backlog) -> PendingReport {
        self.clock.tick(report.taken);
        if report.coverage == Coverage::All {
            self.forget_ended(&report, backlog);
        }
        let documents = self.documents(&report).unwrap_or_else(|error| {
            if self.encoding.is_new(&error.to_string()) {
                tracing::warn!(%error, "Error encoding a report, nothing is written");
            }
            Vec::new()
        });
        for (container, json) in report.containers.iter().zip(&documents) {
            let name = &container.identity.name;
            let Stamp { mono, wall } = report.taken;
            if self.options.history.is_some() {
                backlog.push(Stream::history(name), EntryId::of(wall), json.clone(), mono);
            }
            let options = &self.options;
            let search = &mut self.search;
            let mut new = || {
                search.begin();
                Watched::new(name, options)
            };
            let watched = self.containers.entry(container.id).or_insert_with(&mut new);
            if watched.log.name() != name {
                // It was renamed. Keys under the old name expire.
                (watched.log, watched.heartbeat_due) = (new().log, Duration::ZERO);
            }
            for event in watched.observe(container, mono, context, report.tells_stop(container), options.log_interval) {
                let (id, json) = watched.log.entry(wall, event.level(), &event.to_string());
                backlog.push(Stream::log(name), id, json, mono);
            }
        }
        PendingReport::new(report, documents)
    }

    /// Returns a report's documents, in the order of its containers. Room for all of them is allocated once.
    fn documents(&mut self, report: &Report) -> Result<Vec<Document>, EncodeError> {
        let mut writer = Writer::new(report)?;
        let number = report.containers.len();
        let mut text = Vec::with_capacity(number * (self.length + SLACK));
        let mut ends = Vec::with_capacity(number);
        for container in &report.containers {
            writer.write(container, &mut text)?;
            ends.push(text.len());
        }
        self.length = text.len() / number.max(1);
        Document::parts(String::from_utf8(text)?, &ends).ok_or(EncodeError::Boundary)
    }

    fn forget_ended(&mut self, report: &Report, backlog: &mut Backlog) {
        let ids: BTreeSet<CgroupId> = report.containers.iter().map(|container| container.id).collect();
        let mut ended = 0;
        self.containers.retain(|id, watched| {
            let lives = ids.contains(id);
            ended += usize::from(!lives);
            let stays = lives || (!watched.log.is_written() && ended <= MOST_ENDED);
            if !stays {
                backlog.forget(watched.log.name());
            }
            stays
        });
    }

    /// The time of day by which entries are old.
    pub(super) fn now(&self) -> SystemTime {
        self.clock.wall
    }

    /// Returns the upkeep commands for log entries under keys. Old ones can be found only where all keys are on one server.
    pub(super) fn maintenance(&mut self, may: impl Fn(Purpose) -> bool, is_one: bool) -> Vec<(Maintenance, Request)> {
        let mut maintenance = Vec::new();
        for (id, watched) in &mut self.containers {
            if may(Purpose::Log) {
                maintenance.extend(
                    watched.log.waiting().into_iter().map(|(nanos, request)| (Maintenance::Write(*id, nanos), request)),
                );
            }
            if may(Purpose::Prune) {
                maintenance.extend(watched.log.prune().into_iter().map(|cmd| (Maintenance::Prune, cmd.into())));
            }
        }
        if may(Purpose::Scan) && is_one {
            let step = self.search.step(self.containers.values().map(|watched| watched.log.name()));
            maintenance.extend(step.map(|cmd| (Maintenance::Scan, cmd.into())));
        }
        maintenance
    }

    /// Records an upkeep command that the server carried out.
    pub(super) fn done(&mut self, done: &Maintenance, answer: Value) {
        match done {
            Maintenance::Write(id, nanos) => {
                if let Some(watched) = self.containers.get_mut(id) {
                    watched.log.written(*nanos);
                }
            }
            Maintenance::Prune => {}
            Maintenance::Scan => match redis::from_redis_value::<(u64, Vec<Vec<u8>>)>(answer) {
                Ok((cursor, keys)) => self.scanned(cursor, &keys),
                Err(_) => self.search.stop(),
            },
        }
    }

    fn scanned(&mut self, cursor: u64, keys: &[Vec<u8>]) {
        self.search.stepped(cursor);
        let names = self.containers.values_mut().map(|watched| (watched.log.name().to_owned(), &mut watched.log));
        let mut logs: BTreeMap<String, &mut LogKeys> = names.collect();
        for (name, nanos) in keys.iter().filter_map(|key| parse_entry_key(key)) {
            if let Some(log) = logs.get_mut(name) {
                log.found(nanos);
            }
        }
    }

    /// Searches again: a removal may have been lost.
    pub(super) fn look_for_leftovers(&mut self) {
        self.search.begin();
    }
}

impl Watched {
    fn new(name: &str, options: &ValkeyOptions) -> Self {
        Self {
            watch: Watch::default(),
            log: LogKeys::new(name, options.log_keys, options.log_ttl),
            heartbeat_due: Duration::ZERO,
        }
    }

    /// Returns the events of a container that become log entries.
    fn observe(
        &mut self,
        container: &Container,
        mono: Duration,
        context: &Context,
        stopping: bool,
        interval: Duration,
    ) -> Vec<Event> {
        let mut events = context.events.clone();
        events.extend(self.watch.events(container));
        if stopping {
            events.push(Event::AgentStopped);
        } else if container.status == Status::Exited {
            events.push(Event::Exited);
        } else if mono >= self.heartbeat_due {
            self.heartbeat_due = mono + interval;
            events.push(Event::Alive(Box::new(Heartbeat::new(container, Some(context.connection.clone())))));
        }
        events
    }
}
