//! One round trip: what goes out, and what each answer means.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use redis::{Cmd, Value};
use tokio::time::Instant;

use super::backlog::{Entry, Outcome};
use super::commands::{self, Purpose};
use super::record::{Chore, Live};
use super::stream::{self, Stream};
use super::{Valkey, storing};
use crate::log_once::LogOnce;
use crate::unix_time::since_epoch;
use crate::valkey::{Answer, Fault, FaultKind, Link, Request};

/// How long something that was refused is not asked for again.
const REST: Duration = Duration::from_secs(3);
/// How often old names are taken out of the list of containers.
const FORGETTING: Duration = Duration::from_secs(3600);

/// What a command is about.
enum Ask {
    Metrics,
    Index,
    Forget,
    Chore(Chore),
    Add(Entry),
    Expire,
    End(Stream),
}

impl Ask {
    fn purpose(&self) -> Purpose {
        match self {
            Self::Metrics => Purpose::Metrics,
            Self::Index => Purpose::Index,
            Self::Forget => Purpose::Forget,
            Self::Chore(Chore::Write(..)) => Purpose::Log,
            Self::Chore(Chore::Prune) => Purpose::Prune,
            Self::Chore(Chore::Scan) => Purpose::Scan,
            Self::Add(entry) => purpose(&entry.stream),
            Self::Expire => Purpose::Expiry,
            Self::End(_) => Purpose::End,
        }
    }
}

fn purpose(stream: &Stream) -> Purpose {
    match stream.kind {
        stream::Kind::History => Purpose::History,
        stream::Kind::Log => Purpose::Stream,
    }
}

/// The commands of one round trip.
pub(super) struct Batch {
    live: Vec<Live>,
    asks: Vec<Ask>,
    requests: Vec<Request>,
    /// On the wire.
    pub(super) bytes: u64,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.asks.is_empty()
    }

    /// What goes out, one for each ask.
    pub(super) fn take_requests(&mut self) -> Vec<Request> {
        std::mem::take(&mut self.requests)
    }
}

/// What the server refuses is not asked for at every tick.
#[derive(Debug, Default)]
pub(super) struct Rests {
    purposes: BTreeMap<Purpose, Instant>,
    streams: BTreeMap<Stream, Instant>,
}

impl Rests {
    fn may(&self, purpose: Purpose, now: Instant) -> bool {
        self.purposes.get(&purpose).is_none_or(|until| *until <= now)
    }

    fn may_add(&self, stream: &Stream, now: Instant) -> bool {
        self.may(purpose(stream), now) && self.streams.get(stream).is_none_or(|until| *until <= now)
    }

    /// When the next rest ends.
    pub(super) fn next(&self) -> Option<Instant> {
        self.purposes.values().chain(self.streams.values()).min().copied()
    }

    /// A new connection may be to another server.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    fn forget_past(&mut self, now: Instant) {
        self.purposes.retain(|_, until| *until > now);
        self.streams.retain(|_, until| *until > now);
    }
}

impl Valkey {
    /// What goes out next: the latest report first, then what belongs to it, then the backlog in order.
    pub(super) fn batch(&mut self, is_one: bool, now: Instant) -> Batch {
        self.rests.forget_past(now);
        let rests = &self.rests;
        let length = self.options.history.unwrap_or_default();
        let mut asks = Vec::new();
        for (purpose, request) in self.live.iter().flat_map(|live| live.requests(self.options.metrics_ttl)) {
            let ask = if purpose == Purpose::Metrics { Ask::Metrics } else { Ask::Index };
            asks.push((ask, request));
        }
        if !self.live.is_empty() {
            asks.extend(
                forget(&mut self.forgot, now, self.recorder.now(), length).map(|cmd| (Ask::Forget, cmd.into())),
            );
            let chores = self.recorder.chores(|purpose| rests.may(purpose, now), is_one);
            asks.extend(chores.into_iter().map(|(chore, request)| (Ask::Chore(chore), request)));
        }
        asks.extend(self.backlog.lost().map(|stream| (Ask::End(stream.clone()), stream.last().into())));
        let entries = self.backlog.batch(&self.pace, |stream| rests.may_add(stream, now));
        self.backlog.sent(&entries);
        let mut streams: Vec<Stream> = entries.iter().map(|entry| entry.stream.clone()).collect();
        for entry in entries {
            let add = entry.stream.add(entry.id, &entry.json, self.recorder.now(), length);
            asks.push((Ask::Add(entry), add));
        }
        streams.sort();
        streams.dedup();
        asks.extend(streams.iter().map(|stream| (Ask::Expire, stream.expire(length).into())));
        asks.retain(|(ask, _)| rests.may(ask.purpose(), now));
        let (asks, requests): (Vec<Ask>, Vec<Request>) = asks.into_iter().unzip();
        let bytes = requests.iter().map(Request::bytes).sum();
        Batch { live: self.live.clone(), asks, requests, bytes }
    }

    /// Takes the answers. Only a report that was not stored is a failure of the sink; whatever else the server refuses
    /// costs that alone.
    pub(super) fn take(
        &mut self,
        link: Link,
        batch: &Batch,
        answers: Vec<Answer>,
        round_trip: Duration,
    ) -> Result<(), Fault> {
        let mut failed: Option<Fault> = None;
        for (ask, answer) in batch.asks.iter().zip(answers) {
            // A server that takes no reports need not be complained of once more for each kind of command.
            let fault = self.answer(ask, answer, failed.is_some()).err();
            failed = failed.or(fault.filter(|fault| matches!(ask, Ask::Metrics) || !fault.is_answer()));
        }
        if link.is_good() && failed.as_ref().is_none_or(|fault| fault.kind != FaultKind::Stale) {
            self.link = Some(link);
        } else {
            self.lose();
        }
        match &failed {
            None => {
                self.pace.answered(batch.bytes, round_trip);
                self.state.send_modify(|state| state.round_trip = Some(round_trip));
            }
            Some(fault) if fault.kind == FaultKind::Silence && round_trip >= self.pace.patience => self.pace.silence(),
            Some(_) => self.pace.refused(),
        }
        if let Some(fault) = failed {
            return Err(fault);
        }
        if !batch.live.is_empty() {
            self.live.retain(|live| !batch.live.iter().any(|written| live.is(written)));
            self.back();
        }
        Ok(())
    }

    fn answer(&mut self, ask: &Ask, answer: Answer, quiet: bool) -> Result<(), Fault> {
        if let Ask::Add(entry) = ask {
            self.backlog.conclude(entry, outcome(&answer));
        }
        match answer {
            Ok(value) => {
                self.voices.remove(&ask.purpose());
                self.written(ask, value);
                Ok(())
            }
            Err(fault) => {
                if fault.is_answer() && !matches!(ask, Ask::Metrics) && fault.kind != FaultKind::Behind {
                    self.refused(ask, &fault, quiet);
                }
                Err(fault)
            }
        }
    }

    fn written(&mut self, ask: &Ask, value: Value) {
        match ask {
            Ask::Chore(chore) => self.recorder.done(chore, value),
            Ask::End(stream) => self.backlog.found(stream, Stream::last_id(value)),
            Ask::Metrics | Ask::Index | Ask::Forget | Ask::Add(_) | Ask::Expire => {}
        }
    }

    /// What is refused rests for a while, and is said when that is news.
    fn refused(&mut self, ask: &Ask, fault: &Fault, quiet: bool) {
        let (purpose, until) = (ask.purpose(), Instant::now() + REST);
        match (&fault.kind, ask) {
            (FaultKind::Forbidden | FaultKind::Unknown, Ask::End(stream)) => self.backlog.cannot_find(stream),
            (FaultKind::Refused, Ask::Add(entry)) => _ = self.rests.streams.insert(entry.stream.clone(), until),
            _ => _ = self.rests.purposes.insert(purpose, until),
        }
        if quiet {
            return;
        }
        let voice: &mut LogOnce = self.voices.entry(purpose).or_default();
        voice.warn(&if purpose == Purpose::Log {
            storing(fault, "log").text
        } else {
            format!("Valkey refuses {}, going on without: {fault}", purpose.what())
        });
    }
}

/// Once in a while: names stay in the list as long as anything is kept of them, a history of this `length` or the log.
fn forget(last: &mut Option<Instant>, now: Instant, wall: SystemTime, length: Duration) -> Option<Cmd> {
    if last.is_some_and(|last| now < last + FORGETTING) {
        return None;
    }
    *last = Some(now);
    Some(commands::forget(since_epoch(wall).saturating_sub(length.max(stream::LOG_TTL))))
}

fn outcome(answer: &Answer) -> Outcome {
    match answer.as_ref().map_err(|fault| &fault.kind) {
        Ok(_) => Outcome::Written,
        Err(FaultKind::Behind) => Outcome::Behind,
        Err(FaultKind::Unknown) => Outcome::Impossible,
        Err(FaultKind::Silence) => Outcome::Silence,
        Err(_) => Outcome::Refused,
    }
}
