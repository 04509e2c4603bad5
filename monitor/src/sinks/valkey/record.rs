//! What a report becomes: documents for the keys, and entries for the streams.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use redis::Value;

use super::backlog::Backlog;
use super::commands::{self, Log, Purpose, Search};
use super::stream::{Id, Stream};
use crate::events::{Event, Heartbeat, Watch};
use crate::log_once::LogOnce;
use crate::report::{Container, Report};
use crate::snapshot::{CgroupId, Coverage, Stamp, Status};
use crate::valkey::keys::parse_entry_key;
use crate::valkey::{Document, Request, ValkeyOptions};
use crate::wire::{EncodeError, Writer};

/// After the agent's goodbye the report stays for at most so long.
const GOODBYE_TTL: Duration = Duration::from_secs(30);
/// So many containers that have ended are remembered until their last words are written.
const MOST_ENDED: usize = 1000;
/// A step of the clock counts for what is old only after it has held for so long: one that is corrected again must not
/// cost the history.
const STEADY: Duration = Duration::from_secs(3600);
/// Smaller steps are what clocks do.
const STEP: Duration = Duration::from_secs(60);

/// So long is a document, about, …
const LENGTH: usize = 3072;
/// … and so much longer the next one may be.
const SLACK: usize = 96;

/// Remembers of each container what the next report is compared with.
#[derive(Debug)]
pub(super) struct Recorder {
    options: ValkeyOptions,
    containers: BTreeMap<CgroupId, Watched>,
    search: Search,
    clock: SteadyClock,
    /// How long a document was at last.
    length: usize,
    /// Errors of encoding, which are bugs.
    encoding: LogOnce,
}

#[derive(Debug)]
struct Watched {
    watch: Watch,
    log: Log,
    heartbeat_due: Duration,
}

/// What the log entries of all containers of a tick share.
#[derive(Debug)]
pub(super) struct Context {
    /// What has happened to the sink itself.
    pub(super) events: Vec<Event>,
    /// How the connection is.
    pub(super) connection: String,
}

/// A report, until it is written or there is a later one.
#[derive(Clone, Debug)]
pub(super) struct Live {
    report: Arc<Report>,
    documents: Vec<Document>,
}

impl Live {
    /// Whether it is the same.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.report, &other.report)
    }

    /// Whether it tells of all containers, and so makes an earlier one needless.
    pub(super) fn is_whole(&self) -> bool {
        self.report.coverage == Coverage::All
    }

    /// How its documents get under their keys.
    pub(super) fn requests(&self, longest: Duration) -> impl Iterator<Item = (Purpose, Request)> {
        let containers = &self.report.containers;
        let documents = containers.iter().zip(&self.documents).map(move |(container, json)| {
            let ttl = if container.status == Status::Exited { GOODBYE_TTL.min(longest) } else { longest };
            (Purpose::Metrics, commands::metrics(&container.identity.name, json, ttl))
        });
        let names = containers.iter().map(|container| container.identity.name.as_str());
        let index = (!containers.is_empty()).then(|| commands::index(names, self.report.taken.wall).into());
        documents.chain(index.map(|index| (Purpose::Index, index)))
    }
}

/// A command about log entries, and whose they are.
pub(super) enum Chore {
    /// An entry under its key.
    Write(CgroupId, u64),
    /// Removing one.
    Prune,
    /// Looking for those of earlier runs.
    Scan,
}

impl Recorder {
    /// Knows no container yet.
    pub(super) fn new(options: ValkeyOptions) -> Self {
        let search = Search::new(options.log_cleanup);
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
    pub(super) fn record(&mut self, report: Arc<Report>, context: &Context, backlog: &mut Backlog) -> Live {
        self.clock.tick(report.taken);
        if report.coverage == Coverage::All {
            self.forget_ended(&report, backlog);
        }
        let stopping = report.coverage == Coverage::All && report.is_goodbye();
        let documents = self.documents(&report).unwrap_or_else(|error| {
            self.encoding.warn(&format!("Error encoding a report, nothing is written: {error}"));
            Vec::new()
        });
        for (container, json) in report.containers.iter().zip(&documents) {
            let name = &container.identity.name;
            let Stamp { mono, wall } = report.taken;
            if self.options.history.is_some() {
                backlog.push(Stream::history(name), Id::of(wall), json.clone(), mono);
            }
            let options = &self.options;
            let search = &mut self.search;
            let mut new = || {
                search.begin();
                Watched::new(name, options)
            };
            let watched = self.containers.entry(container.id).or_insert_with(&mut new);
            if watched.log.name() != name {
                // It was renamed. What is under the old name runs out.
                (watched.log, watched.heartbeat_due) = (new().log, Duration::ZERO);
            }
            for event in watched.observe(container, mono, context, stopping, options.log_interval) {
                let (id, json) = watched.log.entry(wall, event.level(), &event.to_string());
                backlog.push(Stream::log(name), id, json, mono);
            }
        }
        Live { report, documents }
    }

    /// A report's documents, in the order of its containers. There is room for them from the first.
    fn documents(&mut self, report: &Report) -> Result<Vec<Document>, EncodeError> {
        let writer = Writer::new(report)?;
        let number = report.containers.len();
        let mut text = Vec::with_capacity(number * (self.length + SLACK));
        let mut ends = Vec::with_capacity(number);
        for container in &report.containers {
            writer.write(container, &mut text)?;
            ends.push(text.len());
        }
        self.length = text.len() / number.max(1);
        Ok(Document::parts(String::from_utf8(text)?, &ends))
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

    /// The time of day for deciding what is old.
    pub(super) fn now(&self) -> SystemTime {
        self.clock.wall
    }

    /// What is to be done about log entries under keys. Only where all keys are on one server can old ones be looked for.
    pub(super) fn chores(&mut self, may: impl Fn(Purpose) -> bool, is_one: bool) -> Vec<(Chore, Request)> {
        let mut chores = Vec::new();
        for (id, watched) in &mut self.containers {
            if may(Purpose::Log) {
                chores.extend(
                    watched.log.waiting().into_iter().map(|(nanos, request)| (Chore::Write(*id, nanos), request)),
                );
            }
            if may(Purpose::Prune) {
                chores.extend(watched.log.prune().into_iter().map(|cmd| (Chore::Prune, cmd.into())));
            }
        }
        if may(Purpose::Scan) && is_one {
            let step = self.search.step(self.containers.values().map(|watched| watched.log.name()));
            chores.extend(step.map(|cmd| (Chore::Scan, cmd.into())));
        }
        chores
    }

    /// A chore is done.
    pub(super) fn done(&mut self, chore: &Chore, answer: Value) {
        match chore {
            Chore::Write(id, nanos) => {
                if let Some(watched) = self.containers.get_mut(id) {
                    watched.log.written(*nanos);
                }
            }
            Chore::Prune => {}
            Chore::Scan => match redis::from_redis_value::<(u64, Vec<Vec<u8>>)>(answer) {
                Ok((cursor, keys)) => self.scanned(cursor, &keys),
                Err(_) => self.search.stop(),
            },
        }
    }

    fn scanned(&mut self, cursor: u64, keys: &[Vec<u8>]) {
        self.search.stepped(cursor);
        let names = self.containers.values_mut().map(|watched| (watched.log.name().to_owned(), &mut watched.log));
        let mut logs: BTreeMap<String, &mut Log> = names.collect();
        for (name, nanos) in keys.iter().filter_map(|key| parse_entry_key(key)) {
            if let Some(log) = logs.get_mut(name) {
                log.found(nanos);
            }
        }
    }

    /// What was to be removed may not have been.
    pub(super) fn look_for_leftovers(&mut self) {
        self.search.begin();
    }
}

impl Watched {
    fn new(name: &str, options: &ValkeyOptions) -> Self {
        Self {
            watch: Watch::default(),
            log: Log::new(name, options.log_keys, options.log_ttl),
            heartbeat_due: Duration::ZERO,
        }
    }

    /// What is worth an entry.
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
        if container.status == Status::Exited {
            events.push(if stopping { Event::AgentStopped } else { Event::Exited });
        } else if mono >= self.heartbeat_due {
            self.heartbeat_due = mono + interval;
            events.push(Event::Alive(Box::new(Heartbeat::new(container, Some(context.connection.clone())))));
        }
        events
    }
}

/// The time of day without steps that are soon taken back.
#[derive(Debug)]
struct SteadyClock {
    wall: SystemTime,
    last: Option<Stamp>,
    differs_since: Option<Duration>,
}

impl Default for SteadyClock {
    fn default() -> Self {
        Self { wall: SystemTime::UNIX_EPOCH, last: None, differs_since: None }
    }
}

impl SteadyClock {
    fn tick(&mut self, now: Stamp) {
        let expected = self.last.map_or(now.wall, |last| self.wall + now.mono.saturating_sub(last.mono));
        self.last = Some(now);
        let step = now.wall.duration_since(expected).unwrap_or_else(|back| back.duration());
        let since = *self.differs_since.get_or_insert(now.mono);
        if step < STEP || now.mono.saturating_sub(since) >= STEADY {
            self.wall = now.wall;
            self.differs_since = None;
        } else {
            self.wall = expected;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn at(mono: u64, wall: u64) -> Stamp {
        Stamp { mono: Duration::from_secs(mono), wall: SystemTime::UNIX_EPOCH + Duration::from_secs(wall) }
    }

    fn after(clock: &mut SteadyClock, mono: u64, wall: u64) -> u64 {
        clock.tick(at(mono, wall));
        clock.wall.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
    }

    #[test]
    fn a_step_of_the_clock_counts_only_when_it_has_held_for_an_hour() {
        let mut clock = SteadyClock::default();
        let day = DAY.as_secs();
        assert_eq!(after(&mut clock, 0, 1000), 1000);
        assert_eq!(after(&mut clock, 5, 1006), 1006, "small steps are followed");
        assert_eq!(after(&mut clock, 10, 1010 + day), 1011);
        assert_eq!(after(&mut clock, 15, 1015), 1015, "and back");
        assert_eq!(after(&mut clock, 20, 1020 + day), 1020);
        assert_eq!(after(&mut clock, 3619, 4619 + day), 4619);
        assert_eq!(after(&mut clock, 3620, 4620 + day), 4620 + day);
    }
}
