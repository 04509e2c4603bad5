//! Runs a sink: hands it its reports, and lets it work between them.

use std::sync::Arc;

use tokio::sync::broadcast::{self, error::RecvError};
use tokio::task::JoinHandle;

use super::backoff::Backoff;
use super::sink::{Feed, Sink};
use crate::publish::{Publisher, Reports};
use crate::report::Report;

/// Starts a sink in a task of its own, which ends after the last report.
pub fn start(sink: Box<dyn Sink>, publisher: &mut Publisher, reports: &Reports) -> JoinHandle<()> {
    if let Some(delivery) = sink.delivery() {
        publisher.set_delivery(delivery);
    }
    let every = (sink.feed() == Feed::Every).then(|| publisher.every());
    tokio::spawn(drive(sink, Subscription { latest: reports.clone(), every }))
}

async fn drive(mut sink: Box<dyn Sink>, mut reports: Subscription) {
    let mut backoff = Backoff::default();
    sink.open().await;
    loop {
        let next = tokio::select! {
            // Reports come first, so that the sink misses none.
            biased;
            next = reports.next() => next,
            () = sink.work() => continue,
        };
        let report = match next {
            Next::Report(report) => report,
            Next::Missed(count) => {
                sink.missed(count);
                continue;
            }
            Next::End => break,
        };
        let outcome = sink.write(&report).await;
        let Some(pause) = backoff.pause(outcome, fastrand::f64()) else { continue };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = reports.latest.closed() => break,
        }
    }
    sink.close().await;
}

/// The reports that one sink is given.
struct Subscription {
    latest: Reports,
    /// Every report, if the sink wants every one.
    every: Option<broadcast::Receiver<Arc<Report>>>,
}

enum Next {
    Report(Arc<Report>),
    Missed(u64),
    End,
}

impl Subscription {
    /// Waits for the next report. Cancelling it loses nothing.
    async fn next(&mut self) -> Next {
        let Some(every) = &mut self.every else {
            return self.latest.next().await.map_or(Next::End, Next::Report);
        };
        match every.recv().await {
            Ok(report) => Next::Report(report),
            Err(RecvError::Lagged(missed)) => Next::Missed(missed),
            Err(RecvError::Closed) => Next::End,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::{Duration, SystemTime};

    use tokio::sync::watch;

    use super::*;
    use crate::publish;
    use crate::sinks::sink::{Retry, SinkError, SinkFuture};
    use crate::snapshot::{CgroupId, Coverage, Snapshot, Stamp, Status};
    use crate::timer;

    fn report(seconds: u64) -> Report {
        let taken = Stamp { mono: Duration::from_secs(seconds), wall: SystemTime::UNIX_EPOCH };
        Report::new(None, &Snapshot::new(taken), Duration::ZERO)
    }

    fn ended(seconds: u64) -> Report {
        let taken = Stamp { mono: Duration::from_secs(seconds), wall: SystemTime::UNIX_EPOCH };
        let mut now = Snapshot { coverage: Coverage::Exited, ..Snapshot::new(taken) };
        now.cgroups.entry(CgroupId(1)).or_default().status = Status::Exited;
        Report::new(None, &now, Duration::ZERO)
    }

    /// Takes reports from the time at which its gate opens, and keeps what it got.
    #[derive(Clone)]
    struct Gate {
        open: watch::Receiver<bool>,
        taken: Arc<Mutex<Vec<u64>>>,
    }

    impl Sink for Gate {
        fn write<'a>(&'a mut self, report: &'a Arc<Report>) -> SinkFuture<'a, Result<(), SinkError>> {
            let open = *self.open.borrow();
            if open {
                self.taken.lock().unwrap().push(report.taken.mono.as_secs());
            }
            let error = SinkError { text: "shut".to_owned(), retry: Retry::Soon };
            Box::pin(std::future::ready(if open { Ok(()) } else { Err(error) }))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn after_an_outage_reports_are_written_again_and_the_last_one_is_not_lost() {
        let (gate, open) = watch::channel(false);
        let (mut publisher, reports) = publish::channel();
        let sink = Gate { open, taken: Arc::default() };
        let taken = Arc::clone(&sink.taken);
        let task = start(Box::new(sink), &mut publisher, &reports);
        for seconds in 1..=3 {
            publisher.publish(report(seconds));
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
        publisher.publish(ended(4));
        gate.send_replace(true);
        tokio::time::sleep(Duration::from_secs(6)).await;
        publisher.publish(report(5));
        drop(publisher);
        task.await.unwrap();
        assert_eq!(*taken.lock().unwrap(), [4, 5]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_sink_that_is_away_does_not_delay_the_end() {
        let (_gate, open) = watch::channel(false);
        let (mut publisher, reports) = publish::channel();
        let task = start(Box::new(Gate { open, taken: Arc::default() }), &mut publisher, &reports);
        tokio::time::sleep(Duration::from_secs(60)).await;
        let before = timer::now();
        drop(publisher);
        task.await.unwrap();
        assert!(timer::now() - before < Duration::from_millis(1));
    }

    /// Wants every report, and counts how often its work was begun.
    #[derive(Default)]
    struct EveryReport {
        taken: Arc<Mutex<Vec<u64>>>,
        missed: Arc<Mutex<u64>>,
        is_open: bool,
    }

    impl Sink for EveryReport {
        fn feed(&self) -> Feed {
            Feed::Every
        }

        fn open(&mut self) -> SinkFuture<'_> {
            Box::pin(async {
                tokio::time::sleep(Duration::from_secs(1)).await;
                self.is_open = true;
            })
        }

        fn write<'a>(&'a mut self, report: &'a Arc<Report>) -> SinkFuture<'a, Result<(), SinkError>> {
            assert!(self.is_open);
            self.taken.lock().unwrap().push(report.taken.mono.as_secs());
            Box::pin(std::future::ready(Ok(())))
        }

        fn missed(&mut self, reports: u64) {
            *self.missed.lock().unwrap() += reports;
        }

        fn close(&mut self) -> SinkFuture<'_> {
            self.taken.lock().unwrap().push(0);
            Box::pin(std::future::ready(()))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_sink_that_wants_every_report_gets_each_or_is_told_and_is_closed_at_the_end() {
        let (mut publisher, reports) = publish::channel();
        let sink = EveryReport::default();
        let (taken, missed) = (Arc::clone(&sink.taken), Arc::clone(&sink.missed));
        let task = start(Box::new(sink), &mut publisher, &reports);
        for seconds in 1..=3 {
            publisher.publish(report(seconds));
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!((std::mem::take(&mut *taken.lock().unwrap()), *missed.lock().unwrap()), (vec![1, 2, 3], 0));
        for seconds in 1..=600 {
            publisher.publish(report(seconds));
        }
        drop(publisher);
        task.await.unwrap();
        let taken = taken.lock().unwrap();
        assert_eq!((taken.len() as u64 + *missed.lock().unwrap(), taken.last()), (601, Some(&0)));
        assert!(*missed.lock().unwrap() > 0);
    }
}
