//! One line per container: the layout of columns in a window, and the cells.

use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::columns::{BAR, Column, NAMES, REASONS, pressure};
use super::row::Row;
use super::table::mark;
use super::text::{bar, left, name, right, width};
use super::theme::Theme;
use crate::amount::short;
use crate::findings::Level;
use crate::metrics::Metric;
use crate::snapshot::Status;

/// Columns of a window from which on names and reasons come before other columns, up to these widths.
const ROOMY: usize = 120;
const ROOMY_NAMES: usize = 36;
const ROOMY_REASONS: usize = 48;
/// The mark before each line, and the space behind it, which has the mark of the selected row.
const MARK: usize = 2;
const SELECTED: char = '▸';

/// The columns of a window, each with its place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// Each column, its first position on the screen, and its width.
    pub columns: Vec<(Column, usize, usize)>,
}

impl Layout {
    /// Finds room for the most important columns, and for the one that is sorted by. Columns that no row has anything in
    /// are left out.
    pub fn new(columns: usize, rows: &[&Row], indent: usize, sorted: Column) -> Self {
        let mut chosen: Vec<Column> =
            Column::ALL.into_iter().filter(|column| *column == sorted || column.tells(rows)).collect();
        let longest = rows.iter().map(|row| width(&row.name)).max().unwrap_or(0) + indent;
        let reasons = rows.iter().map(|row| width(&reasons(row))).max().unwrap_or(0);
        let least = |column: Column| match column {
            Column::Name if columns >= ROOMY => longest.clamp(NAMES, ROOMY_NAMES),
            Column::Why if columns >= ROOMY => reasons.clamp(REASONS, ROOMY_REASONS),
            _ => column.spec().width,
        };
        let needed = |chosen: &[Column]| MARK + chosen.iter().map(|column| least(*column) + 1).sum::<usize>();
        while needed(&chosen) > columns + 1 && chosen.len() > 1 {
            let rank = |column: Column| if column == sorted { 0 } else { column.spec().rank };
            let dropped = chosen.iter().enumerate().max_by_key(|(place, column)| (rank(**column), *place));
            let Some(place) = dropped.map(|(place, _)| place) else { break };
            chosen.remove(place);
        }
        let spare = (columns + 1).saturating_sub(needed(&chosen));
        let names = longest.clamp(NAMES, least(Column::Name) + spare);
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

    /// The row that is selected: with a mark, and on a background that is never faint.
    pub fn selected_line(&self, row: &Row, prefix: &str, theme: Theme) -> Line<'static> {
        let mut line = self.line(row, prefix, theme);
        if let Some(first) = line.spans.first_mut() {
            let worst = row.worst().map_or(" ", |finding| mark(finding.level));
            first.content = format!("{worst}{SELECTED}").into();
        }
        for span in &mut line.spans {
            span.style = span.style.not_dim();
        }
        line.style(theme.selected())
    }

    /// True if the row's line has all its findings.
    pub fn has_reasons(&self, row: &Row) -> bool {
        let room = self.columns.iter().find(|(column, ..)| *column == Column::Why).map_or(0, |(.., size)| *size);
        row.findings.len() < 2 && width(&reasons(row)) <= room
    }
}

/// The worst finding, and the number of the others.
fn reasons(row: &Row) -> String {
    match (row.worst(), row.findings.len()) {
        (None, _) => String::new(),
        (Some(worst), 1) => worst.text.clone(),
        (Some(worst), all) => format!("{} (+{})", worst.text, all - 1),
    }
}

fn cell(column: Column, row: &Row, prefix: &str, size: usize, theme: Theme) -> Vec<Span<'static>> {
    let plain = |text: String, style: Style| vec![Span::styled(text, style)];
    match column {
        Column::Name => {
            let room = size.saturating_sub(width(prefix));
            let (path, last) = name(&row.name, room);
            vec![
                Span::styled(left(prefix, size - room), theme.faint()),
                Span::styled(path.clone(), theme.faint()),
                Span::styled(left(&last, room - width(&path)), theme.strong()),
            ]
        }
        Column::Host => plain(left(&row.host, size), Style::new()),
        Column::Status if row.status == Some(Status::Running) => plain(left(row.status(), size), theme.faint()),
        Column::Status => plain(left(row.status(), size), theme.level(Level::Warn)),
        Column::Why => match row.worst() {
            Some(worst) => {
                let all = reasons(row);
                let text = if width(&all) <= size { &all } else { &worst.text };
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
