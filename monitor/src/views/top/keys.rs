//! The actions of keys and mouse.

use ratatui::crossterm::event::{
    KeyCode, KeyEvent, KeyEventKind, KeyModifiers, MouseButton, MouseEvent, MouseEventKind,
};
use ratatui::layout::Position;

use super::model::{Details, Model};
use crate::views::columns::Column;

/// The next step of the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Draws and continues.
    Draw,
    /// Gives the terminal back and ends.
    Quit,
    /// Gives the terminal back and stops until it is continued.
    Suspend,
}

/// Rows that one step of the wheel moves.
const WHEEL: isize = 3;

/// The keys but those of the columns, for the help.
pub const HELP: [(&str, &str); 11] = [
    ("↑ ↓ j k", "select a container; Home and End: the first and the last"),
    ("PgUp PgDn", "a page; with details open, a page of them"),
    ("Enter", "details; again: in the whole window"),
    ("Esc", "back: help, details, filter, selection"),
    ("/", "filter by name, machine, cgroup, image, status or trouble"),
    ("← → < >", "sort by the column beside"),
    ("r", "sort the other way round"),
    ("t", "tree or flat"),
    ("p Space", "pause and go on"),
    ("? q", "this help; quit"),
    ("mouse", "click a title: sort; a row: select, then details; wheel: move"),
];

/// Performs the action of a key.
pub fn key(model: &mut Model, key: KeyEvent) -> Next {
    if key.kind == KeyEventKind::Release {
        return Next::Draw;
    }
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        match key.code {
            KeyCode::Char('c') => return Next::Quit,
            KeyCode::Char('z') => return Next::Suspend,
            KeyCode::Char('u') if model.is_editing => refilter(model, String::new()),
            _ => {}
        }
        return Next::Draw;
    }
    model.note = None;
    if model.is_editing && edit(model, key.code) {
        return Next::Draw;
    }
    if model.is_help {
        model.is_help = false;
        return if key.code == KeyCode::Char('q') { Next::Quit } else { Next::Draw };
    }
    match key.code {
        KeyCode::Char('q') => return Next::Quit,
        KeyCode::Char('?') | KeyCode::F(1) => model.is_help = true,
        KeyCode::Char('/') => model.is_editing = true,
        KeyCode::Esc => back(model),
        KeyCode::Enter => open(model),
        KeyCode::Left | KeyCode::Char('<' | ',') => model.sort_beside(false),
        KeyCode::Right | KeyCode::Char('>' | '.') => model.sort_beside(true),
        KeyCode::Char('r') => model.sort_by(model.sort.0),
        KeyCode::Char('t') => {
            model.is_tree = !model.is_tree;
            model.arrange();
        }
        KeyCode::Char('p' | ' ') => model.pause(),
        KeyCode::Char(letter) if !matches!(letter, 'j' | 'k' | 'g' | 'G') => {
            if let Some(column) = Column::of_key(letter) {
                model.sort_by(column);
            }
        }
        code => walk(model, code),
    }
    Next::Draw
}

/// Types into the filter; true if the key belongs there.
fn edit(model: &mut Model, code: KeyCode) -> bool {
    match code {
        KeyCode::Enter => model.is_editing = false,
        KeyCode::Esc => {
            model.is_editing = false;
            refilter(model, String::new());
        }
        KeyCode::Backspace => {
            let mut filter = model.filter.clone();
            if filter.pop().is_none() {
                model.is_editing = false;
            }
            refilter(model, filter);
        }
        KeyCode::Char(letter) => refilter(model, format!("{}{letter}", model.filter)),
        _ => return false,
    }
    true
}

fn refilter(model: &mut Model, filter: String) {
    model.filter = filter;
    model.arrange();
}

/// Goes back one step.
fn back(model: &mut Model) {
    match model.details {
        Details::Closed if model.filter.is_empty() => model.unselect(),
        Details::Closed => refilter(model, String::new()),
        Details::Pane | Details::Full => {
            model.details = Details::Closed;
            model.scroll = 0;
        }
    }
}

/// Opens the details of the selected container, or of the first.
fn open(model: &mut Model) {
    if model.place().is_none() {
        model.select(0);
    }
    model.details = match model.details {
        _ if model.shown() == 0 => Details::Closed,
        Details::Closed | Details::Full => Details::Pane,
        Details::Pane => Details::Full,
    };
}

fn walk(model: &mut Model, code: KeyCode) {
    let page = |height: u16| isize::try_from(height.max(2)).unwrap_or(isize::MAX) - 1;
    let (rows, lines) = (page(model.areas.list.height), page(model.areas.details.height));
    let is_open = model.details != Details::Closed;
    let scrolls = |arrow: bool| if arrow { model.details == Details::Full } else { is_open };
    match code {
        KeyCode::Up | KeyCode::Char('k') if scrolls(true) => scroll(model, -1),
        KeyCode::Down | KeyCode::Char('j') if scrolls(true) => scroll(model, 1),
        KeyCode::PageUp if scrolls(false) => scroll(model, -lines),
        KeyCode::PageDown if scrolls(false) => scroll(model, lines),
        KeyCode::Up | KeyCode::Char('k') => model.step(-1),
        KeyCode::Down | KeyCode::Char('j') => model.step(1),
        KeyCode::PageUp => model.step(-rows),
        KeyCode::PageDown => model.step(rows),
        KeyCode::Home | KeyCode::Char('g') => model.select(0),
        KeyCode::End | KeyCode::Char('G') => model.select(usize::MAX),
        _ => {}
    }
}

/// Scrolls the details, within their ends.
fn scroll(model: &mut Model, by: isize) {
    let last = model.areas.details_lines.saturating_sub(usize::from(model.areas.details.height));
    model.scroll = model.scroll.saturating_add_signed(by).min(last);
}

/// Performs the action of a mouse event.
pub fn mouse(model: &mut Model, event: MouseEvent) {
    let at = Position::new(event.column, event.row);
    let areas = &model.areas;
    let wheel = match event.kind {
        MouseEventKind::ScrollUp => -WHEEL,
        MouseEventKind::ScrollDown => WHEEL,
        MouseEventKind::Down(MouseButton::Left) => 0,
        _ => return,
    };
    if model.is_help {
        model.is_help = false;
    } else if areas.details.contains(at) {
        scroll(model, wheel);
    } else if wheel != 0 {
        model.step(wheel);
    } else if areas.header.contains(at) {
        if let Some(column) = areas.layout.at(usize::from(event.column)) {
            model.sort_by(column);
        }
    } else if areas.list.contains(at) {
        let Some(&place) = areas.places.get(usize::from(event.row - areas.list.y)) else { return };
        if model.place() == Some(place) {
            open(model);
        } else {
            model.select(place);
        }
    }
}
