//! The view on a screen.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout as Split, Rect};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Block, Clear, Paragraph};

use super::details;
use super::keys::HELP;
use super::model::{Areas, Details, Model};
use crate::amount::short;
use crate::findings::Level;
use crate::metrics::Metric;
use crate::views::columns::{Column, Layout};
use crate::views::row::Row;
use crate::views::text::{bar, cut, printable, width};
use crate::views::theme::Theme;

/// A window with fewer columns or rows shows that it is too small.
const SMALLEST: (u16, u16) = (40, 8);
/// The least number of rows of the list that the pane of details leaves.
const LIST: u16 = 5;
/// The bars of the machine.
const BAR: usize = 10;

/// Draws the model.
pub fn draw(frame: &mut Frame<'_>, model: &mut Model, theme: Theme) {
    let area = frame.area();
    if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
        frame.render_widget(Paragraph::new(format!("{} columns and {} rows are needed", SMALLEST.0, SMALLEST.1)), area);
        return;
    }
    let [title, machine, body, finding, foot] = Split::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Fill(1),
        Constraint::Length(1),
        Constraint::Length(1),
    ])
    .areas(area);
    frame.render_widget(headline(model, usize::from(title.width), theme), title);
    frame.render_widget(summary(model, theme), machine);
    let (list, pane) = match model.details {
        Details::Closed => (body, Rect::default()),
        Details::Full => (Rect::default(), body),
        Details::Pane => {
            let rows = u16::try_from(model.shown()).unwrap_or(u16::MAX).saturating_add(1);
            let list = rows.min((body.height / 3).max(LIST)).min(body.height);
            let [list, pane] = Split::vertical([Constraint::Length(list), Constraint::Fill(1)]).areas(body);
            (list, pane)
        }
    };
    model.areas = Areas::default();
    draw_list(frame, model, list, theme);
    draw_details(frame, model, pane, theme);
    frame.render_widget(findings(model, theme), finding);
    frame.render_widget(footer(model, usize::from(foot.width), theme), foot);
    if model.is_help {
        draw_help(frame, Rect { height: area.height - foot.height, ..area }, theme);
    }
}

fn headline(model: &Model, columns: usize, theme: Theme) -> Line<'static> {
    let mut spans = vec![Span::styled(format!("system-monitor  {}", printable(&model.subject)), theme.strong())];
    let (all, hosts) = (model.rows().filter(|row| !row.is_machine).count(), model.hosts().len());
    let on = if hosts > 1 { format!(" on {hosts} machines") } else { String::new() };
    spans.push(Span::raw(format!("  {all} {}{on}", if all == 1 { "container" } else { "containers" })));
    for (level, words) in [(Level::Error, "in trouble"), (Level::Warn, "to watch")] {
        let count = model.count(level);
        if count > 0 {
            spans.push(Span::styled(format!("  {count} {words}"), theme.level(level)));
        }
    }
    if model.is_paused {
        spans.push(Span::styled("  paused", theme.selected()));
    }
    let time = model.taken.map(|taken| humantime::format_rfc3339_seconds(taken).to_string());
    let time = time.and_then(|time| Some(format!("{} UTC", time.get(11..19)?))).unwrap_or_default();
    let used: usize = spans.iter().map(|span| width(&span.content)).sum();
    if used + width(&time) < columns {
        spans.push(Span::raw(" ".repeat(columns - used - width(&time))));
        spans.push(Span::styled(time, theme.faint()));
    }
    Line::from(spans)
}

/// The machine, if it is one.
fn summary(model: &Model, theme: Theme) -> Line<'static> {
    if model.hosts().len() > 1 {
        return Line::default();
    }
    let mut spans = Vec::new();
    let machine = model.rows().find(|row| row.is_machine);
    if let Some(machine) = machine {
        for (metric, name) in [(Metric::CpuPercent, "cpu"), (Metric::MemoryPercent, "memory")] {
            if let Some(value) = machine.number(metric) {
                let level = machine.level(metric);
                spans.push(Span::styled(format!("{name} "), theme.faint()));
                spans.push(Span::styled(bar(value, BAR), theme.bar(level)));
                spans.push(Span::styled(format!(" {value:.0}%   "), theme.level(level)));
            }
        }
    }
    let loads = [Metric::Load1, Metric::Load5, Metric::Load15];
    let loads = loads.map(|load| Some(short(machine.or_else(|| model.rows().next())?.number(load)?, load.spec().unit)));
    if let [Some(one), Some(five), Some(fifteen)] = loads {
        spans.push(Span::styled("load ", theme.faint()));
        spans.push(Span::raw(format!("{one} {five} {fifteen}")));
    }
    Line::from(spans)
}

fn draw_list(frame: &mut Frame<'_>, model: &mut Model, area: Rect, theme: Theme) {
    if area.is_empty() {
        return;
    }
    let [header, list] = Split::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
    let height = usize::from(list.height);
    model.first = first(model.first, model.place(), height, model.shown());
    let shown: Vec<(&Row, &str)> = model.visible().collect();
    let rows: Vec<&Row> = shown.iter().map(|(row, _)| *row).collect();
    let indent = shown.iter().map(|(_, prefix)| width(prefix)).max().unwrap_or(0);
    let layout = Layout::new(usize::from(area.width), &rows, indent, model.sort.0);
    frame.render_widget(layout.header(Some(model.sort), theme), header);
    let selected = model.place();
    let lines = shown.iter().enumerate().skip(model.first).take(height).map(|(place, (row, prefix))| {
        let line = layout.line(row, prefix, theme);
        if selected == Some(place) { line.style(theme.selected()) } else { line }
    });
    frame.render_widget(Text::from_iter(lines), list);
    if shown.is_empty() {
        frame.render_widget(Line::styled(nothing(model), theme.faint()), list);
    }
    model.areas.header = header;
    model.areas.list = list;
    model.areas.layout = layout;
}

fn nothing(model: &Model) -> String {
    match (model.taken, model.rows().next()) {
        (None, _) => "the first reading is under way".to_owned(),
        (_, Some(_)) => format!("no container has {:?}; Esc shows all", printable(&model.filter)),
        (_, None) => "no container".to_owned(),
    }
}

/// The first row to show, so that the selected one is visible and the window is filled.
fn first(first: usize, selected: Option<usize>, height: usize, count: usize) -> usize {
    let seen = match selected {
        Some(place) => first.min(place).max((place + 1).saturating_sub(height)),
        None => first,
    };
    seen.min(count.saturating_sub(height))
}

fn draw_details(frame: &mut Frame<'_>, model: &mut Model, area: Rect, theme: Theme) {
    let Some(row) = model.current().filter(|_| !area.is_empty()) else { return };
    let block = Block::new().borders(ratatui::widgets::Borders::TOP).border_style(theme.faint());
    let inner = block.inner(area);
    let lines = details::lines(model, row, usize::from(inner.width), theme);
    let last = lines.len().saturating_sub(usize::from(inner.height));
    let scroll = model.scroll.min(last);
    let below = last - scroll;
    let block = if below > 0 { block.title(format!(" {below} more lines: PgDn ")) } else { block };
    model.areas.details_lines = lines.len();
    model.scroll = scroll;
    model.areas.details = inner;
    frame.render_widget(block, area);
    frame.render_widget(Text::from_iter(lines.into_iter().skip(scroll).take(usize::from(inner.height))), inner);
}

/// The findings about the current row.
fn findings(model: &Model, theme: Theme) -> Line<'static> {
    let Some(row) = model.current() else { return Line::default() };
    let mut spans = vec![Span::styled(format!("{}: ", row.name), theme.strong())];
    if row.findings.is_empty() {
        spans.push(Span::styled("nothing is wrong", theme.faint()));
    }
    for (place, finding) in row.findings.iter().enumerate() {
        let comma = if place == 0 { "" } else { "; " };
        spans.push(Span::styled(format!("{comma}{}", finding.text), theme.level(finding.level)));
    }
    Line::from(spans)
}

fn footer(model: &Model, columns: usize, theme: Theme) -> Line<'static> {
    if model.is_editing {
        return Line::from(vec![
            Span::styled("filter: ", theme.strong()),
            Span::raw(format!("{}▏", printable(&model.filter))),
        ]);
    }
    if let Some(note) = &model.note {
        return Line::styled(cut(&printable(note), columns), theme.level(Level::Warn));
    }
    let mut keys = vec![
        ("?", "help"),
        ("/", "filter"),
        ("←→", "sort"),
        ("t", "tree"),
        ("p", "pause"),
        ("Enter", "details"),
        ("q", "quit"),
    ];
    if !model.filter.is_empty() {
        keys.insert(0, ("Esc", "show all"));
    }
    let keys = keys.into_iter().flat_map(|(key, what)| {
        [Span::styled(key, theme.strong()), Span::styled(format!(" {what}   "), theme.faint())]
    });
    Line::from_iter(keys)
}

fn draw_help(frame: &mut Frame<'_>, area: Rect, theme: Theme) {
    let key = |key: &str, what: &str| {
        Line::from(vec![Span::styled(crate::views::text::left(key, 11), theme.strong()), Span::raw(what.to_owned())])
    };
    let mut lines: Vec<Line<'_>> = HELP.iter().map(|(name, what)| key(name, what)).collect();
    lines.push(Line::styled("sort by", theme.heading()));
    let half = Column::ALL.len().div_ceil(2);
    for place in 0..half {
        let cell = |column: &Column| format!("{}  {}", column.spec().key, column.spec().help);
        let right = Column::ALL.get(place + half).map(cell).unwrap_or_default();
        lines.push(Line::raw(format!("{} {right}", crate::views::text::left(&cell(&Column::ALL[place]), 38))));
    }
    let size = (area.width.min(80), area.height.min(u16::try_from(lines.len()).unwrap_or(u16::MAX).saturating_add(2)));
    let place = Rect::new(area.x + (area.width - size.0) / 2, area.y, size.0, size.1);
    frame.render_widget(Clear, place);
    frame.render_widget(Paragraph::new(lines).block(Block::bordered().title(" keys ")), place);
}
