//! The commands of one round trip, and the meaning of their answers.

use super::backlog::{Outcome, StreamEntry};
use super::commands::Purpose;
use super::pending_report::PendingReport;
use super::record::Maintenance;
use super::stream::{Stream, StreamKind};
use crate::containers::owners::{Step, StepKind};
use crate::valkey::{Answer, FaultKind, Request};

/// A command, by its subject.
pub(super) enum Command {
    /// The report of a container under its key.
    Metrics,
    /// The list of containers.
    Index,
    /// Claims a name for this machine.
    Owner(Step),
    /// Removes old names from the list.
    Forget,
    /// Upkeep of log entries under keys.
    Maintenance(Maintenance),
    /// Adds an entry to a stream.
    Add(StreamEntry),
    /// Renews the expiry of a stream.
    Expire,
    /// Asks for the last id of a stream.
    LastId(Stream),
}

impl Command {
    /// Returns the purpose of the command.
    pub(super) fn purpose(&self) -> Purpose {
        match self {
            Self::Metrics => Purpose::Metrics,
            Self::Index => Purpose::Index,
            Self::Owner(Step { kind: StepKind::Take | StepKind::Renew, .. }) => Purpose::Owner,
            Self::Owner(Step { kind: StepKind::Look | StepKind::Read, .. }) => Purpose::OwnerRead,
            Self::Owner(Step { kind: StepKind::Release, .. }) => Purpose::Release,
            Self::Forget => Purpose::Forget,
            Self::Maintenance(Maintenance::Write(..)) => Purpose::Log,
            Self::Maintenance(Maintenance::Prune) => Purpose::Prune,
            Self::Maintenance(Maintenance::Scan) => Purpose::Scan,
            Self::Add(entry) => purpose(&entry.stream),
            Self::Expire => Purpose::Expiry,
            Self::LastId(_) => Purpose::End,
        }
    }
}

/// Returns the purpose of adding to a stream.
pub(super) fn purpose(stream: &Stream) -> Purpose {
    match stream.kind {
        StreamKind::History => Purpose::History,
        StreamKind::Log => Purpose::Stream,
    }
}

/// The commands of one round trip.
pub(super) struct Batch {
    /// The reports that it writes under their keys.
    pub(super) pending: Vec<PendingReport>,
    pub(super) commands: Vec<Command>,
    requests: Vec<Request>,
    /// Its size on the wire.
    pub(super) bytes: u64,
}

impl Batch {
    /// Puts commands together with the requests that carry them out.
    pub(super) fn new(pending: Vec<PendingReport>, commands: Vec<(Command, Request)>) -> Self {
        let (commands, requests): (Vec<Command>, Vec<Request>) = commands.into_iter().unzip();
        let bytes = requests.iter().map(Request::bytes).sum();
        Self { pending, commands, requests, bytes }
    }

    /// Returns whether there is nothing to send.
    pub(super) fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// Takes the requests out, one for each command.
    pub(super) fn take_requests(&mut self) -> Vec<Request> {
        std::mem::take(&mut self.requests)
    }
}

/// Returns the outcome for an entry from the answer to its command.
pub(super) fn outcome(answer: &Answer) -> Outcome {
    match answer.as_ref().map_err(|fault| &fault.kind) {
        Ok(_) => Outcome::Written,
        Err(FaultKind::Behind) => Outcome::Behind,
        Err(FaultKind::UnknownCommand) => Outcome::Impossible,
        Err(FaultKind::Silence | FaultKind::RefusedReply) => Outcome::Silence,
        Err(_) => Outcome::Refused,
    }
}
