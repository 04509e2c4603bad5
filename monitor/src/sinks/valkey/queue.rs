//! The queue: the latest report, the entries of streams and upkeep commands, with a copy on disk.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use redis::Cmd;
use tokio::time::Instant;

use super::backlog::Backlog;
use super::batch::{Batch, Command, outcome};
use super::batch_limits::BatchLimits;
use super::commands::{self, Purpose};
use super::disk_mirror::DiskMirror;
use super::owner_keys::OwnerKeys;
use super::pending_report::PendingReport;
use super::record::{Context, Recorder};
use super::refusals::Cooldowns;
use super::stream::{LOG_TTL, Stream};
use crate::report::Report;
use crate::snapshot::Stamp;
use crate::unix_time::since_epoch;
use crate::valkey::{Answer, Fault, Request, ValkeyOptions};

/// The most reports of exited containers that wait to be written under their keys; all of them are in the history.
const MOST_PENDING: usize = 512;
/// The interval at which old names are removed from the list of containers.
const FORGETTING: Duration = Duration::from_secs(3600);

/// The queue of everything that has to be written.
pub(super) struct Queue {
    recorder: Recorder,
    /// The latest report of all containers, and those of exited containers, in the order of their times.
    pending: Vec<PendingReport>,
    backlog: Backlog,
    disk: Option<DiskMirror>,
    buffer_dir: Option<PathBuf>,
    metrics_ttl: Duration,
    history: Duration,
    /// The time at which old names were last removed from the list of containers.
    forgot: Option<Instant>,
}

impl Queue {
    /// Creates an empty queue.
    pub(super) fn new(options: ValkeyOptions) -> Self {
        Self {
            pending: Vec::new(),
            backlog: Backlog::new(options.buffer),
            disk: None,
            buffer_dir: options.buffer_dir.clone(),
            metrics_ttl: options.metrics_ttl,
            history: options.history.unwrap_or_default(),
            forgot: None,
            recorder: Recorder::new(options),
        }
    }

    /// Takes over the entries that an earlier run left on disk.
    pub(super) async fn restore(&mut self, now: Stamp) {
        let Some(dir) = self.buffer_dir.clone() else { return };
        let opened = tokio::task::spawn_blocking(move || DiskMirror::open(&dir, now)).await;
        if let Ok(Some((disk, left))) = opened {
            self.disk = Some(disk);
            for entry in left {
                self.backlog.restore(entry);
            }
        }
    }

    /// Adds a report.
    pub(super) fn add(&mut self, report: Arc<Report>, context: &Context) {
        let pending = self.recorder.record(report, context, &mut self.backlog);
        if pending.is_whole() {
            self.pending.retain(|earlier| !earlier.is_whole());
        }
        self.pending.push(pending);
        let surplus = self.pending.len().saturating_sub(MOST_PENDING);
        self.pending.drain(..surplus);
    }

    /// Counts reports that were missed.
    pub(super) fn missed(&mut self, reports: u64) {
        self.backlog.dropped += reports;
    }

    /// Drops what waits under a name that is another machine's.
    pub(super) fn disown(&mut self, name: &str) {
        self.pending.iter_mut().for_each(|pending| pending.disown(name));
        self.backlog.disown(name);
    }

    /// Returns whether a report waits to be written under its keys.
    pub(super) fn has_report(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Returns the entries of streams that wait.
    pub(super) fn backlog(&self) -> &Backlog {
        &self.backlog
    }

    /// Takes the next batch: the latest report first, then the commands that belong to it, then the backlog in order.
    /// `is_one_server` is true if all keys are on one server.
    pub(super) fn batch(
        &mut self,
        owners: &OwnerKeys,
        limits: &BatchLimits,
        cooldowns: &Cooldowns,
        is_one_server: bool,
        now: Instant,
    ) -> Batch {
        let mut commands = Vec::new();
        for (purpose, request) in self.pending.iter().flat_map(|report| report.requests(self.metrics_ttl)) {
            let command = if purpose == Purpose::Metrics { Command::Metrics } else { Command::Index };
            commands.push((command, request));
        }
        let may_claim = [Purpose::Owner, Purpose::OwnerRead].iter().all(|purpose| cooldowns.allow(*purpose, now));
        if !self.pending.is_empty() && may_claim {
            commands.extend(owners.routine(now));
        }
        if !self.pending.is_empty() {
            commands.extend(self.forget(now).map(|cmd| (Command::Forget, cmd.into())));
            let upkeep = self.recorder.maintenance(|purpose| cooldowns.allow(purpose, now), is_one_server);
            commands.extend(upkeep.into_iter().map(|(upkeep, request)| (Command::Maintenance(upkeep), request)));
        }
        commands.extend(self.backlog.lost().map(|stream| (Command::LastId(stream.clone()), stream.last().into())));
        self.take_entries(limits, cooldowns, now, &mut commands);
        commands.retain(|(command, _)| cooldowns.allow(command.purpose(), now));
        Batch::new(self.pending.clone(), commands)
    }

    /// Adds the next entries of streams.
    fn take_entries(
        &mut self,
        limits: &BatchLimits,
        cooldowns: &Cooldowns,
        now: Instant,
        commands: &mut Vec<(Command, Request)>,
    ) {
        let wall = self.recorder.now();
        let entries = self.backlog.batch(limits, |stream| cooldowns.allow_adding(stream, now));
        self.backlog.sent(&entries);
        let mut streams: Vec<Stream> = entries.iter().map(|entry| entry.stream.clone()).collect();
        for entry in entries {
            let add = entry.stream.add(entry.id, &entry.json, wall, self.history);
            commands.push((Command::Add(entry), add));
        }
        streams.sort();
        streams.dedup();
        commands.extend(streams.iter().map(|stream| (Command::Expire, stream.expire(self.history).into())));
    }

    /// Removes old names from the list of containers, at intervals. A name stays as long as any of its data are kept.
    fn forget(&mut self, now: Instant) -> Option<Cmd> {
        if self.forgot.is_some_and(|last| now < last + FORGETTING) {
            return None;
        }
        self.forgot = Some(now);
        let wall: SystemTime = self.recorder.now();
        Some(commands::forget(since_epoch(wall).saturating_sub(self.history.max(LOG_TTL))))
    }

    /// Takes the answer to a command.
    pub(super) fn answered(&mut self, command: &Command, answer: Answer) -> Result<(), Fault> {
        if let Command::Add(entry) = command {
            self.backlog.conclude(entry, outcome(&answer));
        }
        match (command, answer) {
            (Command::Maintenance(upkeep), Ok(value)) => self.recorder.done(upkeep, value),
            (Command::LastId(stream), Ok(value)) => self.backlog.found(stream, Stream::last_id(value)),
            (_, Ok(_)) => {}
            (command, Err(fault)) => {
                if let Command::LastId(stream) = command
                    && fault.is_permanent()
                {
                    self.backlog.cannot_find(stream);
                }
                return Err(fault);
            }
        }
        Ok(())
    }

    /// Removes the reports that a batch has written; returns whether there were any.
    pub(super) fn written(&mut self, batch: &Batch) -> bool {
        self.pending.retain(|pending| !batch.pending.iter().any(|written| pending.is(written)));
        !batch.pending.is_empty()
    }

    /// Records that the connection is gone: removals may not have been carried out.
    pub(super) fn connection_lost(&mut self) {
        self.recorder.look_for_leftovers();
    }

    /// Begins to update the copy on disk. New entries are copied only if they have to `wait`.
    pub(super) fn copy(&mut self, wait: bool, now: Stamp) {
        if let Some(disk) = &mut self.disk {
            disk.follow(&self.backlog, wait, now);
        }
    }

    /// Returns whether the copy on disk is being updated.
    pub(super) fn is_copying(&self) -> bool {
        self.disk.as_ref().is_some_and(DiskMirror::is_busy)
    }

    /// Waits until the copy on disk is updated.
    pub(super) async fn copied(&mut self) {
        if let Some(disk) = &mut self.disk {
            disk.changed().await;
        }
    }

    /// Leaves the unwritten entries on disk.
    pub(super) async fn save(&mut self, now: Stamp) {
        self.copied().await;
        self.copy(true, now);
        self.copied().await;
    }
}
