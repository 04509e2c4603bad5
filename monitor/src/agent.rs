//! The loop that turns the crank: tick, read, put together, publish.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::health::Health;
use crate::lives::Lives;
use crate::publish::Publisher;
use crate::report::Report;
use crate::snapshot::{Extent, Snapshot, Status};
use crate::sources::{Reader, Sampled};

/// How long the last reading may take when the agent is told to stop.
const LAST_READING: Duration = Duration::from_millis(250);

/// The longest wait for the first report: rates over less than the whole interval, but early.
const FIRST_REPORT: Duration = Duration::from_secs(1);

/// Containers that end within this time of each other share a reading: however many come and go, reading is not all that
/// the agent does.
const GATHERING: Duration = Duration::from_millis(20);

/// Asks for readings, and publishes them.
#[derive(Debug)]
pub struct Agent {
    /// Who reads.
    pub reader: Reader,
    /// Time between two reports.
    pub interval: Duration,
    /// Told when a container has ended or lost its last process, so that it is read before the next tick.
    pub ended: Arc<Notify>,
    /// Where reports go.
    pub reports: Publisher,
}

/// What comes next.
enum Turn {
    Tick,
    Ended,
    Stop,
}

impl Agent {
    /// Reads and publishes until `shutdown` completes; then publishes a last report in which everything has
    /// `exited`, and ends the reports.
    ///
    /// Ticks stand on a grid of the interval. A reading that takes longer than an interval makes the ticks in between
    /// disappear: late is reported late, never twice. Between two ticks, what has ended is read and reported at once.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Self { reader, interval, ended, reports } = self;
        let mut health = Health::default();
        let mut lives = Lives::default();
        let mut prev: Option<Snapshot> = None;
        let mut due = Instant::now() + FIRST_REPORT.min(interval / 2);
        let mut extent = Extent::Whole;
        tokio::pin!(shutdown);

        loop {
            let sampled = tokio::select! {
                sampled = reader.read(extent) => sampled,
                () = &mut shutdown => None,
            };
            let Some(Sampled { snapshot: mut now, cost, errors }) = sampled else {
                return publish(&reports, last_of(prev));
            };
            health.sources(errors);
            lives.follow(&mut now);
            if prev.is_some() {
                let report = Report::new(prev.as_ref(), &now, cost);
                if extent == Extent::Whole {
                    health.report(&report);
                }
                reports.publish(report);
            }
            if extent == Extent::Whole {
                prev = Some(now);
                due = next_on_grid(due, interval, Instant::now());
            }
            let turn = tokio::select! {
                turn = next_turn(due, &ended) => turn,
                () = &mut shutdown => Turn::Stop,
            };
            extent = match turn {
                Turn::Tick => Extent::Whole,
                Turn::Ended => Extent::Ended,
                Turn::Stop => break,
            };
        }
        let last = match tokio::time::timeout(LAST_READING, reader.read(Extent::Whole)).await {
            Ok(Some(Sampled { snapshot: mut now, cost, .. })) => {
                exit(&mut now);
                Some(Report::new(prev.as_ref(), &now, cost))
            }
            _ => last_of(prev),
        };
        publish(&reports, last);
    }
}

/// The next tick, or before that a reading of what has ended, with what else ends meanwhile.
async fn next_turn(due: Instant, ended: &Notify) -> Turn {
    let soon = async {
        ended.notified().await;
        tokio::time::sleep(GATHERING).await;
        // Of what was told meanwhile, the reading is still to come.
        tokio::select! {
            biased;
            () = ended.notified() => {}
            () = std::future::ready(()) => {}
        }
    };
    tokio::select! {
        () = tokio::time::sleep_until(due) => Turn::Tick,
        () = soon => Turn::Ended,
    }
}

/// The first tick of the grid that is still to come.
fn next_on_grid(due: Instant, interval: Duration, now: Instant) -> Instant {
    match now.checked_duration_since(due) {
        None => due,
        Some(late) => {
            let passed = late.as_nanos() / interval.as_nanos().max(1) + 1;
            due + interval * u32::try_from(passed).unwrap_or(u32::MAX)
        }
    }
}

/// The goodbye out of what was read before, when reading again is impossible.
fn last_of(prev: Option<Snapshot>) -> Option<Report> {
    prev.map(|mut now| {
        exit(&mut now);
        Report::new(None, &now, Duration::ZERO)
    })
}

fn exit(now: &mut Snapshot) {
    for cgroup in now.cgroups.values_mut() {
        cgroup.status = Status::Exited;
    }
}

fn publish(reports: &Publisher, report: Option<Report>) {
    if let Some(report) = report {
        reports.publish(report);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::SystemTime;

    use tokio::sync::oneshot;

    use super::*;
    use crate::metrics::Metric;
    use crate::publish::{self, Reports};
    use crate::snapshot::{CgroupId, Stamp};
    use crate::sources::{Source, SourceError};

    /// A container that uses one CPU, as the clock of the test sees it.
    struct Burner {
        readings: Arc<AtomicU64>,
        mishap: fn(u64) -> Result<(), SourceError>,
    }

    impl Source for Burner {
        fn name(&self) -> &'static str {
            "burner"
        }

        fn sample(&mut self, into: &mut Snapshot) -> Result<(), SourceError> {
            let nanos = u64::try_from(into.taken.mono.as_nanos()).unwrap();
            into.cgroups.entry(CgroupId(1)).or_default().values.put(Metric::CpuUsage, 0, nanos);
            (self.mishap)(self.readings.fetch_add(1, Ordering::SeqCst))
        }
    }

    /// A container that ends between two ticks.
    struct Brief;

    impl Source for Brief {
        fn name(&self) -> &'static str {
            "brief"
        }

        fn sample(&mut self, into: &mut Snapshot) -> Result<(), SourceError> {
            let id = CgroupId(if into.extent == Extent::Whole { 1 } else { 2 });
            let cgroup = into.cgroups.entry(id).or_default();
            cgroup.status = if into.extent == Extent::Whole { Status::Running } else { Status::Exited };
            Ok(())
        }
    }

    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();

    fn clock() -> Stamp {
        let mono = START.get_or_init(Instant::now).elapsed();
        Stamp { mono, wall: SystemTime::UNIX_EPOCH + mono }
    }

    type Running = (Reports, oneshot::Sender<()>, tokio::task::JoinHandle<()>, Arc<AtomicU64>);

    fn start(interval: Duration, mishap: fn(u64) -> Result<(), SourceError>) -> Running {
        let (reports, receiver) = publish::channel();
        let (stop, stopped) = oneshot::channel();
        let readings = Arc::<AtomicU64>::default();
        let sources: Vec<Box<dyn Source>> = vec![Box::new(Burner { readings: Arc::clone(&readings), mishap })];
        let reader = Reader::start(sources, clock).unwrap();
        let agent = Agent { reader, interval, ended: Arc::default(), reports };
        let task = tokio::spawn(agent.run(async move { _ = stopped.await }));
        (receiver, stop, task, readings)
    }

    async fn next(reports: &mut Reports) -> Arc<Report> {
        reports.next().await.unwrap()
    }

    #[tokio::test]
    async fn the_first_report_comes_within_one_interval_and_has_real_rates() {
        let interval = Duration::from_millis(200);
        let began = clock().mono;
        let (mut reports, _stop, _task, _) = start(interval, |_| Ok(()));
        let report = next(&mut reports).await;
        assert!(clock().mono - began < interval);
        let cores = report.containers[0].real(Metric::CpuUsageCores).unwrap();
        assert!((cores - 1.0).abs() < 1e-6, "{cores}");
    }

    #[tokio::test]
    async fn a_late_reading_is_reported_late_and_not_twice() {
        let interval = Duration::from_millis(100);
        let (mut reports, _stop, _task, _) = start(interval, |reading| {
            if reading == 2 {
                std::thread::sleep(Duration::from_millis(350));
            }
            Ok(())
        });
        let (_, late, after) = (next(&mut reports).await, next(&mut reports).await, next(&mut reports).await);
        let gap = after.taken.mono - late.taken.mono;
        assert!(gap >= Duration::from_millis(350), "ticks piled up: {gap:?}");
        assert_eq!(after.interval, Some(gap));
    }

    #[test]
    fn the_next_tick_is_on_the_grid_and_always_to_come() {
        let (due, second) = (Instant::now(), Duration::from_secs(1));
        assert_eq!(next_on_grid(due + second, second, due), due + second);
        assert_eq!(next_on_grid(due, second, due), due + second);
        assert_eq!(next_on_grid(due, second, due + second * 7 / 2), due + second * 4);
    }

    #[tokio::test]
    async fn the_last_report_says_exited_and_the_channel_closes() {
        let (mut reports, stop, task, _) = start(Duration::from_millis(50), |_| Ok(()));
        assert_eq!(next(&mut reports).await.containers[0].status, Status::Running);
        stop.send(()).unwrap();
        task.await.unwrap();
        assert_eq!(next(&mut reports).await.containers[0].status, Status::Exited);
        assert!(reports.next().await.is_none());
    }

    #[tokio::test]
    async fn a_reading_that_hangs_does_not_delay_the_end() {
        let (mut reports, stop, task, _) = start(Duration::from_millis(50), |reading| {
            if reading > 2 {
                std::thread::sleep(Duration::from_secs(2));
            }
            Ok(())
        });
        next(&mut reports).await;
        tokio::time::sleep(Duration::from_millis(150)).await;
        stop.send(()).unwrap();
        tokio::time::timeout(Duration::from_millis(900), task).await.expect("ends within a second").unwrap();
        assert_eq!(reports.latest().unwrap().containers[0].status, Status::Exited);
    }

    #[tokio::test(start_paused = true)]
    async fn what_ends_between_two_ticks_is_reported_at_once_and_what_ends_together_is_read_together() {
        let (reports, mut receiver) = publish::channel();
        let ended = Arc::<Notify>::default();
        let sources: Vec<Box<dyn Source>> = vec![Box::new(Brief)];
        let reader = Reader::start(sources, clock).unwrap();
        let agent = Agent { reader, interval: Duration::from_secs(60), ended: Arc::clone(&ended), reports };
        let (_stop, stopped) = oneshot::channel::<()>();
        let _task = tokio::spawn(agent.run(async move { _ = stopped.await }));
        assert_eq!(next(&mut receiver).await.containers[0].id, CgroupId(1));
        let began = Instant::now();
        ended.notify_one();
        ended.notify_one();
        let report = next(&mut receiver).await;
        assert_eq!((report.extent, report.containers[0].id), (Extent::Ended, CgroupId(2)));
        assert!(began.elapsed() < Duration::from_millis(100), "{:?}", began.elapsed());
        let next = tokio::time::timeout(Duration::from_secs(30), receiver.next()).await;
        assert!(next.is_err(), "read twice");
    }

    #[tokio::test]
    async fn a_source_that_fails_or_panics_does_not_end_the_agent() {
        let (mut reports, _stop, _task, readings) = start(Duration::from_millis(20), |reading| match reading {
            1 => Err(SourceError("gone".into())),
            2 => panic!("a bug"),
            _ => Ok(()),
        });
        while readings.load(Ordering::SeqCst) < 6 {
            next(&mut reports).await;
        }
    }
}
