//! The view on a screen.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout as Split, Rect};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Block, Clear, Paragraph};

use super::details;
use super::keys::HELP;
use super::model::{Areas, Details, Model};
use crate::amount::short;
use crate::findings::{Finding, Level};
use crate::metrics::Metric;
use crate::views::columns::Column;
use crate::views::lines::Layout;
use crate::views::row::Row;
use crate::views::text::{bar, cut, printable, width, wrap};
use crate::views::theme::Theme;

/// A window with fewer columns or rows shows that it is too small.
const SMALLEST: (u16, u16) = (40, 8);
/// The least number of rows of the list that the pane of details leaves.
const LIST: u16 = 5;
/// The least height of a window in which details are shown unasked.
const ROOMY: u16 = 30;
/// Columns before the reasons below a row.
const INDENT: usize = 4;
/// The bars of the machine.
const BAR: usize = 10;

/// Draws the model.
pub fn draw(frame: &mut Frame<'_>, model: &mut Model, theme: Theme) {
    let area = frame.area();
    if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
        frame.render_widget(Paragraph::new(format!("{} columns and {} rows are needed", SMALLEST.0, SMALLEST.1)), area);
        return;
    }
    let [title, machine, body, note, foot] = Split::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Fill(1),
        Constraint::Length(u16::from(model.note.is_some())),
        Constraint::Length(1),
    ])
    .areas(area);
    frame.render_widget(headline(model, usize::from(title.width), theme), title);
    frame.render_widget(summary(model, theme), machine);
    let divided = |most: u16| {
        let rows = u16::try_from(model.shown()).unwrap_or(u16::MAX).saturating_add(2);
        let list = rows.min(most.max(LIST)).min(body.height);
        let [list, pane] = Split::vertical([Constraint::Length(list), Constraint::Fill(1)]).areas(body);
        (list, pane)
    };
    let (list, pane) = match model.details {
        Details::Closed if area.height >= ROOMY => divided(body.height / 2),
        Details::Closed => (body, Rect::default()),
        Details::Full => (Rect::default(), body),
        Details::Pane => divided(body.height / 3),
    };
    model.areas = Areas::default();
    draw_list(frame, model, list, theme);
    draw_details(frame, model, pane, theme);
    if let Some(text) = &model.note {
        let text = cut(&printable(text), usize::from(note.width));
        frame.render_widget(Line::styled(text, theme.level(Level::Warn)), note);
    }
    frame.render_widget(footer(model, theme), foot);
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
        spans.push(Span::styled("  paused", theme.level(Level::Warn)));
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
    let shown: Vec<(&Row, &str)> = model.visible().collect();
    let rows: Vec<&Row> = shown.iter().map(|(row, _)| *row).collect();
    let indent = shown.iter().map(|(_, prefix)| width(prefix)).max().unwrap_or(0);
    let layout = Layout::new(usize::from(area.width), &rows, indent, model.sort.0);
    frame.render_widget(layout.header(Some(model.sort), theme), header);
    let height = usize::from(list.height);
    let selected = model.place();
    let explained = model.current().filter(|row| !layout.has_reasons(row));
    let mut reasons = explained.map_or_else(Vec::new, |row| reasons(row, usize::from(list.width), theme));
    reasons.truncate(height / 3);
    let room = height - reasons.len();
    let room = if shown.len() > room { room.saturating_sub(1) } else { room };
    let above = first(model.first, selected, room, shown.len());
    let (mut lines, mut places) = (Vec::new(), Vec::new());
    for (place, (row, prefix)) in shown.iter().enumerate().skip(above).take(room) {
        let is_selected = selected == Some(place);
        lines.push(if is_selected {
            layout.selected_line(row, prefix, theme)
        } else {
            layout.line(row, prefix, theme)
        });
        if is_selected || (selected.is_none() && place == 0) {
            lines.append(&mut reasons);
        }
        places.resize(lines.len(), place);
    }
    let below = shown.len().saturating_sub(above + room);
    lines.extend(hidden(above, below).map(|text| Line::styled(text, theme.faint())));
    if shown.is_empty() {
        lines.push(Line::styled(nothing(model), theme.faint()));
    }
    frame.render_widget(Text::from_iter(lines), list);
    model.first = above;
    model.areas.header = header;
    model.areas.list = list;
    model.areas.places = places;
    model.areas.layout = layout;
}

/// The findings about a row, whole.
fn reasons(row: &Row, columns: usize, theme: Theme) -> Vec<Line<'static>> {
    let wrapped = |finding: &Finding| (finding.level, wrap(&finding.text, columns.saturating_sub(INDENT)));
    let lines = row.findings.iter().map(wrapped).flat_map(|(level, words)| {
        words.into_iter().map(move |words| Line::styled(" ".repeat(INDENT) + &words, theme.level(level)))
    });
    lines.collect()
}

/// Says how many rows are outside of the window.
fn hidden(above: usize, below: usize) -> Option<String> {
    match (above, below) {
        (0, 0) => None,
        (0, below) => Some(format!("  {below} more below")),
        (above, 0) => Some(format!("  {above} more above")),
        (above, below) => Some(format!("  {above} more above, {below} more below")),
    }
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
    let key = if model.details == Details::Closed { "Enter" } else { "PgDn" };
    let block = if below > 0 { block.title(format!(" {below} more lines: {key} ")) } else { block };
    model.areas.details_lines = lines.len();
    model.scroll = scroll;
    model.areas.details = inner;
    frame.render_widget(block, area);
    frame.render_widget(Text::from_iter(lines.into_iter().skip(scroll).take(usize::from(inner.height))), inner);
}

fn footer(model: &Model, theme: Theme) -> Line<'static> {
    if model.is_editing {
        return Line::from(vec![
            Span::styled("filter: ", theme.strong()),
            Span::raw(format!("{}▏", printable(&model.filter))),
        ]);
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
