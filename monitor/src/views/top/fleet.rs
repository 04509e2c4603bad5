//! Updates from Valkey: the containers of many machines, as their agents have written them.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, watch};

use super::model::Update;
use super::notes::Notes;
use crate::events::{LogEntry, Topic};
use crate::snapshot::{Coverage, Stamp};
use crate::valkey::ValkeyOptions;
use crate::valkey::arrivals::Arrivals;
use crate::valkey::store::{Looked, Store, StoreError};
use crate::views::row::Row;

/// Time after which a container without reports is forgotten.
const REMEMBERED: Duration = Duration::from_secs(600);
/// Log entries that are requested.
const ENTRIES: usize = 20;

/// Reads a fleet.
pub struct Fleet {
    options: ValkeyOptions,
    clock: fn() -> Stamp,
    store: Option<Store>,
    /// Containers that exited regularly, with the time of their latest report.
    ended: BTreeSet<(String, SystemTime)>,
    /// Containers that were found silent and had not exited, likewise.
    silent: BTreeSet<(String, SystemTime)>,
    arrivals: Arrivals,
}

impl Fleet {
    /// Creates a reader of the server that the options name. Nothing is connected yet.
    pub fn new(options: ValkeyOptions, clock: fn() -> Stamp) -> Self {
        Self {
            options,
            clock,
            store: None,
            ended: BTreeSet::new(),
            silent: BTreeSet::new(),
            arrivals: Arrivals::default(),
        }
    }

    /// Reads once per interval, until the view ends. The log is read for the wanted container alone.
    pub async fn run(
        mut self,
        interval: Duration,
        updates: mpsc::Sender<Update>,
        mut wanted: watch::Receiver<Option<String>>,
        notes: Notes,
    ) {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                changed = wanted.changed() => if changed.is_err() { return },
            }
            let name = wanted.borrow_and_update().clone();
            let mut refused = None;
            match self.look(name.as_deref(), &mut refused).await {
                Ok(update) => {
                    if updates.send(update).await.is_err() {
                        return;
                    }
                }
                // The next look connects anew.
                Err(error) => refused = Some(error),
            }
            if let Some(error) = refused {
                notes.add(error.to_string());
            }
        }
    }

    /// Reads once. A refusal that concerns one container affects that container alone.
    async fn look(&mut self, wanted: Option<&str>, refused: &mut Option<StoreError>) -> Result<Update, StoreError> {
        let stamp = (self.clock)();
        let now = stamp.wall;
        let mut store = match self.store.take() {
            Some(store) => store,
            None => Store::connect(&self.options).await?,
        };
        let since = now.checked_sub(REMEMBERED).unwrap_or(SystemTime::UNIX_EPOCH);
        let mut looked = store.look(since).await?;
        self.arrivals.update(&mut looked, stamp);
        let (mut rows, mut silent) = (Vec::new(), BTreeSet::new());
        for Looked { name, last, report } in looked {
            match report {
                Ok(Some(stored)) => rows.push(Row::stored(&stored, now)),
                Ok(None) => {
                    if self.arrivals.last(&name, stamp).unwrap_or(last) >= since {
                        silent.insert((name, last));
                    }
                }
                Err(error) => *refused = Some(error),
            }
        }
        self.judge(&mut store, &silent).await?;
        let silent = silent.into_iter().filter(|seen| !self.ended.contains(seen));
        let seen = |name: &str, last| self.arrivals.last(name, stamp).unwrap_or(last);
        rows.extend(silent.map(|(name, last)| Row::silent(&name, seen(&name, last), now)));
        let mut entries = Vec::new();
        if let Some(name) = wanted {
            let read = log(&mut store, name, ENTRIES, refused).await;
            entries.extend(read.into_iter().map(|entry| (name.to_owned(), entry)));
        }
        self.store = Some(store);
        Ok(Update { taken: now, coverage: Coverage::All, rows, entries })
    }

    /// Finds out which containers whose reports have expired exited regularly, by their last log entries.
    async fn judge(&mut self, store: &mut Store, silent: &BTreeSet<(String, SystemTime)>) -> Result<(), StoreError> {
        self.ended.retain(|seen| silent.contains(seen));
        self.silent.retain(|seen| silent.contains(seen));
        let unknown: Vec<&(String, SystemTime)> =
            silent.iter().filter(|seen| !self.ended.contains(*seen) && !self.silent.contains(*seen)).collect();
        let names: Vec<&str> = unknown.iter().map(|(name, _)| name.as_str()).collect();
        for (seen, entries) in unknown.into_iter().zip(store.logs(&names, 1).await?) {
            let last = entries.into_iter().next_back().map(|entry| entry.topic);
            let ended = matches!(last, Some(Topic::Exited | Topic::AgentStopped));
            let into = if ended { &mut self.ended } else { &mut self.silent };
            into.insert(seen.clone());
        }
        Ok(())
    }
}

/// The latest log entries; none if the server refuses them.
async fn log(store: &mut Store, name: &str, count: usize, refused: &mut Option<StoreError>) -> Vec<LogEntry> {
    store.log(name, count).await.unwrap_or_else(|error| {
        *refused = Some(error);
        Vec::new()
    })
}
