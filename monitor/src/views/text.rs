//! Pieces of text in columns of a terminal.

use std::fmt::Write;
use std::ops::RangeInclusive;

use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

/// Text from outside, without anything that could steer a terminal or turn the text around it: control characters,
/// marks of direction, and characters without width.
pub fn printable(text: &str) -> String {
    const HIDDEN: [RangeInclusive<char>; 9] = [
        '\u{ad}'..='\u{ad}',
        '\u{61c}'..='\u{61c}',
        '\u{180e}'..='\u{180e}',
        '\u{200b}'..='\u{200f}',
        '\u{2028}'..='\u{202e}',
        '\u{2060}'..='\u{206f}',
        '\u{fe00}'..='\u{fe0f}',
        '\u{feff}'..='\u{feff}',
        '\u{e0000}'..='\u{e0fff}',
    ];
    let hidden = |c: char| c.is_control() || HIDDEN.iter().any(|range| range.contains(&c));
    text.chars().map(|c| if hidden(c) { '\u{fffd}' } else { c }).collect()
}

/// The width of a text in columns.
pub fn width(text: &str) -> usize {
    Span::raw(text).width()
}

/// Truncates a text to `columns`, and marks the truncation.
pub fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    match columns.checked_sub(1) {
        Some(room) => within(text.chars(), room) + "…",
        None => String::new(),
    }
}

/// Truncates a text to `columns` in its middle, and marks the truncation: names differ at their ends.
pub fn elide(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let Some(room) = columns.checked_sub(1) else { return String::new() };
    let beginning = within(text.chars(), room / 2);
    let end = within(text.chars().rev(), room - width(&beginning));
    beginning + "…" + &end.chars().rev().collect::<String>()
}

/// The first characters that fit into `columns`.
fn within(characters: impl Iterator<Item = char>, columns: usize) -> String {
    let mut kept = String::new();
    for c in characters {
        kept.push(c);
        if width(&kept) > columns {
            kept.pop();
            break;
        }
    }
    kept
}

/// Fits a name into `columns`: the path before its last part, and that part, which is kept as long as it fits.
pub fn name(name: &str, columns: usize) -> (String, String) {
    /// A shorter path tells nothing.
    const SHORTEST: usize = 4;
    let (path, last) = name.split_at(name.rfind('/').map_or(0, |slash| slash + 1));
    match columns.checked_sub(width(last)) {
        Some(room) if width(path) <= room || room >= SHORTEST => (elide(path, room), last.to_owned()),
        _ => (String::new(), elide(last, columns)),
    }
}

/// Fits a text into exactly `columns`, aligned left.
pub fn left(text: &str, columns: usize) -> String {
    let text = cut(text, columns);
    let missing = columns.saturating_sub(width(&text));
    text + &" ".repeat(missing)
}

/// The same, aligned right.
pub fn right(text: &str, columns: usize) -> String {
    let text = cut(text, columns);
    " ".repeat(columns.saturating_sub(width(&text))) + &text
}

/// A percentage as a bar of exactly `columns`, in eighths.
pub fn bar(percent: f64, columns: usize) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let all = columns * 8;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "columns")]
    let filled = ((percent.clamp(0.0, 100.0) / 100.0 * all as f64).round() as usize).min(all);
    left(&format!("{}{}", "█".repeat(filled / 8), EIGHTHS[filled % 8]), columns)
}

/// Wraps words into lines of at most `columns`.
pub fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let word = cut(word, columns);
        match lines.last_mut() {
            Some(line) if line.is_empty() => *line = word,
            Some(line) if width(line) + 1 + width(&word) <= columns => *line = format!("{line} {word}"),
            _ => lines.push(word),
        }
    }
    lines
}

/// Lines as text that is written once, with escape sequences for its styles if `styled`.
pub fn ansi(lines: &[Line<'_>], styled: bool) -> String {
    let mut text = String::new();
    for line in lines {
        for span in line.iter() {
            let codes = if styled { codes(line.style.patch(span.style)) } else { String::new() };
            let content = &span.content;
            // Writing to a text cannot fail.
            _ = if codes.is_empty() {
                write!(text, "{content}")
            } else {
                write!(text, "\x1b[{codes}m{content}\x1b[0m")
            };
        }
        text.truncate(text.trim_end_matches(' ').len());
        text.push('\n');
    }
    text
}

/// The parameters of "select graphic rendition" (ECMA-48, 8.3.117) for what [`super::theme`] uses.
fn codes(style: Style) -> String {
    let modifiers =
        [(Modifier::BOLD, "1"), (Modifier::DIM, "2"), (Modifier::UNDERLINED, "4"), (Modifier::REVERSED, "7")];
    let color = match style.fg {
        Some(Color::Red) => Some("31"),
        Some(Color::Green) => Some("32"),
        Some(Color::Yellow) => Some("33"),
        Some(Color::Cyan) => Some("36"),
        _ => None,
    };
    let set = modifiers.iter().filter(|(modifier, _)| style.add_modifier.contains(*modifier)).map(|(_, code)| *code);
    set.chain(color).collect::<Vec<_>>().join(";")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_hostile_name_cannot_steer_the_terminal() {
        assert_eq!(printable("a\x1b[2Jb\n\u{9b}m"), "a\u{fffd}[2Jb\u{fffd}\u{fffd}m");
        assert_eq!(printable("abc\u{202e}cba\u{200b}"), "abc\u{fffd}cba\u{fffd}");
    }

    #[test]
    fn wide_characters_count_twice() {
        assert_eq!((width("日本"), cut("日本語", 5), left("日本語", 4)), (4, "日本…".to_owned(), "日… ".to_owned()));
        assert_eq!((cut("abc", 0), right("7", 3)), (String::new(), "  7".to_owned()));
    }

    #[test]
    fn names_keep_what_tells_them_apart() {
        assert_eq!(elide("worker-eu-west-1", 9), "work…st-1");
        assert_eq!(["", "a", "ab"].map(|text| elide(text, 1)), ["", "a", "…"]);
        let fitted = |columns| name("shop/checkout-5c9f/payments", columns);
        assert_eq!(fitted(40), ("shop/checkout-5c9f/".to_owned(), "payments".to_owned()));
        assert_eq!(fitted(18), ("shop…5c9f/".to_owned(), "payments".to_owned()));
        assert_eq!(fitted(11), (String::new(), "payments".to_owned()));
        assert_eq!(fitted(5), (String::new(), "pa…ts".to_owned()));
    }

    #[test]
    fn a_bar_is_filled_in_eighths() {
        assert_eq!([0.0, 50.0, 98.0, 150.0].map(|percent| bar(percent, 4)), ["    ", "██  ", "███▉", "████"]);
    }

    #[test]
    fn words_are_wrapped_and_too_long_ones_cut() {
        assert_eq!(wrap("why it is not there", 8), ["why it", "is not", "there"]);
        assert_eq!(wrap("abcdefghij k", 5), ["abcd…", "k"]);
    }

    #[test]
    fn styles_become_escape_sequences_where_those_are_welcome() {
        let line =
            Line::from(vec![Span::raw("a "), Span::styled("b", Style::new().fg(Color::Red).bold()), Span::raw("  ")]);
        let lines = [line];
        assert_eq!(
            (ansi(&lines, true), ansi(&lines, false)),
            ("a \x1b[1;31mb\x1b[0m\n".to_owned(), "a b\n".to_owned())
        );
    }

    proptest! {
        #[test]
        fn any_text_fits_its_columns_and_steers_nothing(text in "\\PC*|.*", columns in 0usize..40) {
            let shown = printable(&text);
            prop_assert!(!shown.chars().any(char::is_control));
            prop_assert_eq!(width(&left(&shown, columns)), columns);
            prop_assert_eq!(width(&right(&shown, columns)), columns);
            prop_assert!(width(&elide(&shown, columns)) <= columns);
            let (path, last) = name(&shown, columns);
            prop_assert!(width(&path) + width(&last) <= columns);
            prop_assert!(wrap(&shown, columns.max(1)).iter().all(|line| width(line) <= columns.max(1)));
        }
    }
}
