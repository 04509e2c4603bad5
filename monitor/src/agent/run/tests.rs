use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use tokio::sync::oneshot;

use super::*;
use crate::metrics::Metric;
use crate::publish::{self, Reports};
use crate::snapshot::{CgroupId, Identity, Scope, Stamp, Status};
use crate::sources::{Source, SourceError};

/// A container that uses one CPU, as the clock of the test sees it, and in scope `host` the machine.
struct Burner {
    scope: Scope,
    readings: Arc<AtomicU64>,
    mishap: fn(u64) -> Result<(), SourceError>,
}

impl Source for Burner {
    fn name(&self) -> &'static str {
        "burner"
    }

    fn sample(&mut self, into: &mut Snapshot) -> Result<(), SourceError> {
        let nanos = u64::try_from(into.taken.mono.as_nanos()).unwrap();
        into.scope = self.scope;
        if self.scope == Scope::Host {
            let machine = Identity { is_root: true, ..Identity::default() };
            into.cgroups.entry(CgroupId(0)).or_default().identity = machine.into();
        }
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
        let id = CgroupId(if into.coverage == Coverage::All { 1 } else { 2 });
        let cgroup = into.cgroups.entry(id).or_default();
        cgroup.status = if into.coverage == Coverage::All { Status::Running } else { Status::Exited };
        Ok(())
    }
}

/// A container whose name is found after two samples.
struct Unnamed(u64);

impl Source for Unnamed {
    fn name(&self) -> &'static str {
        "unnamed"
    }

    fn sample(&mut self, into: &mut Snapshot) -> Result<(), SourceError> {
        self.0 += 1;
        into.cgroups.entry(CgroupId(1)).or_default().withheld = self.0 <= 2;
        Ok(())
    }
}

#[tokio::test]
async fn a_container_whose_name_is_found_late_does_not_wait_for_a_whole_interval() {
    let (reports, mut receiver) = publish::channel();
    let sampler = SamplerThread::start(vec![Box::new(Unnamed(0))], clock).unwrap();
    let agent = Agent { sampler, interval: Duration::from_secs(2), exited: Arc::default(), reports };
    let began = timer::now();
    let task = tokio::spawn(agent.run(std::future::pending()));
    while next(&mut receiver).await.containers.is_empty() {}
    let took = timer::now() - began;
    assert!(took < Duration::from_millis(2900), "{took:?}");
    task.abort();
}

static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();

fn clock() -> Stamp {
    let mono = timer::now() - *START.get_or_init(timer::now);
    Stamp { mono, wall: SystemTime::UNIX_EPOCH + mono }
}

type Running = (Reports, oneshot::Sender<()>, tokio::task::JoinHandle<()>, Arc<AtomicU64>);

fn start(interval: Duration, mishap: fn(u64) -> Result<(), SourceError>) -> Running {
    start_in(Scope::SelfContainer, interval, mishap)
}

fn start_in(scope: Scope, interval: Duration, mishap: fn(u64) -> Result<(), SourceError>) -> Running {
    let (reports, receiver) = publish::channel();
    let (stop, stopped) = oneshot::channel();
    let readings = Arc::<AtomicU64>::default();
    let sources: Vec<Box<dyn Source>> = vec![Box::new(Burner { scope, readings: Arc::clone(&readings), mishap })];
    let sampler = SamplerThread::start(sources, clock).unwrap();
    let agent = Agent { sampler, interval, exited: Arc::default(), reports };
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
    let (due, second) = (timer::now(), Duration::from_secs(1));
    assert_eq!(next_on_grid(due + second, second, due), due + second);
    assert_eq!(next_on_grid(due, second, due), due + second);
    assert_eq!(next_on_grid(due, second, due + second * 7 / 2), due + second * 4);
}

/// The last report before the channel closes.
async fn last(reports: &mut Reports) -> Arc<Report> {
    let mut last = None;
    while let Some(report) = reports.next().await {
        last = Some(report);
    }
    last.expect("a last report")
}

#[tokio::test]
async fn the_last_report_says_exited_and_the_channel_closes() {
    let (mut reports, stop, task, _) = start(Duration::from_millis(50), |_| Ok(()));
    assert_eq!(next(&mut reports).await.containers[0].status, Status::Running);
    stop.send(()).unwrap();
    task.await.unwrap();
    assert_eq!(last(&mut reports).await.containers[0].status, Status::Exited);
}

#[tokio::test]
async fn a_sample_that_is_under_way_when_the_agent_stops_is_reported_and_none_is_reported_twice() {
    let (mut reports, stop, task, readings) = start(Duration::from_millis(20), |reading| {
        if reading == 3 {
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    });
    let mut taken = vec![next(&mut reports).await.taken.mono];
    while readings.load(Ordering::SeqCst) < 4 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    stop.send(()).unwrap();
    task.await.unwrap();
    while let Some(report) = reports.next().await {
        taken.push(report.taken.mono);
    }
    assert!(taken.is_sorted_by(|one, next| one < next), "{taken:?}");
}

#[tokio::test]
async fn containers_of_a_machine_go_on_when_the_agent_stops() {
    let (mut reports, stop, task, _) = start_in(Scope::Host, Duration::from_millis(50), |_| Ok(()));
    assert!(!next(&mut reports).await.is_last);
    stop.send(()).unwrap();
    task.await.unwrap();
    let last = last(&mut reports).await;
    let [machine, container] = &last.containers[..] else { panic!("{last:?}") };
    assert_eq!((last.is_last, machine.status, container.status), (true, Status::Running, Status::Running));
    assert!(last.tells_stop(machine) && !last.tells_stop(container), "the machine's log tells it");
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
    let exited = Arc::<Notify>::default();
    let sources: Vec<Box<dyn Source>> = vec![Box::new(Brief)];
    let sampler = SamplerThread::start(sources, clock).unwrap();
    let agent = Agent { sampler, interval: Duration::from_secs(60), exited: Arc::clone(&exited), reports };
    let (_stop, stopped) = oneshot::channel::<()>();
    let _task = tokio::spawn(agent.run(async move { _ = stopped.await }));
    assert_eq!(next(&mut receiver).await.containers[0].id, CgroupId(1));
    let began = timer::now();
    exited.notify_one();
    exited.notify_one();
    let report = next(&mut receiver).await;
    assert_eq!((report.coverage, report.containers[0].id), (Coverage::Exited, CgroupId(2)));
    let took = timer::now() - began;
    assert!(took < Duration::from_millis(100), "{took:?}");
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
