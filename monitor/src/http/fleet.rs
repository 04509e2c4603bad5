//! A fleet: the reports that agents have written to Valkey, read once per interval.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::frame::Frame;
use super::log_entry::LogEntry;
use super::server::Server;
use crate::events::Topic;
use crate::log_once::LogOnce;
use crate::snapshot::{Stamp, Status};
use crate::valkey::ValkeyOptions;
use crate::valkey::arrivals::Arrivals;
use crate::valkey::store::{Looked, Store, StoreError, Stored};

/// Time for which a container is shown after its latest report, if that has expired and did not say `exited`.
const MISSED: Duration = Duration::from_secs(15 * 60);
/// The pause before the next attempt after Valkey has failed.
const AGAIN: Duration = Duration::from_secs(1);
/// The most log entries of a container that are read at once.
const ENTRIES: usize = 20;

/// Reads reports and shows them; never returns.
pub(super) async fn run(server: Arc<Server>, options: ValkeyOptions, interval: Duration) {
    let mut log = LogOnce::default();
    let mut fleet = Fleet {
        began: server.now().wall,
        told: BTreeMap::new(),
        known: BTreeMap::new(),
        log: LogOnce::default(),
        arrivals: Arrivals::default(),
    };
    loop {
        let Err(error) = watch(&server, &options, interval, &mut fleet).await;
        let text = error.to_string();
        if log.is_new(&text) {
            tracing::warn!(%error, "Error reading from Valkey");
        }
        server.record_failure(text);
        tokio::time::sleep(AGAIN).await;
    }
}

/// State that is kept from one look to the next.
struct Fleet {
    /// Log entries from before this time are not news.
    began: SystemTime,
    /// The time of each container's latest log entry: clocks differ.
    told: BTreeMap<String, SystemTime>,
    /// The latest report of each container.
    known: BTreeMap<String, Arc<Stored>>,
    log: LogOnce,
    arrivals: Arrivals,
}

/// Reads reports until something fails.
async fn watch(
    server: &Server,
    options: &ValkeyOptions,
    interval: Duration,
    fleet: &mut Fleet,
) -> Result<std::convert::Infallible, StoreError> {
    let mut store = Store::connect(options).await?;
    tracing::info!(server = %options.target, "Reading from Valkey");
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = server.now();
        server.show(Frame::stored(now, fleet.look(&mut store, now).await?), None);
        // Log entries that cannot be read leave the reports alone.
        match fleet.happened(&mut store).await {
            Ok(happened) => server.publish_entries(happened),
            Err(error) => {
                if fleet.log.is_new(&error.to_string()) {
                    tracing::warn!(%error, "Log entries are not shown");
                }
                store = Store::connect(options).await?;
            }
        }
    }
}

impl Fleet {
    /// Returns the latest report of every container, and true for each that has not expired.
    async fn look(&mut self, store: &mut Store, now: Stamp) -> Result<Vec<(Arc<Stored>, bool)>, StoreError> {
        let mut looked = store.look(now.wall - MISSED).await?;
        self.arrivals.update(&mut looked, now);
        let mut before = std::mem::take(&mut self.known);
        let mut shown = Vec::new();
        for Looked { name, report, .. } in looked {
            // A value that is no report affects its own container alone.
            let report = report.ok().flatten().map(Arc::new);
            let missed = before.remove(&name).filter(|report| report.status != Status::Exited);
            let is_recent = self.arrivals.last(&name, now).is_some_and(|last| last >= now.wall - MISSED);
            let missed = missed.filter(|_| is_recent);
            let (report, is_there) = match (report, missed) {
                (Some(report), _) => (report, true),
                (None, Some(report)) => (report, false),
                (None, None) => continue,
            };
            self.known.insert(name, Arc::clone(&report));
            shown.push((report, is_there));
        }
        Ok(shown)
    }

    /// Returns the log entries since the last look, except heartbeats.
    async fn happened(&mut self, store: &mut Store) -> Result<Vec<(String, LogEntry)>, StoreError> {
        let names: Vec<&str> = self.known.keys().map(String::as_str).collect();
        let mut happened = Vec::new();
        self.told.retain(|name, _| self.known.contains_key(name));
        for (name, entries) in names.iter().zip(store.logs(&names, ENTRIES).await?) {
            let told = self.told.entry((*name).to_owned()).or_insert(self.began);
            for entry in entries {
                if entry.at > *told {
                    *told = entry.at;
                    if entry.topic != Topic::Heartbeat {
                        happened.push(((*name).to_owned(), LogEntry::from(entry)));
                    }
                }
            }
        }
        Ok(happened)
    }
}
