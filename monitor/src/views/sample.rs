//! Reports for tests of the views.

use std::time::{Duration, SystemTime};

use super::row::Row;
use crate::metrics::Metric;
use crate::metrics::NO_LIMIT;
use crate::report::Report;
use crate::snapshot::{CgroupId, Identity, Scope, Snapshot, Stamp, Status};

/// A container to be: its name, the path of its cgroup, its state and raw readings.
pub(crate) struct Sample<'a> {
    pub(crate) name: &'a str,
    pub(crate) path: &'a str,
    pub(crate) status: Status,
    pub(crate) values: &'a [(Metric, u64)],
}

/// A report of these containers, read at a second; counters grew in it from 0.
pub(crate) fn report(second: u64, containers: &[Sample<'_>]) -> Report {
    let snapshot = |mono, zero: bool| {
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        let mut now = Snapshot::new(Stamp { mono: Duration::from_secs(mono), wall });
        now.scope = Scope::Host;
        now.host.name = "host1".to_owned();
        now.host.values.put(Metric::MachineMemory, 0, 8 << 30);
        now.host.values.put(Metric::MachineCpus, 0, 2);
        for (metric, value) in [(Metric::Load1, 125), (Metric::Load5, 80), (Metric::Load15, 50)] {
            now.host.values.put(metric, 0, value);
        }
        for (id, container) in (1..).zip(containers) {
            let cgroup = now.cgroups.entry(CgroupId(id)).or_default();
            let (name, path) = (container.name.to_owned(), container.path.to_owned());
            cgroup.identity = Identity { name, path, ..Identity::default() }.into();
            cgroup.status = container.status;
            for metric in [Metric::CpuLimit, Metric::MemoryLimit, Metric::PidsLimit] {
                cgroup.values.put(metric, 0, NO_LIMIT);
            }
            for &(metric, value) in container.values {
                let counter = metric.spec().kind == crate::metrics::Kind::Counter;
                cgroup.values.put(metric, 0, if zero && counter { 0 } else { value });
            }
        }
        now
    };
    Report::new(Some(&snapshot(0, true)), &snapshot(1, false), Duration::from_micros(400))
}

/// A container that runs, with these raw readings.
pub(crate) fn row(name: &str, values: &[(Metric, u64)]) -> Row {
    let report = report(100, &[Sample { name, path: "/docker/a", status: Status::Running, values }]);
    Row::of(&report, &report.containers[0])
}

/// Some containers of a host, two in trouble, one in another, all in the machine.
pub(crate) fn some(second: u64) -> Report {
    const SECOND: u64 = 1_000_000_000;
    const MIB: u64 = 1 << 20;
    let running = |name, path, values| Sample { name, path, status: Status::Running, values };
    report(
        second,
        &[
            running(
                "host1",
                "/",
                &[
                    (Metric::CpuUsage, SECOND),
                    (Metric::MemoryUsage, 3 << 30),
                    (Metric::ProcessCount, 212),
                    (Metric::Uptime, 400_000),
                ],
            ),
            running(
                "web",
                "/docker/11aa",
                &[
                    (Metric::CpuUsage, SECOND / 4),
                    (Metric::CpuLimit, 250_000),
                    (Metric::CpuPeriods, 10),
                    (Metric::CpuThrottled, 10),
                    (Metric::CpuThrottledTime, SECOND / 4 * 3),
                    (Metric::CpuPeriod, SECOND / 10),
                    (Metric::CpuLevel, 0),
                    (Metric::MemoryUsage, 12 * MIB),
                    (Metric::MemoryLimit, 64 * MIB),
                    (Metric::NetworkRxBytes, 1_300_000),
                    (Metric::NetworkTxBytes, 45_000),
                    (Metric::DiskReadBytes, 0),
                    (Metric::DiskWriteBytes, 8 * MIB),
                    (Metric::ProcessCount, 3),
                    (Metric::FileDescriptors, 24),
                    (Metric::CpuPressure, 7_500),
                    (Metric::Uptime, 3_700),
                ],
            ),
            running(
                "db",
                "/docker/22bb",
                &[
                    (Metric::CpuUsage, SECOND / 10),
                    (Metric::MemoryUsage, 246 * MIB),
                    (Metric::MemoryLimit, 256 * MIB),
                    (Metric::ProcessCount, 9),
                    (Metric::FileDescriptors, 180),
                    (Metric::Uptime, 90_000),
                ],
            ),
            running(
                "db-backup",
                "/docker/22bb/33cc",
                &[(Metric::CpuUsage, SECOND / 20), (Metric::MemoryUsage, MIB), (Metric::ProcessCount, 1)],
            ),
            Sample {
                name: "job",
                path: "/docker/44dd",
                status: Status::Paused,
                values: &[(Metric::CpuUsage, 0), (Metric::ProcessCount, 1)],
            },
            running("日本\x1b[2J\nname", "/docker/55ee", &[(Metric::CpuUsage, SECOND / 100)]),
        ],
    )
}
