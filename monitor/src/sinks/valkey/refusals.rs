//! Commands that the server refuses: they are not sent again at every tick, and logged once.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::batch::{Command, purpose};
use super::commands::Purpose;
use super::stream::Stream;
use crate::log_once::LogOnce;
use crate::timer;
use crate::valkey::{Fault, FaultKind};

/// Time for which a refused command is not sent again.
const COOLDOWN: Duration = Duration::from_secs(3);

/// The cooldowns of commands and streams.
#[derive(Debug, Default)]
pub(super) struct Cooldowns {
    purposes: BTreeMap<Purpose, Instant>,
    streams: BTreeMap<Stream, Instant>,
}

impl Cooldowns {
    /// Returns whether commands for a purpose may be sent.
    pub(super) fn allow(&self, purpose: Purpose, now: Instant) -> bool {
        self.purposes.get(&purpose).is_none_or(|until| *until <= now)
    }

    /// Returns whether entries may be added to a stream.
    pub(super) fn allow_adding(&self, stream: &Stream, now: Instant) -> bool {
        self.allow(purpose(stream), now) && self.streams.get(stream).is_none_or(|until| *until <= now)
    }

    /// Returns when the next cooldown ends.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.purposes.values().chain(self.streams.values()).min().copied()
    }

    /// Ends all cooldowns: a new connection may be to another server.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Forgets the cooldowns that are over.
    pub(super) fn expire(&mut self, now: Instant) {
        self.purposes.retain(|_, until| *until > now);
        self.streams.retain(|_, until| *until > now);
    }
}

/// Refused commands.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    pub(super) cooldowns: Cooldowns,
    logs: BTreeMap<Purpose, LogOnce>,
}

impl Refusals {
    /// Records that the server carries commands for a purpose out.
    pub(super) fn accepted(&mut self, purpose: Purpose) {
        self.logs.remove(&purpose);
    }

    /// Begins the cooldown of a command that was refused, and logs it unless `quiet`.
    pub(super) fn refused(&mut self, command: &Command, fault: &Fault, quiet: bool) {
        let (purpose, until) = (command.purpose(), timer::now() + COOLDOWN);
        match command {
            // The queue gives up the stream.
            Command::LastId(_) if fault.is_permanent() => {}
            Command::Add(entry) if fault.kind == FaultKind::Refused => {
                self.cooldowns.streams.insert(entry.stream.clone(), until);
            }
            _ => _ = self.cooldowns.purposes.insert(purpose, until),
        }
        if quiet {
            return;
        }
        if !self.logs.entry(purpose).or_default().is_new(&fault.to_string()) {
            return;
        }
        match purpose {
            Purpose::Log => tracing::warn!("Error storing log: {fault}"),
            _ => tracing::warn!(command = purpose.what(), error = %fault, "Valkey command refused, feature suspended"),
        }
    }
}
