//! The keys of the machines that report under each name: commands and answers.

use tokio::time::Instant;

use redis::Value;

use super::batch::Command;
use crate::containers::owners::{EXPIRY, OwnerTable, Owners, Reply, Step, StepKind};
use crate::valkey::keys::owner_key;
use crate::valkey::{Answer, Fault, FaultKind, Request};

/// The names of one batch.
const MOST_NAMES: usize = 250;
/// The same after somebody has filled keys with long texts: the answers, two for a name, fit into what a writer takes.
const FEWEST_NAMES: usize = 7;

/// The claims, as commands.
#[derive(Debug)]
pub(super) struct OwnerKeys {
    /// `None` if this agent claims no names.
    owners: Option<Owners>,
    most: usize,
}

impl OwnerKeys {
    /// Sends nothing yet.
    pub(super) fn new(owners: Option<Owners>) -> Self {
        Self { owners, most: MOST_NAMES }
    }

    /// Returns the commands that must be answered before reports are written.
    pub(super) fn urgent(&self, now: Instant) -> Vec<(Command, Request)> {
        self.commands(|table| table.urgent(now, self.most))
    }

    /// Returns the commands that go along with reports.
    pub(super) fn routine(&self, now: Instant) -> Vec<(Command, Request)> {
        self.commands(|table| table.routine(now, self.most))
    }

    fn commands(&self, steps: impl FnOnce(&mut OwnerTable) -> Vec<Step>) -> Vec<(Command, Request)> {
        let Some(owners) = &self.owners else { return Vec::new() };
        let mut table = owners.table();
        let steps = steps(&mut table);
        let value = table.value();
        let command = |step| {
            let request = request(&step, &value);
            (Command::Owner(step), request)
        };
        steps.into_iter().map(command).collect()
    }

    /// Returns when a command becomes due that does not wait for reports.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.owners.as_ref()?.table().next_due()
    }

    /// Waits until a name is to be claimed.
    pub(super) async fn wanted(&self) {
        match &self.owners {
            Some(owners) => owners.wanted().await,
            None => std::future::pending().await,
        }
    }

    /// Records a connection, or that there is none.
    pub(super) fn connected(&self, is_connected: bool) {
        let Some(owners) = &self.owners else { return };
        let mut table = owners.table();
        if is_connected { table.connected() } else { table.disconnected() }
    }

    /// Takes the answer to a command.
    pub(super) fn answered(&mut self, step: &Step, answer: Answer) -> Result<(), Fault> {
        let Some(owners) = &self.owners else { return Ok(()) };
        let reply = match answer {
            Ok(Value::BulkString(owner)) => Reply::Owner(owner),
            Ok(Value::Okay | Value::Int(_)) => Reply::Done,
            Ok(_) => Reply::Nothing,
            Err(fault) if fault.is_about_content() => Reply::Foreign,
            Err(fault) => {
                if fault.kind == FaultKind::RefusedReply {
                    self.most = FEWEST_NAMES;
                }
                // Without DEL, keys expire by themselves.
                if !fault.is_answer() {
                    owners.table().unanswered(step);
                } else if step.kind != StepKind::Release {
                    owners.table().refused();
                }
                return Err(fault);
            }
        };
        owners.table().answered(step, &reply);
        Ok(())
    }

    /// Takes the names under which this machine may not write any more.
    pub(super) fn take_lost(&self) -> Vec<String> {
        self.owners.as_ref().map(|owners| owners.table().take_lost()).unwrap_or_default()
    }
}

fn request(step: &Step, value: &str) -> Request {
    let command = match step.kind {
        StepKind::Release => "DEL",
        StepKind::Look | StepKind::Read => "GET",
        StepKind::Take | StepKind::Renew => "SET",
    };
    let mut command = redis::cmd(command);
    command.arg(owner_key(&step.claimed));
    let condition = match step.kind {
        StepKind::Take => "NX",
        StepKind::Renew => "XX",
        _ => return command.into(),
    };
    command.arg(value).arg(condition).arg("PX").arg(EXPIRY.as_millis().to_string());
    command.into()
}

#[cfg(test)]
mod tests;
