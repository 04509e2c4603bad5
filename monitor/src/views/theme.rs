//! The look of everything that is drawn on a terminal: the terminal's own sixteen colours, and no background but that of
//! the selected row, so that it can be read on light and on dark ones. Without colours the words, marks and weights say
//! the same.

use ratatui::style::{Color, Modifier, Style};

use crate::findings::Level;

/// The use of colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Theme {
    /// True if colours may be used (<https://no-color.org>).
    pub color: bool,
}

impl Theme {
    fn colored(self, color: Color) -> Style {
        if self.color { Style::new().fg(color) } else { Style::new() }
    }

    /// The style of a level.
    pub fn level(self, level: Level) -> Style {
        match level {
            Level::Info => Style::new(),
            Level::Warn => self.colored(Color::Yellow),
            Level::Error => self.colored(Color::Red).add_modifier(Modifier::BOLD),
        }
    }

    /// The style of a bar: green, unless there is a finding about the number.
    pub fn bar(self, level: Level) -> Style {
        if level == Level::Info { self.good() } else { self.level(level) }
    }

    /// All is well.
    pub fn good(self) -> Style {
        self.colored(Color::Green)
    }

    /// A name or a heading.
    pub fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// A heading of a group.
    pub fn heading(self) -> Style {
        self.colored(Color::Cyan).add_modifier(Modifier::BOLD)
    }

    /// Less important text.
    pub fn faint(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    /// The selected row. Reverse video would empty a full bar and fill an empty one.
    pub fn selected(self) -> Style {
        if self.color { Style::new().bg(Color::DarkGray).fg(Color::White) } else { Style::new().underlined() }
    }
}
