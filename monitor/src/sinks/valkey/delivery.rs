//! The sink: delivers the queue to the server, one operation at a time.

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::batch::{Batch, Command};
use super::commands::Purpose;
use super::connection::{Attempt, Connection, Done, Sent};
use super::owner_keys::OwnerKeys;
use super::queue::Queue;
use super::record::Context;
use super::refusals::Refusals;
use super::status::Status;
use crate::containers::owners::Owners;
use crate::report::{Delivery, Report};
use crate::sinks::sink::{Feed, Retry, Sink, SinkError, SinkFuture};
use crate::snapshot::{Coverage, Stamp};
use crate::timer;
use crate::valkey::{Answer, Fault, FaultKind, ValkeyOptions};

/// Writes reports to Valkey.
pub struct Valkey {
    clock: fn() -> Stamp,
    queue: Queue,
    connection: Connection,
    owners: OwnerKeys,
    refusals: Refusals,
    status: Status,
    /// The request or connection attempt that is under way.
    in_flight: Option<Attempt>,
}

impl Sink for Valkey {
    fn feed(&self) -> Feed {
        Feed::Every
    }

    fn delivery(&self) -> Option<watch::Receiver<Delivery>> {
        Some(self.status.subscribe())
    }

    fn open(&mut self) -> SinkFuture<'_> {
        Box::pin(self.queue.restore((self.clock)()))
    }

    /// Puts the report into the queue, which cannot fail.
    fn write<'a>(&'a mut self, report: &'a Arc<Report>) -> SinkFuture<'a, Result<(), SinkError>> {
        self.add(Arc::clone(report));
        Box::pin(ready(Ok(())))
    }

    fn missed(&mut self, reports: u64) {
        self.queue.missed(reports);
        tracing::warn!(reports, "Reports missing in the history: they came too fast");
    }

    fn work(&mut self) -> SinkFuture<'_> {
        Box::pin(async {
            loop {
                self.begin();
                self.step().await;
            }
        })
    }

    /// Delivers what it can at once, and leaves the rest on disk.
    fn close(&mut self) -> SinkFuture<'_> {
        Box::pin(async {
            loop {
                self.begin();
                if self.in_flight.is_none() {
                    return self.queue.save((self.clock)()).await;
                }
                self.step().await;
            }
        })
    }
}

impl Valkey {
    /// Creates the sink. Nothing is connected yet.
    pub fn new(options: ValkeyOptions, clock: fn() -> Stamp) -> Self {
        tracing::info!(server = %options.target, "Writing to Valkey");
        Self {
            clock,
            status: Status::new(options.target.to_string()),
            connection: Connection::new(options.clone()),
            queue: Queue::new(options),
            owners: OwnerKeys::new(None),
            refusals: Refusals::default(),
            in_flight: None,
        }
    }

    /// Claims the names that are asked for.
    #[must_use]
    pub fn with_owners(self, owners: Option<Owners>) -> Self {
        Self { owners: OwnerKeys::new(owners), ..self }
    }

    fn add(&mut self, report: Arc<Report>) {
        // Events of the connection go into the log of each container.
        let events = if report.coverage == Coverage::All { self.status.take_news() } else { Vec::new() };
        let context = Context { events, connection: self.status.describe() };
        self.queue.add(report, &context);
        self.status.update(self.queue.backlog());
        // The batch before is not answered yet, or the server is away.
        let wait = self.in_flight.is_some() || self.is_away();
        self.queue.copy(wait, (self.clock)());
    }

    /// Returns whether the server is away: it cannot be reached, or refuses reports.
    fn is_away(&self) -> bool {
        !self.connection.is_idle() || self.status.is_outage()
    }

    /// Starts the next operation, unless one is under way.
    fn begin(&mut self) {
        let now = timer::now();
        if self.in_flight.is_some() || self.connection.is_backing_off(now) {
            return;
        }
        if self.connection.forget_closed() {
            self.status.disconnected();
        }
        if !self.connection.is_idle() {
            self.in_flight = self.connection.connect();
            return;
        }
        let claims = self.owners.urgent(now);
        if !claims.is_empty() {
            return self.send(Batch::new(Vec::new(), claims));
        }
        if !self.queue.has_report() && !self.connection.may_send_backlog(now) {
            return;
        }
        self.refusals.cooldowns.expire(now);
        let is_one_server = self.connection.is_one_server();
        let Self { connection, refusals, owners, .. } = self;
        let batch = self.queue.batch(owners, &connection.limits, &refusals.cooldowns, is_one_server, now);
        if !batch.is_empty() {
            self.send(batch);
        }
    }

    fn send(&mut self, batch: Batch) {
        self.status.sending(batch.bytes);
        self.in_flight = self.connection.send(batch, self.clock);
    }

    /// Waits for the first of the events that it can act on. Cancelling it loses nothing.
    async fn step(&mut self) {
        let (is_idle, is_copying, due) = (self.in_flight.is_none(), self.queue.is_copying(), self.due());
        let Self { in_flight, queue, owners, .. } = self;
        let done = tokio::select! {
            biased;
            done = async { Some(in_flight.as_mut()?.await) }, if !is_idle => done,
            () = queue.copied(), if is_copying => None,
            () = owners.wanted(), if is_idle => None,
            () = tokio::time::sleep_until(due), if is_idle => None,
        };
        if let Some(done) = done {
            self.in_flight = None;
            self.conclude(done);
            let wait = self.is_away();
            self.queue.copy(wait, (self.clock)());
        }
    }

    /// Returns the time at which the next operation may become possible.
    fn due(&self) -> Instant {
        let now = timer::now();
        let cooldown = (self.queue.backlog().len() > 0).then(|| self.refusals.cooldowns.next_end()).flatten();
        let due =
            self.connection.next_due().chain(cooldown).chain(self.owners.next_due()).filter(|due| *due > now).min();
        due.unwrap_or(now + Duration::from_secs(3600))
    }

    fn conclude(&mut self, done: Done) {
        let result = match done {
            Done::Connected(connector, result) => match self.connection.connected(connector, result) {
                Ok(()) => {
                    self.owners.connected(true);
                    self.refusals.cooldowns.clear();
                    return self.status.connected((self.clock)().wall);
                }
                Err(fault) => {
                    self.owners.connected(false);
                    Err(fault)
                }
            },
            Done::Sent(sent) => self.take(sent),
        };
        if let Err(fault) = &result {
            self.status.failed(fault, (self.clock)());
        }
        self.connection.pause(result.map_err(|fault| SinkError {
            text: format!("storing {}: {fault}", Purpose::Metrics.what()),
            retry: Retry::Soon,
        }));
        self.status.update(self.queue.backlog());
    }

    /// Takes the answers. Only a report that was not stored is a failure of the sink; a command of another kind that
    /// the server refuses costs that command alone.
    fn take(&mut self, mut sent: Sent) -> Result<(), Fault> {
        let mut failed: Option<Fault> = None;
        let answers = std::mem::take(&mut sent.answers);
        for (command, answer) in sent.batch.commands.iter().zip(answers) {
            // If the report itself failed, only that is logged, and not every kind of command again.
            let fault = self.answer(command, answer, failed.is_some()).err();
            failed = failed.or(fault.filter(|fault| matches!(command, Command::Metrics) || !fault.is_answer()));
        }
        for name in self.owners.take_lost() {
            self.queue.disown(&name);
        }
        if failed.is_none() {
            self.status.answered(sent.round_trip);
            if self.queue.written(&sent.batch) {
                self.status.written(self.queue.backlog(), (self.clock)());
            }
        }
        if !self.connection.sent(sent, failed.as_ref()) {
            self.status.disconnected();
            self.queue.connection_lost();
        }
        failed.map_or(Ok(()), Err)
    }

    fn answer(&mut self, command: &Command, answer: Answer, quiet: bool) -> Result<(), Fault> {
        let result = match command {
            Command::Owner(step) => self.owners.answered(step, answer),
            _ => self.queue.answered(command, answer),
        };
        match &result {
            Ok(()) => self.refusals.accepted(command.purpose()),
            Err(fault) if matches!(command, Command::Metrics) || fault.kind == FaultKind::Behind => {}
            Err(fault) if fault.is_answer() => self.refusals.refused(command, fault, quiet),
            Err(_) => {}
        }
        result
    }
}
