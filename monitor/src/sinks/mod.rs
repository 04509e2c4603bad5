//! Where reports go. One task per sink; a slow one misses reports and never delays sampling.

pub mod http;
pub mod otlp;
pub mod service;
pub mod stdout;
pub mod terminal;
pub mod valkey;
pub mod wire;

use std::future::{Future, ready};
use std::pin::Pin;
use std::time::Duration;

use tokio::time::Instant;

use crate::publish::Reports;
use crate::report::Report;

/// What a sink's work returns.
pub type SinkFuture<'a> = Pin<Box<dyn Future<Output = Result<(), SinkError>> + Send + 'a>>;

/// Something that takes reports out of the process.
pub trait Sink: Send {
    /// Makes ready to take a report: connects where there is something to connect. Done before the report is chosen,
    /// so that what is written after an outage is the latest and not the one that waited.
    fn ready(&mut self) -> SinkFuture<'_> {
        Box::pin(ready(Ok(())))
    }

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
/// The longest pause when somebody has to change something first.
const SLOW_PAUSE: Duration = Duration::from_secs(30);
/// How often a persisting trouble is repeated.
const REPEAT: Duration = Duration::from_secs(60);

/// Brings reports to a sink until no more come, in the order of their times.
pub async fn drive(mut sink: Box<dyn Sink>, mut reports: Reports) {
    let mut trouble = Trouble::default();
    loop {
        let done = match sink.ready().await {
            Ok(()) => match reports.next().await {
                Some(report) => sink.write(&report).await,
                None => return,
            },
            Err(error) => Err(error),
        };
        let Some(pause) = trouble.pause(done, fastrand::f64()) else { continue };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = reports.closed() => return,
        }
    }
}

/// Says a trouble when it is another than before, and then once in a while.
#[derive(Debug, Default)]
struct Voice {
    said: Option<(String, Instant)>,
}

impl Voice {
    fn warn(&mut self, text: &str) {
        let now = Instant::now();
        if self.said.as_ref().is_none_or(|(said, at)| said != text || now - *at >= REPEAT) {
            tracing::warn!("{text}");
            self.said = Some((text.to_owned(), now));
        }
    }
}

/// What a sink suffers from.
#[derive(Debug, Default)]
struct Trouble {
    voice: Voice,
    failures: u32,
}

impl Trouble {
    /// Takes note of an outcome. The pause before the next attempt grows, and lies anywhere (`chance`, 0 to 1) below
    /// its bound, so that many agents do not come back at the same moment.
    fn pause(&mut self, done: Result<(), SinkError>, chance: f64) -> Option<Duration> {
        let Err(error) = done else {
            *self = Self::default();
            return None;
        };
        self.voice.warn(&error.text);
        let longest = if error.retry == Retry::Soon { PAUSE.1 } else { SLOW_PAUSE };
        let bound = PAUSE.0.saturating_mul(1 << self.failures.min(16)).min(longest);
        self.failures += 1;
        Some(bound.mul_f64(chance.clamp(0.1, 1.0)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::SystemTime;

    use tokio::sync::watch;

    use super::*;
    use crate::publish;
    use crate::snapshot::{CgroupId, Extent, Snapshot, Stamp, Status};

    fn report(seconds: u64) -> Report {
        let taken = Stamp { mono: Duration::from_secs(seconds), wall: SystemTime::UNIX_EPOCH };
        Report::new(None, &Snapshot::new(taken), Duration::ZERO)
    }

    fn ended(seconds: u64) -> Report {
        let taken = Stamp { mono: Duration::from_secs(seconds), wall: SystemTime::UNIX_EPOCH };
        let mut now = Snapshot { extent: Extent::Ended, ..Snapshot::new(taken) };
        now.cgroups.entry(CgroupId(1)).or_default().status = Status::Exited;
        Report::new(None, &now, Duration::ZERO)
    }

    /// Is ready from the time at which its gate opens, and keeps what it got.
    #[derive(Clone)]
    struct Gate {
        open: watch::Receiver<bool>,
        taken: Arc<Mutex<Vec<u64>>>,
    }

    impl Sink for Gate {
        fn ready(&mut self) -> SinkFuture<'_> {
            let open = *self.open.borrow();
            let error = SinkError { text: "shut".to_owned(), retry: Retry::Soon };
            Box::pin(ready(if open { Ok(()) } else { Err(error) }))
        }

        fn write<'a>(&'a mut self, report: &'a Report) -> SinkFuture<'a> {
            self.taken.lock().unwrap().push(report.taken.mono.as_secs());
            Box::pin(ready(Ok(())))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn after_an_outage_the_latest_report_is_written_with_all_that_ended_and_the_last_one_is_not_lost() {
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
        assert_eq!(*taken.lock().unwrap(), [3, 4, 5]);
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
        assert_eq!(trouble.pause(failed(Retry::Slowly), 0.5), Some(SLOW_PAUSE / 2));
        assert_eq!(trouble.pause(Ok(()), 1.0), None);
        assert_eq!(trouble.pause(failed(Retry::Soon), 1.0), Some(PAUSE.0));
    }
}
