//! The history and the log of containers in Valkey, for requests that go back more than an hour.

use std::time::{Duration, SystemTime};

use tokio::sync::Mutex;

use super::chart::{Chart, Columns, packed};
use super::log_entry::LogEntry;
use super::view::written;
use crate::metrics::Metric;
use crate::unix_time::unix_millis;
use crate::valkey::ValkeyOptions;
use crate::valkey::store::{Store, StoreError};

/// The timeout of a request for history.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A connection that is opened on demand, and serves one request at a time: a long history is many pages.
pub(super) struct Past {
    options: ValkeyOptions,
    store: Mutex<Option<Store>>,
}

impl Past {
    /// Creates a client of the server that `options` name. Nothing is connected yet.
    pub(super) fn new(options: ValkeyOptions) -> Self {
        Self { options, store: Mutex::new(None) }
    }

    /// The numbers of a container from a time until another.
    pub(super) async fn columns(
        &self,
        name: &str,
        metrics: &[Metric],
        (since, until): (SystemTime, SystemTime),
    ) -> Result<Columns, StoreError> {
        self.ask(async |store| {
            let mut chart = Chart::new(metrics, unix_millis(until));
            let mut page = store.history(name, since).await?;
            loop {
                for report in &page.reports {
                    let row = metrics.iter().map(|metric| packed(written(report, *metric), *metric)).collect();
                    chart.push(unix_millis(report.taken), row);
                }
                let Some(next) = page.next else { return Ok(chart.columns()) };
                page = store.page(name, &next).await?;
            }
        })
        .await
    }

    /// The newest log entries of a container, oldest first.
    pub(super) async fn log(&self, name: &str, count: usize) -> Result<Vec<LogEntry>, StoreError> {
        self.ask(async |store| Ok(store.log(name, count).await?.into_iter().map(LogEntry::from).collect())).await
    }

    /// Sends a request, and connects first if there is no connection. A connection that fails is not used again.
    async fn ask<T>(&self, question: impl AsyncFnOnce(&mut Store) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let mut held = self.store.lock().await;
        let mut store = match held.take() {
            Some(store) => store,
            None => Store::connect(&self.options).await?,
        };
        let answer =
            tokio::time::timeout(TIMEOUT, question(&mut store)).await.map_err(|_| StoreError::Slow(TIMEOUT))?;
        if answer.is_ok() {
            *held = Some(store);
        }
        answer
    }
}

impl std::fmt::Debug for Past {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Past({})", self.options.target)
    }
}
