//! Writes to Valkey, in the shape that readers know.
//!
//! ```text
//!   every report      record.rs    documents for the keys, entries for the streams
//!      |
//!   latest, backlog   backlog.rs   what waits: in order, bounded, until it is known to be written
//!      |      journal.rs, spool.rs  a copy of it on disk, if one is wanted
//!      |
//!   one pipeline      deliver.rs   commands out, answers in, and what each answer means
//!      |
//!   link              link.rs      one server, a sentinel's master (dial.rs), or the nodes of a cluster (cluster.rs)
//! ```
//!
//! The task does one thing at a time with the server and takes reports all the while, so that none is missed.

mod backlog;
mod commands;
mod deliver;
mod journal;
mod record;
mod spool;
mod stream;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

use self::backlog::{Backlog, Pace};
use self::commands::Purpose;
use self::deliver::{Batch, Rests};
use self::journal::Journal;
use self::record::{Context, Live, Recorder};
use super::{Retry, SinkError, Trouble};
use crate::events::Event;
use crate::log_once::LogOnce;
use crate::report::{Delivery, Report};
use crate::snapshot::{Coverage, Stamp};
use crate::valkey::{Answer, Connector, Fault, Link, ValkeyOptions};

/// The pause between two batches of a backlog: a server that has just come back has other agents to serve.
const BREATH: Duration = Duration::from_millis(20);

/// So many reports of what has ended wait to get under their keys; all of them are in the history.
const MOST_LIVE: usize = 512;

/// The sink.
pub struct Valkey {
    options: ValkeyOptions,
    clock: fn() -> Stamp,
    state: watch::Sender<Delivery>,
    connector: Option<Connector>,
    link: Option<Link>,
    recorder: Recorder,
    /// What goes under the keys next: the latest whole report, and those of what has ended, in the order of their times.
    live: Vec<Live>,
    backlog: Backlog,
    journal: Option<Journal>,
    pace: Pace,
    /// What the server refuses, and until when it is not asked for again.
    rests: Rests,
    /// When old names were taken out of the list of containers.
    forgot: Option<Instant>,
    /// Since when, and why, reports are not written; from the start on they are not.
    away: Option<(Stamp, String)>,
    /// What has happened to the sink, for the log entries of the next report.
    news: Vec<Event>,
    trouble: Trouble,
    /// Whether it has been said that there is a connection, since reports were last written.
    greeted: bool,
    voices: BTreeMap<Purpose, LogOnce>,
    /// Until when nothing is tried: after a failure, and between two batches of a backlog.
    pause: Option<Instant>,
    breath: Option<Instant>,
}

/// A fault as the failure of a sink, said with the words that operators look for.
fn storing(fault: &Fault, what: &str) -> SinkError {
    SinkError { text: format!("Error storing {what}: {fault}"), retry: Retry::Soon }
}

/// Something that is done with the server, and gives back what it took.
type Attempt = std::pin::Pin<Box<dyn Future<Output = Done> + Send>>;

/// What came of an attempt.
enum Done {
    Connected(Connector, Result<Link, Fault>),
    Sent(Link, Batch, Vec<Answer>, Duration),
}

impl Valkey {
    /// Writes as `options` say. Nothing is connected yet. How it goes is told to the receiver.
    pub fn new(options: ValkeyOptions, clock: fn() -> Stamp) -> (Self, watch::Receiver<Delivery>) {
        tracing::info!("Writing to Valkey at {}", options.target);
        let (state, receiver) = watch::channel(Delivery::default());
        let sink = Self {
            state,
            connector: Some(Connector::new(options.clone())),
            link: None,
            recorder: Recorder::new(options.clone()),
            live: Vec::new(),
            backlog: Backlog::new(options.buffer),
            journal: None,
            pace: Pace::default(),
            rests: Rests::default(),
            forgot: None,
            away: None,
            news: Vec::new(),
            trouble: Trouble::default(),
            greeted: false,
            voices: BTreeMap::new(),
            pause: None,
            breath: None,
            options,
            clock,
        };
        (sink, receiver)
    }

    /// Takes every report until no more come, and brings to the server what can be brought.
    pub async fn run(mut self, mut reports: broadcast::Receiver<Arc<Report>>) {
        self.restore().await;
        let mut attempt: Option<Attempt> = None;
        let mut open = true;
        loop {
            if attempt.is_none() {
                attempt = self.attempt();
            }
            if attempt.is_none() && !open {
                return self.save().await;
            }
            let due = self.due();
            tokio::select! {
                // Reports first: whatever the server does, none is missed.
                biased;
                report = reports.recv(), if open => match report {
                    Ok(report) => {
                        self.record(report);
                        // The one before is not answered yet, or nobody can be asked.
                        self.copy(attempt.is_some() || self.is_away());
                    }
                    Err(broadcast::error::RecvError::Lagged(missed)) => self.miss(missed),
                    Err(broadcast::error::RecvError::Closed) => open = false,
                },
                done = async { Some(attempt.as_mut()?.await) }, if attempt.is_some() => {
                    attempt = None;
                    if let Some(done) = done {
                        self.conclude(done);
                        self.copy(self.is_away());
                    }
                }
                () = async { if let Some(journal) = &mut self.journal { journal.changed().await } },
                    if self.journal.as_ref().is_some_and(Journal::is_busy) => {}
                () = tokio::time::sleep_until(due), if attempt.is_none() => {}
            }
        }
    }

    /// Takes up what an earlier run has left.
    async fn restore(&mut self) {
        let Some(dir) = self.options.buffer_dir.clone() else { return };
        let now = (self.clock)();
        let opened = tokio::task::spawn_blocking(move || Journal::open(&dir, now)).await;
        if let Ok(Some((journal, left))) = opened {
            self.journal = Some(journal);
            for entry in left {
                self.backlog.restore(entry);
            }
        }
    }

    /// Whether nobody takes reports: the server cannot be reached, or refuses them.
    fn is_away(&self) -> bool {
        self.link.is_none() || self.away.is_some()
    }

    /// Begins to bring the copy on disk in step. What has only just come is copied only if it is to `wait`.
    fn copy(&mut self, wait: bool) {
        if let Some(journal) = &mut self.journal {
            journal.follow(&self.backlog, wait, (self.clock)());
        }
    }

    /// Leaves behind on disk what could not be written.
    async fn save(&mut self) {
        if let Some(journal) = &mut self.journal {
            journal.changed().await;
        }
        self.copy(true);
        if let Some(journal) = &mut self.journal {
            journal.changed().await;
        }
    }

    /// What can be done now, if anything.
    fn attempt(&mut self) -> Option<Attempt> {
        let now = Instant::now();
        if self.pause.is_some_and(|until| now < until) {
            return None;
        }
        let Some(mut link) = self.link.take() else {
            let mut connector = self.connector.take()?;
            return Some(Box::pin(async move {
                let result = connector.connect().await;
                Done::Connected(connector, result)
            }));
        };
        if self.live.is_empty() && self.breath.is_some_and(|until| now < until) {
            self.link = Some(link);
            return None;
        }
        let mut batch = self.batch(link.is_one(), now);
        if batch.is_empty() {
            self.link = Some(link);
            return None;
        }
        let (patience, clock) = (self.pace.patience, self.clock);
        self.state.send_modify(|state| state.bytes += batch.bytes);
        Some(Box::pin(async move {
            let began = clock().mono;
            let answers = link.send(&batch.take_requests(), patience).await;
            Done::Sent(link, batch, answers, clock().mono.saturating_sub(began))
        }))
    }

    /// When something may be possible that is not now.
    fn due(&self) -> Instant {
        let rests = (self.backlog.len() > 0).then(|| self.rests.next()).flatten();
        let far = Instant::now() + Duration::from_secs(3600);
        [self.pause, self.breath, rests].into_iter().flatten().filter(|due| *due > Instant::now()).min().unwrap_or(far)
    }

    fn record(&mut self, report: Arc<Report>) {
        // The log of each container is told.
        let events = if report.coverage == Coverage::All { std::mem::take(&mut self.news) } else { Vec::new() };
        let context = Context { events, connection: self.connection_state() };
        let live = self.recorder.record(report, &context, &mut self.backlog);
        if live.is_whole() {
            self.live.retain(|earlier| !earlier.is_whole());
        }
        self.live.push(live);
        let surplus = self.live.len().saturating_sub(MOST_LIVE);
        self.live.drain(..surplus);
        self.tell();
    }

    fn miss(&mut self, missed: u64) {
        self.backlog.dropped += missed;
        tracing::warn!("{missed} reports came too fast and are not in the history");
    }

    fn conclude(&mut self, done: Done) {
        let result = match done {
            Done::Connected(connector, Ok(link)) => {
                if !std::mem::replace(&mut self.greeted, true) {
                    tracing::info!("Connected to Valkey at {}", self.options.target);
                }
                self.connector = Some(connector);
                self.link = Some(link);
                self.rests.clear();
                let wall = (self.clock)().wall;
                self.state.send_modify(|state| state.connected_since = Some(wall));
                return;
            }
            Done::Connected(connector, Err(fault)) => {
                self.connector = Some(connector);
                Err(fault)
            }
            Done::Sent(link, batch, answers, round_trip) => self.take(link, &batch, answers, round_trip),
        };
        if let Err(fault) = &result {
            self.away.get_or_insert_with(|| ((self.clock)(), fault.text.clone()));
        }
        let result = result.map_err(|fault| storing(&fault, Purpose::Metrics.what()));
        self.pause = self.trouble.pause(result, fastrand::f64()).map(|pause| Instant::now() + pause);
        self.breath = Some(Instant::now() + BREATH);
        self.tell();
    }

    /// The connection is gone.
    fn lose(&mut self) {
        if let Some(connector) = &mut self.connector {
            connector.next();
        }
        self.state.send_modify(|state| state.connected_since = None);
        self.recorder.look_for_leftovers();
    }

    /// The reports are written again.
    fn back(&mut self) {
        let Some((since, cause)) = self.away.take() else { return };
        self.greeted = false;
        let away = (self.clock)().mono.saturating_sub(since.mono).as_secs_f64();
        let Backlog { dropped, .. } = self.backlog;
        let waiting = self.backlog.len();
        let text =
            format!("Valkey was away for {away:.1} s: {cause}; {waiting} entries waited, {dropped} dropped so far");
        tracing::info!("Valkey takes reports again, after {away:.1} s; {waiting} entries wait to be written");
        self.news.push(Event::Delivery(text));
    }

    fn tell(&mut self) {
        let (backlog, dropped, resent) = (self.backlog.len() as u64, self.backlog.dropped, self.backlog.resent);
        self.state.send_modify(|state| *state = Delivery { backlog, dropped, resent, ..state.clone() });
    }

    fn connection_state(&self) -> String {
        let state = self.state.borrow();
        let since = state.connected_since.map_or_else(
            || "is not connected".to_owned(),
            |since| format!("connected since {}", humantime::format_rfc3339_seconds(since)),
        );
        let mut text = format!("Valkey {} {since}", self.options.target);
        if let Some(round_trip) = state.round_trip {
            text += &format!(", round trip {:.1} ms", round_trip.as_secs_f64() * 1e3);
        }
        for (count, what) in [(state.backlog, "entries wait"), (state.dropped, "dropped"), (state.resent, "sent again")]
        {
            if count > 0 {
                text += &format!(", {count} {what}");
            }
        }
        text
    }
}
