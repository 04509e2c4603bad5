//! Everything about one container: its last minutes, its log, its numbers and their origins.

use ratatui::text::{Line, Span};

use super::history::{LENGTH, TRACED};
use super::model::Model;
use crate::amount::{long, short};
use crate::metrics::{Metric, Unit};
use crate::views::row::Row;
use crate::views::table;
use crate::views::text::{cut, left, right, width};
use crate::views::theme::Theme;

/// Width from which on the numbers stand beside the rest.
const BESIDE: usize = 130;
/// Columns of a sparkline's name and its latest value.
const NAME: usize = 12;
const VALUE: usize = 11;
/// Columns behind a sparkline for its largest value.
const LARGEST: usize = 13;
/// Log entries that are shown.
const ENTRIES: usize = 8;

/// The details of a row in `columns` columns.
pub fn lines(model: &Model, row: &Row, columns: usize, theme: Theme) -> Vec<Line<'static>> {
    let mut lines = table::heading(row, columns, theme);
    let half = columns / 2;
    let about = if columns < BESIDE { columns } else { half - 1 };
    let mut past = sparklines(model, row, about, theme);
    past.extend(log(model, row, about, theme));
    if columns < BESIDE {
        lines.extend(past);
        lines.extend(table::numbers(row, columns, theme));
    } else {
        lines.extend(beside(past, table::numbers(row, columns - half, theme), half));
    }
    lines
}

fn sparklines(model: &Model, row: &Row, columns: usize, theme: Theme) -> Vec<Line<'static>> {
    let Some((history, skip)) = model.history(&row.name) else { return Vec::new() };
    let room = columns.saturating_sub(2 + NAME + VALUE + 1 + LARGEST).min(LENGTH);
    let seconds = model.interval.as_secs_f64() * history.len().saturating_sub(skip).min(room).saturating_sub(1) as f64;
    let title = format!("the last {}", long(seconds, Unit::Seconds));
    let mut lines = vec![Line::styled(title, theme.heading())];
    for (traced, (metric, name)) in TRACED.into_iter().enumerate() {
        let samples: Vec<Option<f32>> = history.latest(traced, room, skip).collect();
        let Some(largest) = samples.iter().flatten().copied().reduce(f32::max) else { continue };
        let unit = metric.spec().unit;
        let full = match (unit, metric) {
            (Unit::Percent, _) => 100.0,
            #[expect(clippy::cast_possible_truncation, reason = "drawn in eight steps")]
            (_, Metric::MemoryUsage) => row.number(Metric::MemoryLimit).map_or(largest, |limit| limit as f32),
            _ => largest,
        };
        let latest = row.number(metric).map_or("-".to_owned(), |value| long(value, unit));
        let drawn: String = samples.iter().map(|sample| spark(*sample, full)).collect();
        lines.push(Line::from(vec![
            Span::raw(format!("  {}{} ", left(name, NAME), right(&latest, VALUE))),
            Span::styled(left(&drawn, room), theme.good()),
            Span::styled(format!(" max {}", short(f64::from(largest), unit)), theme.faint()),
        ]));
    }
    lines
}

/// A sample as one of eight heights; a space for a missing sample.
fn spark(sample: Option<f32>, full: f32) -> char {
    const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let Some(sample) = sample else { return ' ' };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "one of eight")]
    let height = (sample / full.max(f32::MIN_POSITIVE) * 7.0).round().clamp(0.0, 7.0) as usize;
    HEIGHTS[height]
}

fn log(model: &Model, row: &Row, columns: usize, theme: Theme) -> Vec<Line<'static>> {
    let mut entries: Vec<Line<'_>> = model
        .entries(&row.name)
        .rev()
        .take(ENTRIES)
        .map(|entry| {
            let at = humantime::format_rfc3339_seconds(entry.at).to_string();
            let time = at.get(11..19).unwrap_or_default().to_owned();
            let (level, message) = (entry.level, crate::views::text::printable(&entry.message));
            Line::from(vec![
                Span::styled(format!("  {time} "), theme.faint()),
                Span::styled(left(level.as_str(), 6), theme.level(level)),
                Span::raw(cut(&message, columns.saturating_sub(17))),
            ])
        })
        .collect();
    if entries.is_empty() {
        entries.push(Line::styled("  nothing has happened since this view began", theme.faint()));
    }
    std::iter::once(Line::styled("log, the latest first (UTC)", theme.heading())).chain(entries).collect()
}

/// Puts lines beside other lines, the second ones from a column on.
fn beside(left: Vec<Line<'static>>, right: Vec<Line<'static>>, column: usize) -> Vec<Line<'static>> {
    let count = left.len().max(right.len());
    let mut right = right.into_iter();
    let left = left.into_iter().map(Some).chain(std::iter::repeat_with(|| None));
    let mut lines = Vec::new();
    for first in left.take(count) {
        let mut spans = styled(first.unwrap_or_default());
        let used: usize = spans.iter().map(|span| width(&span.content)).sum();
        spans.push(Span::raw(" ".repeat(column.saturating_sub(used))));
        spans.extend(styled(right.next().unwrap_or_default()));
        lines.push(Line::from(spans));
    }
    lines
}

/// The spans of a line, with its style.
fn styled(line: Line<'static>) -> Vec<Span<'static>> {
    let style = line.style;
    line.spans.into_iter().map(|span| Span::styled(span.content, style.patch(span.style))).collect()
}
