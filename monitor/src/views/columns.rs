//! One line per container: the columns, their layout in a window, and the order of rows.

use std::cmp::Ordering;

use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::row::Row;
use super::table::mark;
use super::text::{bar, left, right, width};
use super::theme::Theme;
use crate::amount::short;
use crate::findings::{self, Level};
use crate::metrics::Metric;
use crate::snapshot::Status;

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
    /// Its columns on the screen; those of the name and the reason grow.
    pub width: usize,
    /// The key that sorts by it.
    pub key: char,
    /// A sentence for the help.
    pub help: &'static str,
    /// Columns with a higher rank are dropped first when there is no room.
    rank: u8,
}

/// The narrowest and the widest column of names.
const NAMES: (usize, usize) = (14, 36);
/// The mark before each line, and the space behind it.
const MARK: usize = 2;
/// The bar in a column with a percentage.
const BAR: usize = 6;

impl Column {
    /// All, in their order.
    pub const ALL: [Self; 17] = [
        Self::Name,
        Self::Host,
        Self::Cpu,
        Self::Cores,
        Self::Throttled,
        Self::Memory,
        Self::Used,
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
            Self::Name => spec!("NAME", NAMES.0, 'n', 0, "name"),
            Self::Host => spec!("HOST", 12, 'H', 3, "machine"),
            Self::Cpu => spec!("CPU", BAR + 5, 'c', 0, "CPU, percent of the allowance"),
            Self::Cores => spec!("CORES", 5, 'C', 1, "CPUs in use"),
            Self::Throttled => spec!("THROT", 5, 'T', 1, "throttled, percent of the time"),
            Self::Memory => spec!("MEMORY", BAR + 5, 'm', 0, "memory, percent of the limit"),
            Self::Used => spec!("USED/LIMIT", 11, 'M', 5, "memory in bytes"),
            Self::Receive => spec!("NET IN", 6, 'i', 4, "network, bytes received per second"),
            Self::Send => spec!("NETOUT", 6, 'o', 4, "network, bytes sent per second"),
            Self::Read => spec!("DISK R", 6, 'R', 6, "disks, bytes read per second"),
            Self::Write => spec!("DISK W", 6, 'W', 6, "disks, bytes written per second"),
            Self::Processes => spec!("PROCS", 5, 'P', 7, "processes"),
            Self::Descriptors => spec!("FDS", 5, 'D', 9, "open descriptors"),
            Self::Pressure => spec!("PRESSURE", 8, 'x', 8, "the worst pressure, and of what"),
            Self::Age => spec!("AGE", 4, 'a', 9, "age"),
            Self::Status => spec!("STATUS", 7, 'u', 8, "status"),
            Self::Why => spec!("TROUBLE", 22, 'w', 0, "trouble, the worst first"),
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

    /// True if it holds text.
    fn is_text(self) -> bool {
        matches!(self, Self::Name | Self::Host | Self::Status | Self::Why)
    }

    fn metric(self) -> Option<Metric> {
        Some(match self {
            Self::Cpu => Metric::CpuPercent,
            Self::Cores => Metric::CpuUsageCores,
            Self::Throttled => Metric::CpuThrottledPercent,
            Self::Memory => Metric::MemoryPercent,
            Self::Used => Metric::MemoryUsage,
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

    fn value(self, row: &Row) -> Option<f64> {
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
fn pressure(row: &Row) -> Option<(Metric, f64, &'static str)> {
    let all = [(Metric::CpuPressure, "cpu"), (Metric::MemoryPressureSome, "mem"), (Metric::IoPressure, "io")];
    let all = all.into_iter().filter_map(|(metric, what)| Some((metric, row.number(metric)?, what)));
    all.max_by(|(_, a, _), (_, b, _)| a.total_cmp(b))
}

/// The columns of a window, each with its place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// Each column, its first position on the screen, and its width.
    pub columns: Vec<(Column, usize, usize)>,
}

impl Layout {
    /// Finds room for the most important columns, and for the one that is sorted by.
    pub fn new(columns: usize, rows: &[&Row], indent: usize, sorted: Column) -> Self {
        let fleet = rows.iter().any(|row| row.host != rows[0].host);
        let mut chosen: Vec<Column> =
            Column::ALL.into_iter().filter(|column| fleet || *column != Column::Host).collect();
        let needed = |chosen: &[Column]| MARK + chosen.iter().map(|column| column.spec().width + 1).sum::<usize>();
        while needed(&chosen) > columns + 1 && chosen.len() > 1 {
            let rank = |column: Column| if column == sorted { 0 } else { column.spec().rank };
            let least = chosen.iter().enumerate().max_by_key(|(place, column)| (rank(**column), *place));
            let Some(place) = least.map(|(place, _)| place) else { break };
            chosen.remove(place);
        }
        let spare = (columns + 1).saturating_sub(needed(&chosen));
        let longest = rows.iter().map(|row| width(&row.name)).max().unwrap_or(0) + indent;
        let names = longest.clamp(NAMES.0, NAMES.1).min(NAMES.0 + spare);
        let mut place = MARK;
        let mut laid = Vec::new();
        for column in chosen {
            let size = match column {
                Column::Name => names,
                Column::Why => columns.saturating_sub(place),
                _ => column.spec().width,
            };
            laid.push((column, place, size));
            place += size + 1;
        }
        Self { columns: laid }
    }

    /// The column at a position on the screen.
    pub fn at(&self, place: usize) -> Option<Column> {
        self.columns
            .iter()
            .find(|(_, start, size)| (*start..=start + size).contains(&place))
            .map(|(column, ..)| *column)
    }

    /// The line of titles. The column that is sorted by has an arrow.
    pub fn header(&self, sorted: Option<(Column, bool)>, theme: Theme) -> Line<'static> {
        let mut spans = vec![Span::raw(" ".repeat(MARK))];
        for &(column, _, size) in &self.columns {
            let arrow = match sorted {
                Some((by, true)) if by == column => "▼",
                Some((by, false)) if by == column => "▲",
                _ => "",
            };
            let style = if arrow.is_empty() { theme.faint() } else { theme.strong() };
            let (title, gap) = match column.spec().title {
                title if column.is_text() || size > 8 => (left(&format!("{title}{arrow}"), size), " ".to_owned()),
                title => (right(title, size), left(arrow, 1)),
            };
            spans.push(Span::styled(title, style));
            spans.push(Span::styled(gap, style));
        }
        Line::from(spans)
    }

    /// One row. `prefix` stands before the name: the branches of a tree.
    pub fn line(&self, row: &Row, prefix: &str, theme: Theme) -> Line<'static> {
        let worst = row.worst().map(|finding| finding.level);
        let mark = worst.map_or(" ", mark);
        let mut spans = vec![Span::styled(format!("{mark} "), theme.level(worst.unwrap_or(Level::Info)))];
        for &(column, _, size) in &self.columns {
            spans.extend(cell(column, row, prefix, size, theme));
            spans.push(Span::raw(" "));
        }
        Line::from(spans)
    }
}

fn cell(column: Column, row: &Row, prefix: &str, size: usize, theme: Theme) -> Vec<Span<'static>> {
    let plain = |text: String, style: Style| vec![Span::styled(text, style)];
    match column {
        Column::Name => {
            let room = size.saturating_sub(width(prefix));
            vec![
                Span::styled(left(prefix, size - room), theme.faint()),
                Span::styled(left(&row.name, room), theme.strong()),
            ]
        }
        Column::Host => plain(left(&row.host, size), Style::new()),
        Column::Status if row.status == Some(Status::Running) => plain(left(row.status(), size), theme.faint()),
        Column::Status => plain(left(row.status(), size), theme.level(Level::Warn)),
        Column::Why => match row.worst() {
            Some(worst) => {
                let more = row.findings.len() - 1;
                let all = format!("{} (+{more})", worst.text);
                let text = if more > 0 && width(&all) <= size { &all } else { &worst.text };
                plain(left(text, size), theme.level(worst.level))
            }
            None => plain(left("", size), Style::new()),
        },
        Column::Pressure => match pressure(row) {
            Some((metric, value, what)) => {
                let style = theme.level(row.level(metric));
                plain(right(&format!("{value:.0}% {}", left(what, 3)), size), style)
            }
            None => plain(right("-", size), theme.faint()),
        },
        Column::Used => plain(right(&used(row), size), Style::new()),
        Column::Cpu | Column::Memory => share(column, row, theme),
        _ => number(column, row, size, theme),
    }
}

fn used(row: &Row) -> String {
    let show = |metric: Metric| row.number(metric).map(|value| short(value, metric.spec().unit));
    match (show(Metric::MemoryUsage), show(Metric::MemoryLimit)) {
        (None, _) => "-".to_owned(),
        (Some(used), None) => used,
        (Some(used), Some(limit)) => format!("{used}/{limit}"),
    }
}

/// A percentage with its bar. CPU is also bad when it is throttled.
fn share(column: Column, row: &Row, theme: Theme) -> Vec<Span<'static>> {
    let about = if column == Column::Cpu {
        [Metric::CpuPercent, Metric::CpuThrottledPercent]
    } else {
        [Metric::MemoryPercent, Metric::OomKills]
    };
    let level = about.map(|metric| row.level(metric)).into_iter().max().unwrap_or(Level::Info);
    match column.value(row) {
        Some(value) => vec![
            Span::styled(bar(value, BAR), theme.bar(level)),
            Span::styled(right(&format!("{value:.0}%"), 5), theme.level(level)),
        ],
        None => vec![Span::styled(right("-", BAR + 5), theme.faint())],
    }
}

fn number(column: Column, row: &Row, size: usize, theme: Theme) -> Vec<Span<'static>> {
    let shown = column.metric().and_then(|metric| Some((metric, row.number(metric)?)));
    let (text, style) = match shown {
        Some((metric, value)) => {
            let style = if value == 0.0 { theme.faint() } else { theme.level(row.level(metric)) };
            (short(value, metric.spec().unit), style)
        }
        None => ("-".to_owned(), theme.faint()),
    };
    vec![Span::styled(right(&text, size), style)]
}

/// All rows as a table that is printed once, the worst first.
pub fn overview(rows: &[Row], columns: usize, theme: Theme) -> Vec<Line<'static>> {
    let mut rows: Vec<&Row> = rows.iter().collect();
    rows.sort_by(|a, b| Column::Why.compare(a, b, true));
    let layout = Layout::new(columns, &rows, 0, Column::Why);
    let lines = rows.iter().map(|row| layout.line(row, "", theme));
    std::iter::once(layout.header(None, theme)).chain(lines).collect()
}
