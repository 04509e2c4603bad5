//! The connection to the server: when to connect and to send, and how much at once.

use std::time::Duration;

use tokio::time::Instant;

use super::batch::Batch;
use super::batch_limits::BatchLimits;
use crate::sinks::backoff::Backoff;
use crate::sinks::sink::SinkError;
use crate::snapshot::Stamp;
use crate::timer;
use crate::valkey::{Answer, Connector, Fault, FaultKind, Link, ValkeyOptions};

/// The pause between two batches of a backlog: a server that has just come back has other agents to serve.
const PACING_DELAY: Duration = Duration::from_millis(20);

/// An operation on the server, which returns the connector or the link that it took.
pub(super) type Attempt = std::pin::Pin<Box<dyn Future<Output = Done> + Send>>;

/// The result of an attempt.
pub(super) enum Done {
    /// A connection was made, or not.
    Connected(Connector, Result<Link, Fault>),
    /// A batch was sent.
    Sent(Sent),
}

/// A batch that was sent, and its answers.
pub(super) struct Sent {
    link: Link,
    pub(super) batch: Batch,
    pub(super) answers: Vec<Answer>,
    pub(super) round_trip: Duration,
}

/// The connection to the server. The connector or the link is `None` while an attempt has it.
pub(super) struct Connection {
    connector: Option<Connector>,
    link: Option<Link>,
    /// True once a batch was answered on the link.
    is_proved: bool,
    /// The size of the next batch, and its timeout.
    pub(super) limits: BatchLimits,
    backoff: Backoff,
    /// The end of the pause after a failure.
    retry_at: Option<Instant>,
    /// The end of the pause between two batches of the backlog.
    next_batch_at: Option<Instant>,
}

impl Connection {
    /// Connects nothing yet.
    pub(super) fn new(options: ValkeyOptions) -> Self {
        Self {
            connector: Some(Connector::new(options)),
            link: None,
            is_proved: false,
            limits: BatchLimits::default(),
            backoff: Backoff::default(),
            retry_at: None,
            next_batch_at: None,
        }
    }

    /// Returns whether there is a connection that no attempt uses.
    pub(super) fn is_idle(&self) -> bool {
        self.link.is_some()
    }

    /// Forgets a link that the server has closed while nothing was under way, as servers do with idle clients
    /// (`timeout`). One that has never been of use is kept: its failure must be told, and followed by a pause. Returns
    /// whether there was one.
    pub(super) fn forget_closed(&mut self) -> bool {
        let is_closed = self.is_proved && self.link.as_ref().is_some_and(Link::is_closed);
        if is_closed {
            self.link = None;
        }
        is_closed
    }

    /// Returns whether nothing may be tried yet, after a failure.
    pub(super) fn is_backing_off(&self, now: Instant) -> bool {
        self.retry_at.is_some_and(|until| now < until)
    }

    /// Returns whether the pause between two batches is over.
    pub(super) fn may_send_backlog(&self, now: Instant) -> bool {
        self.next_batch_at.is_none_or(|until| until <= now)
    }

    /// Returns whether all keys are on one server.
    pub(super) fn is_one_server(&self) -> bool {
        self.link.as_ref().is_some_and(Link::is_one)
    }

    /// Returns the ends of the pauses.
    pub(super) fn next_due(&self) -> impl Iterator<Item = Instant> {
        [self.retry_at, self.next_batch_at].into_iter().flatten()
    }

    /// Begins to connect.
    pub(super) fn connect(&mut self) -> Option<Attempt> {
        let mut connector = self.connector.take()?;
        Some(Box::pin(async move {
            let result = connector.connect().await;
            Done::Connected(connector, result)
        }))
    }

    /// Begins to send a batch.
    pub(super) fn send(&mut self, mut batch: Batch, clock: fn() -> Stamp) -> Option<Attempt> {
        let (mut link, timeout) = (self.link.take()?, self.limits.timeout);
        Some(Box::pin(async move {
            let began = clock().mono;
            let answers = link.send(&batch.take_requests(), timeout).await;
            Done::Sent(Sent { link, batch, answers, round_trip: clock().mono.saturating_sub(began) })
        }))
    }

    /// Takes back the connector of an attempt to connect.
    pub(super) fn connected(&mut self, connector: Connector, result: Result<Link, Fault>) -> Result<(), Fault> {
        self.connector = Some(connector);
        self.link = Some(result?);
        self.is_proved = false;
        Ok(())
    }

    /// Takes back the link of a batch, and adapts the size of the next one. `failed` is why the report was not stored.
    /// Returns whether the link is still good.
    pub(super) fn sent(&mut self, sent: Sent, failed: Option<&Fault>) -> bool {
        match failed {
            None => self.limits.answered(sent.batch.bytes, sent.round_trip),
            Some(fault) if fault.kind == FaultKind::Silence && sent.round_trip >= self.limits.timeout => {
                self.limits.timed_out();
            }
            Some(_) => self.limits.refused(),
        }
        let is_good = sent.link.is_good() && failed.is_none_or(|fault| !fault.is_stale());
        if is_good {
            self.link = Some(sent.link);
            self.is_proved = true;
        } else if let Some(connector) = &mut self.connector {
            connector.next();
        }
        is_good
    }

    /// Sets the pause before the next attempt.
    pub(super) fn pause(&mut self, outcome: Result<(), SinkError>) {
        let now = timer::now();
        self.retry_at = self.backoff.pause(outcome, fastrand::f64()).map(|pause| now + pause);
        self.next_batch_at = Some(now + PACING_DELAY);
    }
}
