//! The columns of the list of containers, and the order of rows.

use std::cmp::Ordering;

use super::row::Row;
use crate::findings;
use crate::metrics::Metric;

/// A column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Column {
    /// The container.
    Name,
    /// Its machine.
    Host,
    /// CPU in percent of the allowance.
    Cpu,
    /// CPUs in use.
    Cores,
    /// Share of the time for which the quota kept tasks from running.
    Throttled,
    /// Memory in percent of the limit.
    Memory,
    /// Memory in bytes, and its limit.
    Used,
    /// Processes that the out-of-memory killer ended.
    OomKills,
    /// Network, bytes received per second.
    Receive,
    /// Network, bytes sent per second.
    Send,
    /// Disks, bytes read per second.
    Read,
    /// Disks, bytes written per second.
    Write,
    /// Processes.
    Processes,
    /// Open descriptors.
    Descriptors,
    /// The worst pressure, and its resource.
    Pressure,
    /// Time since the first process started.
    Age,
    /// Its status.
    Status,
    /// Its worst finding.
    Why,
}

/// Title, width, key and rank of a column.
#[derive(Debug)]
pub struct Spec {
    /// Its title.
    pub title: &'static str,
    /// Its least columns on the screen; those of the name and the reason grow.
    pub width: usize,
    /// The key that sorts by it.
    pub key: char,
    /// A sentence for the help.
    pub help: &'static str,
    /// Columns with a higher rank are dropped first when there is no room.
    pub(super) rank: u8,
}

/// The narrowest column of names.
pub(super) const NAMES: usize = 14;
/// The narrowest column of reasons.
pub(super) const REASONS: usize = 22;
/// The bar in a column with a percentage.
pub(super) const BAR: usize = 6;

impl Column {
    /// All, in their order.
    pub const ALL: [Self; 18] = [
        Self::Name,
        Self::Host,
        Self::Cpu,
        Self::Cores,
        Self::Throttled,
        Self::Memory,
        Self::Used,
        Self::OomKills,
        Self::Receive,
        Self::Send,
        Self::Read,
        Self::Write,
        Self::Processes,
        Self::Descriptors,
        Self::Pressure,
        Self::Age,
        Self::Status,
        Self::Why,
    ];

    /// Its title, width, key and rank.
    pub fn spec(self) -> &'static Spec {
        macro_rules! spec {
            ($title:literal, $width:expr, $key:literal, $rank:literal, $help:literal) => {
                const { &Spec { title: $title, width: $width, key: $key, help: $help, rank: $rank } }
            };
        }
        match self {
            Self::Name => spec!("NAME", NAMES, 'n', 0, "name"),
            Self::Host => spec!("HOST", 12, 'H', 3, "machine"),
            Self::Cpu => spec!("CPU", BAR + 5, 'c', 0, "CPU, percent of the allowance"),
            Self::Cores => spec!("CORES", 5, 'C', 1, "CPUs in use"),
            Self::Throttled => spec!("THROT", 5, 'T', 1, "throttled, percent of the time"),
            Self::Memory => spec!("MEMORY", BAR + 5, 'm', 0, "memory, percent of the limit"),
            Self::Used => spec!("USED/LIMIT", 11, 'M', 5, "memory in bytes"),
            Self::OomKills => spec!("OOM", 4, 'O', 2, "processes that the OOM killer ended"),
            Self::Receive => spec!("NET IN", 6, 'i', 4, "network, bytes received per second"),
            Self::Send => spec!("NETOUT", 6, 'o', 4, "network, bytes sent per second"),
            Self::Read => spec!("DISK R", 6, 'R', 6, "disks, bytes read per second"),
            Self::Write => spec!("DISK W", 6, 'W', 6, "disks, bytes written per second"),
            Self::Processes => spec!("PROCS", 5, 'P', 7, "processes"),
            Self::Descriptors => spec!("FDS", 5, 'D', 9, "open descriptors"),
            Self::Pressure => spec!("PRESSURE", 8, 'x', 8, "the worst pressure, and of what"),
            Self::Age => spec!("AGE", 4, 'a', 9, "age"),
            Self::Status => spec!("STATUS", 7, 'u', 8, "status"),
            Self::Why => spec!("TROUBLE", REASONS, 'w', 0, "trouble, the worst first"),
        }
    }

    /// The column that a key sorts by.
    pub fn of_key(key: char) -> Option<Self> {
        Self::ALL.into_iter().find(|column| column.spec().key == key)
    }

    /// True if its largest value comes first by default.
    pub fn is_descending(self) -> bool {
        !matches!(self, Self::Name | Self::Host | Self::Status)
    }

    /// True if a row has something in it. A machine tells nothing where all rows are of one.
    pub(super) fn tells(self, rows: &[&Row]) -> bool {
        match self {
            Self::Host => rows.iter().any(|row| row.host != rows[0].host),
            Self::Name | Self::Cpu | Self::Memory | Self::Status | Self::Why => true,
            _ => rows.iter().any(|row| self.value(row).is_some()),
        }
    }

    /// True if it holds text.
    pub(super) fn is_text(self) -> bool {
        matches!(self, Self::Name | Self::Host | Self::Status | Self::Why)
    }

    /// The number that it shows, if it is one.
    pub(super) fn metric(self) -> Option<Metric> {
        Some(match self {
            Self::Cpu => Metric::CpuPercent,
            Self::Cores => Metric::CpuUsageCores,
            Self::Throttled => Metric::CpuThrottledPercent,
            Self::Memory => Metric::MemoryPercent,
            Self::Used => Metric::MemoryUsage,
            Self::OomKills => Metric::OomKills,
            Self::Receive => Metric::NetworkRxRate,
            Self::Send => Metric::NetworkTxRate,
            Self::Read => Metric::IoReadRate,
            Self::Write => Metric::IoWriteRate,
            Self::Processes => Metric::ProcessCount,
            Self::Descriptors => Metric::FileDescriptors,
            Self::Age => Metric::Uptime,
            Self::Name | Self::Host | Self::Pressure | Self::Status | Self::Why => return None,
        })
    }

    /// Its number in a row, by which rows are sorted.
    pub(super) fn value(self, row: &Row) -> Option<f64> {
        match self {
            Self::Pressure => pressure(row).map(|(_, value, _)| value),
            column => row.number(column.metric()?),
        }
    }

    /// The order of two rows, the smaller one first. Rows without a number come last in either direction.
    pub fn compare(self, a: &Row, b: &Row, descending: bool) -> Ordering {
        let turned = |order: Ordering| if descending { order.reverse() } else { order };
        let order = match self {
            Self::Name => turned(a.name.cmp(&b.name)),
            Self::Host => turned(a.host.cmp(&b.host)),
            Self::Status => turned(a.status().cmp(b.status())),
            Self::Why => turned(findings::compare(&a.findings, &b.findings).then_with(|| busy(a).cmp(&busy(b)))),
            _ => match (self.value(a), self.value(b)) {
                (Some(a), Some(b)) => turned(a.total_cmp(&b)),
                (a, b) => b.is_some().cmp(&a.is_some()),
            },
        };
        order.then_with(|| a.name.cmp(&b.name))
    }
}

/// The load of a container, in steps of ten percent, so that calm rows do not change places.
fn busy(row: &Row) -> Option<i64> {
    let busy = [Metric::CpuPercent, Metric::MemoryPercent].into_iter().filter_map(|metric| row.number(metric));
    #[expect(clippy::cast_possible_truncation, reason = "steps of ten percent")]
    busy.map(|percent| (percent / 10.0) as i64).max()
}

/// The worst of the pressures: its metric, its value, and its resource.
pub(super) fn pressure(row: &Row) -> Option<(Metric, f64, &'static str)> {
    let all = [(Metric::CpuPressure, "cpu"), (Metric::MemoryPressureSome, "mem"), (Metric::IoPressure, "io")];
    let all = all.into_iter().filter_map(|(metric, what)| Some((metric, row.number(metric)?, what)));
    all.max_by(|(_, a, _), (_, b, _)| a.total_cmp(b))
}
