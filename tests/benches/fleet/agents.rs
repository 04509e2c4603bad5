//! Agents without a machine: synthetic snapshots, written by the real sink.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

use monitor::metrics::NO_LIMIT;
use monitor::metrics::{Kind, Metric, Unit};
use monitor::publish;
use monitor::report::Report;
use monitor::sinks;
use monitor::sinks::valkey::Valkey as Sink;
use monitor::snapshot::{CgroupId, Identity, Scope, Snapshot, Stamp};
use monitor::valkey::{Target, ValkeyOptions};
use tokio::runtime::Runtime;

/// The agent's default interval.
pub(crate) const INTERVAL: Duration = Duration::from_secs(5);

/// A fleet of agents with containers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fleet {
    pub(crate) agents: usize,
    pub(crate) containers: usize,
    /// True if it keeps a history: by default an agent of a machine does, one of a container does not.
    pub(crate) history: bool,
}

impl Fleet {
    /// The number of reports, each of one container, in this time.
    pub(crate) fn reports_in(&self, time: Duration) -> f64 {
        (self.agents * self.containers) as f64 * time.as_secs_f64() / INTERVAL.as_secs_f64()
    }

    /// Starts all of them, each at a random moment of the interval. They end with the runtime.
    pub(crate) fn start(&self, url: &str) -> Runtime {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        for number in 0..self.agents {
            let options = ValkeyOptions {
                target: Target::parse(url).unwrap(),
                history: self.history.then_some(Duration::from_secs(24 * 3600)),
                ..ValkeyOptions::default()
            };
            let (containers, phase) = (self.containers, INTERVAL.mul_f64(fastrand::f64()));
            runtime.spawn(async move {
                tokio::time::sleep(phase).await;
                agent(number, containers, options).await;
            });
        }
        runtime
    }
}

async fn agent(number: usize, containers: usize, options: ValkeyOptions) {
    let (mut publisher, reports) = publish::channel();
    sinks::start(Box::new(Sink::new(options, clock)), &mut publisher, &reports);
    let mut ticks = tokio::time::interval(INTERVAL);
    let mut before: Option<Snapshot> = None;
    for tick in 0.. {
        ticks.tick().await;
        let now = reading(number, containers, tick);
        publisher.publish(Report::new(before.as_ref(), &now, Duration::from_micros(900)));
        before = Some(now);
    }
}

fn clock() -> Stamp {
    static START: OnceLock<(Instant, SystemTime)> = OnceLock::new();
    let (start, wall) = *START.get_or_init(|| (Instant::now(), SystemTime::now()));
    Stamp { mono: start.elapsed(), wall: wall + start.elapsed() }
}

/// A reading with every number that a container with limits has on a cgroup v2 host with eBPF.
fn reading(agent: usize, containers: usize, tick: u64) -> Snapshot {
    let mut now = Snapshot::new(clock());
    now.scope = if containers > 1 { Scope::Host } else { Scope::SelfContainer };
    now.counting_since = Some(SystemTime::UNIX_EPOCH + Duration::from_nanos(1_764_000_000_123_456_789));
    now.host.name = format!("worker-{agent:04}");
    for container in 0..containers {
        let id = CgroupId(((agent << 16) + container) as u64);
        let cgroup = now.cgroups.entry(id).or_default();
        cgroup.identity = Identity {
            name: format!("fleet-{agent:04}-{container:03}"),
            path: format!("/system.slice/docker-{agent:08x}{container:08x}{:048x}.scope", 0),
            container_id: Some(format!("{agent:08x}{container:08x}{:048x}", 0)),
            runtime: Some("docker".to_owned()),
            ..Identity::default()
        }
        .into();
        let mut random = fastrand::Rng::with_seed(id.0);
        for &metric in Metric::ALL.iter().filter(|metric| !metric.spec().origins().is_empty()) {
            let value = value(metric, tick, &mut random);
            if metric.is_shared() { &mut now.host.values } else { &mut cgroup.values }.put(metric, 0, value);
        }
    }
    now
}

/// A number of the usual length that changes from tick to tick, unless it is a constant one.
fn value(metric: Metric, tick: u64, random: &mut fastrand::Rng) -> u64 {
    let (start, step) = (random.u64(100..1_000), random.u64(10..100));
    let spec = metric.spec();
    let (large, small) = (start * 1_000_000, start);
    match metric {
        Metric::CpuLimit => 2_000_000,
        Metric::MemoryLimit => 1 << 30,
        Metric::PidsLimit => NO_LIMIT,
        Metric::Frozen | Metric::FrozenV1 | Metric::OomKills | Metric::MemorySwap | Metric::CpuThrottled => 0,
        Metric::Populated => 1,
        Metric::CpusetCount | Metric::MachineCpus => 8,
        Metric::MachineMemory => 32 << 30,
        Metric::DiskTotal => 250 << 30,
        _ => match (spec.kind, spec.unit) {
            (Kind::Counter, Unit::Nanoseconds) => large * 1_000 + tick * step * 3_000_000,
            (Kind::Counter, Unit::Bytes) => large + tick * step * 1_777,
            (Kind::Counter, _) => small * 100 + tick * step,
            (Kind::Gauge, Unit::Bytes) => large / 2 + (tick * step * 4_096) % (large / 10),
            (Kind::Gauge, Unit::Seconds) => small * 1_000 + tick * INTERVAL.as_secs(),
            (Kind::Gauge, _) => (small + tick * step) % 400,
        },
    }
}
