//! The numbers of one container as a table: one line per number, grouped, and the absent ones by cause.

use ratatui::text::{Line, Span};

use super::row::Row;
use super::text::{bar, cut, left, printable, right, wrap};
use super::theme::Theme;
use crate::amount::long;
use crate::cause::CauseKind;
use crate::findings::Level;
use crate::metrics::{Metric, Shown, Unit};

/// Columns of the parts of a line: the name, the bar of a percentage, the number.
const NAME: usize = 26;
const BAR: usize = 20;
const NUMBER: usize = 12;

/// The heading of the absent numbers.
pub const ABSENT: &str = "unavailable on this host";

/// The groups, in their order.
const GROUPS: [&str; 8] = ["cpu", "memory", "network", "io", "disk", "processes", "descriptors", "machine"];

/// The container's name and state, its findings, and its location.
pub fn heading(row: &Row, columns: usize, theme: Theme) -> Vec<Line<'static>> {
    let mut title =
        vec![Span::styled(cut(&row.name, columns / 2), theme.strong()), Span::raw(format!("  {}", row.status()))];
    if !row.host.is_empty() {
        title.push(Span::styled(format!("  on {}", row.host), theme.faint()));
    }
    let mut lines = vec![Line::from(title)];
    for finding in &row.findings {
        let words = wrap(&finding.text, columns.saturating_sub(4));
        for (place, words) in words.into_iter().enumerate() {
            let mark = if place == 0 { mark(finding.level) } else { " " };
            lines.push(Line::styled(format!("  {mark} {words}"), theme.level(finding.level)));
        }
    }
    let mut about: Vec<String> = row.about.iter().map(|(what, text)| format!("{what} {text}")).collect();
    if !row.cgroup.is_empty() {
        about.push(format!("cgroup {}", row.cgroup));
    }
    lines.extend(about.into_iter().map(|text| Line::styled(cut(&format!("  {text}"), columns), theme.faint())));
    lines
}

/// The mark before a finding, so that colour is not the only sign.
pub fn mark(level: Level) -> &'static str {
    match level {
        Level::Info => "·",
        Level::Warn => "!",
        Level::Error => "✗",
    }
}

/// All numbers, by group; then all that are absent, by cause.
pub fn numbers(row: &Row, columns: usize, theme: Theme) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    for group in GROUPS {
        let there: Vec<Line<'_>> =
            fields(group).filter_map(|(metric, field)| line(row, metric, field, columns, theme)).collect();
        if !there.is_empty() {
            lines.push(Line::styled(heading_of(row, group), theme.heading()));
            lines.extend(there);
        }
    }
    lines.extend(absent(row, columns, theme));
    lines
}

/// The group's name, and its backend if the origin of each number is unknown.
fn heading_of(row: &Row, group: &str) -> String {
    let known = row.origin(Metric::CpuPercent).is_some();
    let sources: Vec<&str> = row
        .sources
        .iter()
        .filter(|(name, _)| !known && group_of(name) == Some(group))
        .map(|(_, backend)| backend.as_str())
        .collect();
    if sources.is_empty() { group.to_owned() } else { format!("{group}  from {}", sources.join(", ")) }
}

/// The group in which a field, or a group of the report's `sources`, is shown.
fn group_of(field: &str) -> Option<&'static str> {
    const BEGINNINGS: [(&str, &str); 13] = [
        ("cpu", "cpu"),
        ("load", "machine"),
        ("memory", "memory"),
        ("network", "network"),
        ("disk_read", "io"),
        ("disk_write", "io"),
        ("disk_io", "io"),
        ("io", "io"),
        ("disk", "disk"),
        ("process", "processes"),
        ("uptime", "processes"),
        ("file_desc", "descriptors"),
        ("descriptors", "descriptors"),
    ];
    BEGINNINGS.iter().find(|(beginning, _)| field.starts_with(beginning)).map(|(_, group)| *group)
}

fn fields(group: &str) -> impl Iterator<Item = (Metric, &'static str)> {
    Metric::ALL.iter().filter_map(move |&metric| match metric.spec().shown {
        Shown::Field(field) if group_of(field) == Some(group) => Some((metric, field)),
        _ => None,
    })
}

fn line(row: &Row, metric: Metric, field: &str, columns: usize, theme: Theme) -> Option<Line<'static>> {
    let name = field.split_once('.').map_or(field, |(_, name)| name);
    let rest = columns.saturating_sub(2 + NAME + 1 + BAR + 1 + NUMBER + 2);
    let unit = metric.spec().unit;
    let mut spans = vec![Span::raw(format!("  {} ", left(name, NAME)))];
    match row.get(metric) {
        Ok(value) => {
            let level = row.level(metric);
            spans.push(if has_bar(metric) {
                Span::styled(bar(value, BAR), theme.bar(level))
            } else {
                Span::raw(" ".repeat(BAR))
            });
            spans.push(Span::styled(right(&long(value, unit), NUMBER + 1), theme.level(level)));
            spans.push(Span::styled(format!("  {}", cut(row.origin(metric).unwrap_or_default(), rest)), theme.faint()));
        }
        Err(cause) if cause.kind() == CauseKind::NoLimit => {
            spans.push(Span::styled(right("no limit", BAR + 1 + NUMBER), theme.faint()));
        }
        Err(_) => return None,
    }
    Some(Line::from(spans))
}

/// True for a number that is a share of something. CPU time may exceed one CPU.
fn has_bar(metric: Metric) -> bool {
    metric.spec().unit == Unit::Percent && !matches!(metric, Metric::CpuUserPercent | Metric::CpuSystemPercent)
}

/// The absent numbers, grouped by cause.
fn absent(row: &Row, columns: usize, theme: Theme) -> Vec<Line<'static>> {
    let mut causes: Vec<(&str, Vec<&str>)> = Vec::new();
    for (metric, field) in GROUPS.into_iter().flat_map(fields) {
        let Err(cause) = row.get(metric) else { continue };
        if cause.kind() == CauseKind::NoLimit {
            continue;
        }
        match causes.iter_mut().find(|(known, _)| *known == cause.as_str()) {
            Some((_, fields)) => fields.push(field),
            None => causes.push((cause.as_str(), vec![field])),
        }
    }
    let mut lines = Vec::new();
    if !causes.is_empty() {
        lines.push(Line::styled(ABSENT, theme.heading()));
    }
    for (cause, fields) in causes {
        let indented = |text: String, indent: usize| Line::styled(" ".repeat(indent) + &text, theme.faint());
        lines.extend(wrap(&fields.join(", "), columns.saturating_sub(2)).into_iter().map(|text| indented(text, 2)));
        lines.extend(wrap(&printable(cause), columns.saturating_sub(4)).into_iter().map(|text| indented(text, 4)));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_in_a_group_that_is_shown() {
        let shown: Vec<Metric> = GROUPS.into_iter().flat_map(fields).map(|(metric, _)| metric).collect();
        for metric in Metric::ALL {
            if let Shown::Field(field) = metric.spec().shown {
                assert!(shown.contains(metric), "{field}: no group in GROUPS and BEGINNINGS");
            }
        }
    }
}
