//! The latest report, drawn over the one before: what one sees where no Valkey is.

use std::io::Write;

use super::{Retry, Sink, SinkError, SinkFuture};
use crate::report::Report;
use crate::views::table::{Style, render};

/// Cursor home, and erase what is below the new text.
const HOME: &str = "\x1b[H";
const ERASE_LINE: &str = "\x1b[K\n";
const ERASE_BELOW: &str = "\x1b[J";

/// Draws on a terminal.
#[derive(Debug)]
pub struct Terminal<W> {
    out: W,
    style: Style,
}

impl<W: Write + Send> Terminal<W> {
    /// Draws on `out`.
    pub fn new(out: W, style: Style) -> Self {
        Self { out, style }
    }
}

impl<W: Write + Send> Sink for Terminal<W> {
    fn write<'a>(&'a mut self, report: &'a Report) -> SinkFuture<'a> {
        let text = render(report, self.style).replace('\n', ERASE_LINE);
        let drawn = write!(self.out, "{HOME}{text}{ERASE_BELOW}").and_then(|()| self.out.flush());
        Box::pin(std::future::ready(
            drawn.map_err(|error| SinkError { text: format!("Error drawing: {error}"), retry: Retry::Slowly }),
        ))
    }
}
