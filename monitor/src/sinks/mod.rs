//! Where reports go. One task per sink; a slow one misses reports and never delays sampling.

pub mod otlp;
pub mod service;
pub mod stdout;
pub mod terminal;
pub mod valkey;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use tokio::time::Instant;

use crate::agent::publish::Reports;
use crate::log_once::LogOnce;
use crate::report::Report;

/// What a sink's work returns.
pub type SinkFuture<'a> = Pin<Box<dyn Future<Output = Result<(), SinkError>> + Send + 'a>>;

/// Something that takes reports out of the process.
pub trait Sink: Send {
    /// Takes one report.
    fn write<'a>(&'a mut self, report: &'a Report) -> SinkFuture<'a>;
}

/// A report did not get out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct SinkError {
    /// What happened, for an operator.
    pub text: String,
    /// Whether trying again soon makes sense.
    pub retry: Retry,
}

/// When to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The world may be well again at any moment.
    Soon,
    /// Somebody has to change something first: a password, a right.
    Slowly,
}

/// Shortest and longest pause between two attempts.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(4));
/// After a long trouble pauses become longer, to this part of it and at most so long: of a fleet that all of it has hit, no
/// second then sees more than a tenth come back.
const LONG_PAUSE: (u32, Duration) = (15, Duration::from_secs(16));
/// The longest pause when somebody has to change something first.
const SLOW_PAUSE: Duration = Duration::from_secs(30);

/// Brings reports to a sink until no more come, in the order of their times.
pub async fn drive(mut sink: Box<dyn Sink>, mut reports: Reports) {
    let mut trouble = Trouble::default();
    loop {
        let Some(report) = reports.next().await else { return };
        let done = sink.write(&report).await;
        let Some(pause) = trouble.pause(done, fastrand::f64()) else { continue };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = reports.closed() => return,
        }
    }
}

/// What a sink suffers from.
#[derive(Debug, Default)]
struct Trouble {
    voice: LogOnce,
    failures: u32,
    since: Option<Instant>,
}

impl Trouble {
    /// Takes note of an outcome. The pause before the next attempt grows, and lies anywhere (`chance`, 0 to 1) in the upper
    /// half below its bound, so that many agents do not come back at the same moment.
    fn pause(&mut self, done: Result<(), SinkError>, chance: f64) -> Option<Duration> {
        let Err(error) = done else {
            *self = Self::default();
            return None;
        };
        self.voice.warn(&error.text);
        let lasted = self.since.get_or_insert_with(Instant::now).elapsed();
        let longest = match error.retry {
            Retry::Soon => (lasted / LONG_PAUSE.0).clamp(PAUSE.1, LONG_PAUSE.1),
            Retry::Slowly => SLOW_PAUSE,
        };
        let bound = PAUSE.0.saturating_mul(1 << self.failures.min(16)).min(longest);
        self.failures += 1;
        Some(bound.mul_f64(0.5 + chance / 2.0))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::SystemTime;

    use tokio::sync::watch;

    use super::*;
    use crate::agent::publish;
    use crate::snapshot::{CgroupId, Coverage, Snapshot, Stamp, Status};

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
        fn write<'a>(&'a mut self, report: &'a Report) -> SinkFuture<'a> {
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
        let (reports, receiver) = publish::channel();
        let sink = Gate { open, taken: Arc::default() };
        let taken = Arc::clone(&sink.taken);
        let task = tokio::spawn(drive(Box::new(sink), receiver));
        for seconds in 1..=3 {
            reports.publish(report(seconds));
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
        reports.publish(ended(4));
        gate.send_replace(true);
        tokio::time::sleep(Duration::from_secs(6)).await;
        reports.publish(report(5));
        drop(reports);
        task.await.unwrap();
        assert_eq!(*taken.lock().unwrap(), [4, 5]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_sink_that_is_away_does_not_delay_the_end() {
        let (_gate, open) = watch::channel(false);
        let (reports, receiver) = publish::channel();
        let task = tokio::spawn(drive(Box::new(Gate { open, taken: Arc::default() }), receiver));
        tokio::time::sleep(Duration::from_secs(60)).await;
        let before = Instant::now();
        drop(reports);
        task.await.unwrap();
        assert!(before.elapsed() < Duration::from_millis(1));
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_to_their_bound_and_start_anew_after_a_success() {
        let failed = |retry| Err(SinkError { text: "x".to_owned(), retry });
        let mut trouble = Trouble::default();
        let pauses: Vec<_> = (0..8).map(|_| trouble.pause(failed(Retry::Soon), 1.0).unwrap().as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 4000, 4000]);
        assert_eq!(trouble.pause(failed(Retry::Slowly), 1.0), Some(Duration::from_millis(25_600)));
        assert_eq!(trouble.pause(failed(Retry::Slowly), 1.0), Some(SLOW_PAUSE));
        assert_eq!(trouble.pause(failed(Retry::Slowly), 0.0), Some(SLOW_PAUSE / 2));
        assert_eq!(trouble.pause(Ok(()), 1.0), None);
        assert_eq!(trouble.pause(failed(Retry::Soon), 1.0), Some(PAUSE.0));
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_minute_of_trouble_pauses_become_longer() {
        let mut trouble = Trouble { failures: 10, ..Trouble::default() };
        let mut after = async |seconds| {
            tokio::time::advance(Duration::from_secs(seconds)).await;
            trouble.pause(Err(SinkError { text: "x".to_owned(), retry: Retry::Soon }), 1.0).unwrap().as_secs()
        };
        assert_eq!([after(0).await, after(60).await, after(60).await, after(3600).await], [4, 4, 8, 16]);
    }
}
