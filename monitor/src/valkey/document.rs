//! Texts on their way to the server.

use std::ops::{Deref, Range};
use std::sync::Arc;

/// Size from which on the allocator gives a text its own pages, and returns them to the system.
const LARGE: usize = 128 << 10;

/// A text, perhaps a slice of a buffer of many: thousands of reports are made and freed at each tick. The allocator
/// returns a large buffer to the system, while small ones would fragment the heap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Document {
    all: Arc<String>,
    range: Range<usize>,
}

impl Document {
    /// Splits a text at `ends`, the last of which is its length; `None` if an end is not between two characters.
    pub(crate) fn parts(mut text: String, ends: &[usize]) -> Option<Vec<Self>> {
        if !ends.is_sorted() || ends.iter().any(|end| !text.is_char_boundary(*end)) {
            return None;
        }
        // Small buffers may live for minutes: they are copied to their exact size, so that the heap is not fragmented.
        if text.len() < LARGE {
            text = text.as_str().to_owned();
        } else {
            text.shrink_to_fit();
        }
        let all = Arc::new(text);
        let begins = std::iter::once(0).chain(ends.iter().copied());
        Some(begins.zip(ends).map(|(begin, end)| Self { all: Arc::clone(&all), range: begin..*end }).collect())
    }
}

impl From<String> for Document {
    fn from(text: String) -> Self {
        let range = 0..text.len();
        Self { all: Arc::new(text), range }
    }
}

impl From<&str> for Document {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl Deref for Document {
    type Target = str;

    fn deref(&self) -> &str {
        &self.all[self.range.clone()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_ends_where_the_next_begins() {
        let parts = Document::parts("{}[ä]".to_owned(), &[2, 6, 6]).unwrap();
        assert_eq!(parts.iter().map(|part| &**part).collect::<Vec<_>>(), ["{}", "[ä]", ""]);
        assert_eq!(&*Document::from("x"), "x");
        for ends in [&[4][..], &[7], &[2, 1]] {
            assert_eq!(Document::parts("{}[ä]".to_owned(), ends), None, "{ends:?}");
        }
    }
}
