//! Lookups in the table that several modules share.

use super::origin::Origin;
use super::table::Metric;

/// The rows that have an origin of one kind, with its rank and its parameter: found once, not for each cgroup.
pub type Rows<P> = Vec<(Metric, u8, P)>;

/// The groups of `sources` in the report, each with the row that speaks for it.
pub const GROUPS: &[(&str, Metric)] = &[
    ("cpu", Metric::CpuUsage),
    ("memory", Metric::MemoryUsage),
    ("network", Metric::NetworkRxBytes),
    ("disk_io", Metric::DiskReadBytes),
    ("disk_usage", Metric::DiskUsage),
    ("processes", Metric::ProcessCount),
    ("file_descriptors", Metric::FileDescriptors),
];

impl Metric {
    /// Its position in the table.
    pub fn index(self) -> usize {
        self as usize
    }

    /// True if every cgroup shares the machine's value.
    pub fn is_shared(self) -> bool {
        matches!(self.spec().origins(), [Origin::Machine(_)])
    }

    /// Every origin of every row, with its rank in the row.
    pub fn origins() -> impl Iterator<Item = (Self, u8, &'static Origin)> {
        Self::ALL
            .iter()
            .flat_map(|&metric| (0u8..).zip(metric.spec().origins()).map(move |(rank, origin)| (metric, rank, origin)))
    }

    /// The rows that have an origin of one kind, with its rank, and the parameter that `kind` returns.
    pub fn fed_by<P>(kind: impl Fn(&'static Origin) -> Option<P>) -> Rows<P> {
        Self::origins().filter_map(|(metric, rank, origin)| Some((metric, rank, kind(origin)?))).collect()
    }

    /// The rows that are fields of the report, with their paths.
    pub fn fields() -> impl Iterator<Item = (Self, &'static str)> {
        Self::ALL.iter().filter_map(|&metric| Some((metric, metric.spec().field()?)))
    }
}
