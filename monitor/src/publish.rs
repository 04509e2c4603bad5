//! The channel from the loop to the sinks. No receiver makes the loop wait.
//!
//! A receiver gets the latest report about all containers: a later one replaces it. Reports about containers that have
//! exited are queued instead, up to a bound, because no later report covers these containers. A receiver may also
//! subscribe to every report.

use std::sync::Arc;

use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{broadcast, watch};

use crate::report::{Delivery, Report};
use crate::snapshot::{Coverage, Scope};

/// Reports of [`Coverage::Exited`] that are queued for a slow receiver; then the oldest is dropped.
const MOST_QUEUED: usize = 512;

/// The sending half.
#[derive(Debug)]
pub struct Publisher {
    latest: watch::Sender<Option<Arc<Report>>>,
    exited: broadcast::Sender<Arc<Report>>,
    every: broadcast::Sender<Arc<Report>>,
    delivery: Option<watch::Receiver<Delivery>>,
}

/// A receiving half.
#[derive(Debug)]
pub struct Reports {
    latest: watch::Receiver<Option<Arc<Report>>>,
    exited: broadcast::Receiver<Arc<Report>>,
    /// Received from `exited` and not yet returned.
    next: Option<Arc<Report>>,
    /// The report about all containers that was returned last.
    returned: Option<Arc<Report>>,
}

/// Creates the channel. Dropping the publisher ends the reports.
pub fn channel() -> (Publisher, Reports) {
    let (latest, latest_receiver) = watch::channel(None);
    let (exited, exited_receiver) = broadcast::channel(MOST_QUEUED);
    let (every, _) = broadcast::channel(MOST_QUEUED);
    let publisher = Publisher { latest, exited, every, delivery: None };
    (publisher, Reports { latest: latest_receiver, exited: exited_receiver, next: None, returned: None })
}

impl Publisher {
    /// Subscribes to every report from now on. The channel queues a bounded number; then the oldest is dropped, and
    /// counted.
    pub fn every(&self) -> broadcast::Receiver<Arc<Report>> {
        self.every.subscribe()
    }

    /// Adds to each report the state of the delivery of those before it.
    pub fn set_delivery(&mut self, delivery: watch::Receiver<Delivery>) {
        self.delivery = Some(delivery);
    }

    /// The latest report about all containers.
    pub(super) fn latest(&self) -> Option<Arc<Report>> {
        self.latest.borrow().clone()
    }

    /// Sends a report to all receivers; its containers that have exited are sent as a report of their own. The last
    /// report of the agent's own container stays one report.
    pub fn publish(&self, mut report: Report) {
        report.delivery = self.delivery.as_ref().map(|delivery| delivery.borrow().clone());
        let is_own = report.is_last && report.scope == Scope::SelfContainer;
        if let Some(exited) = (!is_own).then(|| report.take_exited()).flatten() {
            let exited = Arc::new(exited);
            // An error means that there is no receiver.
            _ = self.every.send(Arc::clone(&exited));
            _ = self.exited.send(exited);
        }
        if report.coverage == Coverage::All {
            let report = Arc::new(report);
            _ = self.every.send(Arc::clone(&report));
            self.latest.send_replace(Some(report));
        }
    }
}

impl Reports {
    /// Receives the next report in the order of their times; `None` when there will be none. Cancel safe.
    pub async fn next(&mut self) -> Option<Arc<Report>> {
        loop {
            if let Some(report) = self.waiting() {
                return Some(report);
            }
            tokio::select! {
                changed = self.latest.changed() => {
                    // Reports from before the end are still to be received.
                    if changed.is_err() {
                        return self.waiting();
                    }
                }
                exited = self.exited.recv() => match exited {
                    Ok(report) => self.next = Some(report),
                    Err(RecvError::Lagged(lost)) => log_lost(lost),
                    Err(RecvError::Closed) => return self.waiting(),
                },
            }
        }
    }

    /// Completes when there will be no more reports; those that were published can still be received.
    pub async fn closed(&self) {
        let mut latest = self.latest.clone();
        while latest.changed().await.is_ok() {}
    }

    /// The latest report about all containers, received before or not.
    pub fn latest(&self) -> Option<Arc<Report>> {
        self.latest.borrow().clone()
    }

    fn waiting(&mut self) -> Option<Arc<Report>> {
        while self.next.is_none() {
            match self.exited.try_recv() {
                Ok(report) => self.next = Some(report),
                Err(TryRecvError::Lagged(lost)) => log_lost(lost),
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        let latest = self.latest.borrow_and_update().clone();
        let fresh =
            latest.filter(|latest| self.returned.as_ref().is_none_or(|returned| !Arc::ptr_eq(returned, latest)));
        match (self.next.take(), fresh) {
            (Some(exited), Some(all)) if all.taken.mono < exited.taken.mono => {
                self.next = Some(exited);
                self.returned = Some(Arc::clone(&all));
                Some(all)
            }
            (Some(exited), _) => Some(exited),
            (None, fresh) => {
                self.returned = fresh.clone().or_else(|| self.returned.take());
                fresh
            }
        }
    }
}

impl Clone for Reports {
    /// Another receiver, which gets the reports from now on, and the latest about all containers.
    fn clone(&self) -> Self {
        Self { latest: self.latest.clone(), exited: self.exited.resubscribe(), next: None, returned: None }
    }
}

fn log_lost(lost: u64) {
    tracing::warn!(count = lost, "Reports of exited containers dropped: a sink is too slow");
}

#[cfg(test)]
mod tests;
