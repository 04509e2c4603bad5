//! Texts that somebody else wrote, cut to what a report can carry.

use std::collections::BTreeMap;
use std::fmt::Write;

/// Longest name of a container, in bytes: as long as a host's name may be.
pub const NAME: usize = 253;
/// Longest name of an image, in bytes.
pub const IMAGE: usize = 512;
/// Keys and values of all labels of a container, in bytes.
pub const LABELS: usize = 8 << 10;

/// Cuts a text to at most `most` bytes, between two characters.
pub fn cut(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

/// Returns the labels that fit into [`LABELS`], in the order of their keys.
pub fn bound_labels(labels: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut left = LABELS;
    let fitting = labels.iter().filter(|(key, value)| {
        let fits = left.checked_sub(key.len() + value.len());
        left = fits.unwrap_or(left);
        fits.is_some()
    });
    fitting.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Replaces the control characters of a line of the log by escapes, so that no name can begin a line of its own or
/// steer a terminal. `keep_escape` leaves ESC, which colours are made of.
pub fn escape_controls(line: &str, keep_escape: bool) -> String {
    let mut plain = String::with_capacity(line.len());
    for character in line.chars() {
        if character.is_control() && !(keep_escape && character == '\x1b') {
            _ = write!(plain, "{}", character.escape_default());
        } else {
            plain.push(character);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_between_two_characters() {
        assert_eq!(cut("web", NAME), "web");
        assert_eq!(cut("aé", 2), "a");
        assert_eq!(cut(&"x".repeat(300), NAME).len(), NAME);
    }

    #[test]
    fn labels_that_do_not_fit_are_left_out_and_smaller_ones_stay() {
        let labels = [("a", 10), ("b", LABELS), ("c", 20)];
        let labels = labels.into_iter().map(|(key, length)| (key.to_owned(), "v".repeat(length))).collect();
        assert_eq!(bound_labels(&labels).keys().collect::<Vec<_>>(), ["a", "c"]);
    }

    #[test]
    fn a_name_cannot_forge_a_line() {
        let line = "name=a\n2026 WARN forged\r\x1b[2J\u{9b}31m\t日本";
        assert_eq!(escape_controls(line, false), "name=a\\n2026 WARN forged\\r\\u{1b}[2J\\u{9b}31m\\t日本");
        assert_eq!(escape_controls("\x1b[2mINFO\x1b[0m a\n", true), "\x1b[2mINFO\x1b[0m a\\n");
    }
}
