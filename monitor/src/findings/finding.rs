//! A finding, and the order of severity.

use std::cmp::{Ordering, Reverse};

use super::level::Level;
use crate::metrics::Metric;

/// Something that is wrong with a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its kind.
    pub kind: FindingKind,
    /// Its severity.
    pub level: Level,
    /// A sentence for an operator, without a full stop.
    pub text: String,
}

/// Kinds of findings. At equal level the earlier one is worse: what kills comes before what stands still, and that
/// before what is slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FindingKind {
    /// No report arrives any more.
    Silent,
    /// The container has exited.
    Exited,
    /// The container is frozen.
    Frozen,
    /// The kernel killed a process for want of memory.
    OomKill,
    /// Memory is nearly at its limit.
    Memory,
    /// The number of tasks is nearly at its limit.
    Tasks,
    /// A process has nearly as many descriptors as it may have.
    Descriptors,
    /// The filesystem of the container's root is nearly full.
    Disk,
    /// That filesystem has hardly any inodes left.
    Inodes,
    /// The CPU quota runs out.
    Throttled,
    /// All tasks wait for memory.
    MemoryPressure,
    /// Tasks wait for disks.
    IoPressure,
    /// The CPU allowance is used up.
    Cpu,
    /// Tasks wait for a CPU.
    CpuPressure,
    /// The container has restarted.
    Restarted,
    /// The clock of its machine differs from the reader's.
    Clock,
}

impl FindingKind {
    /// Its name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Exited => "exited",
            Self::Frozen => "frozen",
            Self::OomKill => "oom_kill",
            Self::Memory => "memory",
            Self::Tasks => "tasks",
            Self::Descriptors => "descriptors",
            Self::Disk => "disk",
            Self::Inodes => "inodes",
            Self::Throttled => "throttled",
            Self::MemoryPressure => "memory_pressure",
            Self::IoPressure => "io_pressure",
            Self::Cpu => "cpu",
            Self::CpuPressure => "cpu_pressure",
            Self::Restarted => "restarted",
            Self::Clock => "clock",
        }
    }

    /// The metric that it is about; `None` for the container's status.
    pub fn metric(self) -> Option<Metric> {
        Some(match self {
            Self::Silent | Self::Exited | Self::Frozen | Self::Clock => return None,
            Self::OomKill => Metric::OomKills,
            Self::Memory => Metric::MemoryPercent,
            Self::Tasks => Metric::PidsLimit,
            Self::Descriptors => Metric::DescriptorsNearest,
            Self::Disk => Metric::DiskPercent,
            Self::Inodes => Metric::InodesUsed,
            Self::Throttled => Metric::CpuThrottledPercent,
            Self::MemoryPressure => Metric::MemoryPressureFull,
            Self::IoPressure => Metric::IoPressure,
            Self::Cpu => Metric::CpuPercent,
            Self::CpuPressure => Metric::CpuPressure,
            Self::Restarted => Metric::Uptime,
        })
    }
}

/// Sorts findings, the worst first.
pub(super) fn sort(findings: &mut [Finding]) {
    findings.sort_by_key(|finding| (Reverse(finding.level), finding.kind));
}

/// Compares two containers by their findings, each sorted with the worst first. `Greater` is worse.
pub fn compare(a: &[Finding], b: &[Finding]) -> Ordering {
    let key = |findings: &[Finding]| findings.first().map(|worst| (worst.level, Reverse(worst.kind)));
    key(a).cmp(&key(b)).then(a.len().cmp(&b.len()))
}

/// The level of the findings about a metric; [`Level::Info`] without any.
pub fn level_of(findings: &[Finding], metric: Metric) -> Level {
    let about = findings.iter().filter(|finding| finding.kind.metric() == Some(metric));
    about.map(|finding| finding.level).max().unwrap_or(Level::Info)
}
