//! Between the loop and those who take its reports: each of them gets what is published, and none makes the loop wait.
//!
//! Of the whole reports the latest wins, for it tells everything anew. Those about containers that have ended wait until
//! they are taken, so many of them: nothing else will tell of these containers again. Who wants every report gets every one.

use std::sync::Arc;

use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{broadcast, watch};

use crate::report::{Delivery, Report};
use crate::snapshot::Extent;

/// So many reports of [`Extent::Ended`] wait for who is slow; then the oldest is lost.
const MOST_WAITING: usize = 512;

/// The loop's end.
#[derive(Debug)]
pub struct Publisher {
    whole: watch::Sender<Option<Arc<Report>>>,
    ended: broadcast::Sender<Arc<Report>>,
    every: broadcast::Sender<Arc<Report>>,
    delivery: Option<watch::Receiver<Delivery>>,
}

/// The other end, one for each that takes reports.
#[derive(Debug)]
pub struct Reports {
    whole: watch::Receiver<Option<Arc<Report>>>,
    ended: broadcast::Receiver<Arc<Report>>,
    /// Taken from `ended` and not yet given.
    next: Option<Arc<Report>>,
    /// The whole report that was given last.
    given: Option<Arc<Report>>,
}

/// Both ends. Dropping the publisher ends the reports.
pub fn channel() -> (Publisher, Reports) {
    let (whole, whole_receiver) = watch::channel(None);
    let (ended, ended_receiver) = broadcast::channel(MOST_WAITING);
    let (every, _) = broadcast::channel(MOST_WAITING);
    let publisher = Publisher { whole, ended, every, delivery: None };
    (publisher, Reports { whole: whole_receiver, ended: ended_receiver, next: None, given: None })
}

impl Publisher {
    /// Every report, from now on: as many as the channel holds wait, then the oldest is lost, and counted.
    pub fn every(&self) -> broadcast::Receiver<Arc<Report>> {
        self.every.subscribe()
    }

    /// Has each report say how those before it have got out.
    pub fn tell(&mut self, delivery: watch::Receiver<Delivery>) {
        self.delivery = Some(delivery);
    }

    /// Gives a report to all; its containers that have ended go as a report of their own. When everything has ended, that is
    /// the agent's goodbye, and stays one report.
    pub fn publish(&self, mut report: Report) {
        report.delivery = self.delivery.as_ref().map(|delivery| delivery.borrow().clone());
        let goodbye = report.extent == Extent::Whole && report.is_goodbye();
        if let Some(ended) = (!goodbye).then(|| report.take_ended()).flatten() {
            let ended = Arc::new(ended);
            // An error says that nobody takes reports.
            _ = self.every.send(Arc::clone(&ended));
            _ = self.ended.send(ended);
        }
        if report.extent == Extent::Whole {
            let report = Arc::new(report);
            _ = self.every.send(Arc::clone(&report));
            self.whole.send_replace(Some(report));
        }
    }
}

impl Reports {
    /// The next report in the order of their times; `None` when there will be none. Cancelling it loses nothing.
    pub async fn next(&mut self) -> Option<Arc<Report>> {
        loop {
            if let Some(report) = self.waiting() {
                return Some(report);
            }
            tokio::select! {
                changed = self.whole.changed() => {
                    // What was published before the end is still to be taken.
                    if changed.is_err() {
                        return self.waiting();
                    }
                }
                ended = self.ended.recv() => match ended {
                    Ok(report) => self.next = Some(report),
                    Err(RecvError::Lagged(lost)) => complain(lost),
                    Err(RecvError::Closed) => return self.waiting(),
                },
            }
        }
    }

    /// Completes when there will be no more reports; those that were published may still be taken.
    pub async fn closed(&self) {
        let mut whole = self.whole.clone();
        while whole.changed().await.is_ok() {}
    }

    /// The latest whole report, taken or not.
    pub fn latest(&self) -> Option<Arc<Report>> {
        self.whole.borrow().clone()
    }

    fn waiting(&mut self) -> Option<Arc<Report>> {
        while self.next.is_none() {
            match self.ended.try_recv() {
                Ok(report) => self.next = Some(report),
                Err(TryRecvError::Lagged(lost)) => complain(lost),
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        let latest = self.whole.borrow_and_update().clone();
        let fresh = latest.filter(|latest| self.given.as_ref().is_none_or(|given| !Arc::ptr_eq(given, latest)));
        match (self.next.take(), fresh) {
            (Some(ended), Some(whole)) if whole.taken.mono < ended.taken.mono => {
                self.next = Some(ended);
                self.given = Some(Arc::clone(&whole));
                Some(whole)
            }
            (Some(ended), _) => Some(ended),
            (None, fresh) => {
                self.given = fresh.clone().or_else(|| self.given.take());
                fresh
            }
        }
    }
}

impl Clone for Reports {
    /// Another receiver, which gets what is published from now on, and the latest whole report.
    fn clone(&self) -> Self {
        Self { whole: self.whole.clone(), ended: self.ended.resubscribe(), next: None, given: None }
    }
}

fn complain(lost: u64) {
    tracing::warn!("{lost} reports of containers that have ended were lost: too many wait to be written");
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::snapshot::{CgroupId, Snapshot, Stamp, Status};

    fn report(seconds: u64, extent: Extent, containers: &[(u64, Status)]) -> Report {
        let taken = Stamp { mono: Duration::from_secs(seconds), wall: SystemTime::UNIX_EPOCH };
        let mut now = Snapshot { extent, ..Snapshot::new(taken) };
        for &(id, status) in containers {
            now.cgroups.entry(CgroupId(id)).or_default().status = status;
        }
        Report::new(None, &now, Duration::ZERO)
    }

    fn whole(seconds: u64, containers: &[(u64, Status)]) -> Report {
        report(seconds, Extent::Whole, containers)
    }

    fn ended(seconds: u64, id: u64) -> Report {
        report(seconds, Extent::Ended, &[(id, Status::Exited)])
    }

    async fn all(mut reports: Reports) -> Vec<(u64, Vec<u64>)> {
        let mut all = Vec::new();
        while let Some(report) = reports.next().await {
            all.push((report.taken.mono.as_secs(), report.containers.iter().map(|container| container.id.0).collect()));
        }
        all
    }

    #[tokio::test]
    async fn the_latest_whole_report_wins_and_none_of_an_end_is_lost() {
        let (publisher, reports) = channel();
        let other = reports.clone();
        publisher.publish(whole(1, &[(1, Status::Running)]));
        publisher.publish(ended(2, 20));
        publisher.publish(whole(3, &[(1, Status::Running), (30, Status::Exited)]));
        publisher.publish(ended(4, 40));
        publisher.publish(ended(5, 50));
        drop(publisher);
        let expected = [(2, vec![20]), (3, vec![30]), (3, vec![1]), (4, vec![40]), (5, vec![50])];
        assert_eq!(all(reports).await, expected);
        assert_eq!(all(other).await, expected);
    }

    #[tokio::test]
    async fn who_wants_every_report_gets_every_one_with_what_is_known_of_the_delivery() {
        let (mut publisher, _reports) = channel();
        let (delivery, receiver) = watch::channel(Delivery::default());
        publisher.tell(receiver);
        let mut every = publisher.every();
        publisher.publish(whole(1, &[(1, Status::Running)]));
        delivery.send_modify(|delivery| delivery.backlog = 7);
        publisher.publish(whole(2, &[(1, Status::Running), (30, Status::Exited)]));
        drop(publisher);
        let mut all = Vec::new();
        while let Ok(report) = every.recv().await {
            let backlog = report.delivery.as_ref().unwrap().backlog;
            all.push((report.taken.mono.as_secs(), report.containers[0].id.0, backlog));
        }
        assert_eq!(all, [(1, 1, 0), (2, 30, 7), (2, 1, 7)]);
    }

    #[tokio::test]
    async fn a_whole_report_from_before_an_end_is_not_given_behind_it() {
        let (publisher, reports) = channel();
        publisher.publish(whole(1, &[(1, Status::Running)]));
        publisher.publish(ended(2, 1));
        drop(publisher);
        assert_eq!(all(reports).await, [(1, vec![1]), (2, vec![1])]);
    }

    #[tokio::test]
    async fn the_goodbye_is_one_report() {
        let (publisher, reports) = channel();
        publisher.publish(whole(1, &[(1, Status::Exited), (2, Status::Exited)]));
        drop(publisher);
        assert_eq!(all(reports).await, [(1, vec![1, 2])]);
    }

    #[tokio::test]
    async fn who_is_too_slow_loses_the_oldest() {
        let (publisher, reports) = channel();
        for seconds in 0..=MOST_WAITING as u64 {
            publisher.publish(ended(seconds, 1));
        }
        drop(publisher);
        let all = all(reports).await;
        assert_eq!((all.len(), all[0].0), (MOST_WAITING, 1));
    }
}
