//! The latest report, drawn over the one before: what one sees where no Valkey is.

use std::future::ready;
use std::io::Write;

use super::{Retry, Sink, SinkError, SinkFuture};
use crate::report::Report;
use crate::snapshot::Coverage;
use crate::views::once::{Look, render};
use crate::views::theme::Theme;

/// Cursor home, and erase what is left of the text before.
const HOME: &str = "\x1b[H";
const END_OF_LINE: &str = "\x1b[K\n";
const ERASE_BELOW: &str = "\x1b[J";

/// Columns and rows of the window at the moment.
pub type Size = fn() -> (usize, usize);

/// Draws on a terminal.
#[derive(Debug)]
pub struct Terminal<W> {
    out: W,
    theme: Theme,
    size: Size,
}

impl<W: Write + Send> Terminal<W> {
    /// Draws on `out`, which is as large as `size` says at each drawing.
    pub fn new(out: W, theme: Theme, size: Size) -> Self {
        Self { out, theme, size }
    }

    fn draw(&mut self, report: &Report) -> std::io::Result<()> {
        let (columns, height) = (self.size)();
        let text = render(report, Look { theme: self.theme, columns });
        let all = text.lines().count();
        let shown = if all < height { all } else { height.saturating_sub(2) };
        let mut drawn: String = text.lines().take(shown).flat_map(|line| [line, END_OF_LINE]).collect();
        if shown < all {
            drawn += &format!("… {} more lines in a larger window{END_OF_LINE}", all - shown);
        }
        write!(self.out, "{HOME}{drawn}{ERASE_BELOW}")?;
        self.out.flush()
    }
}

impl<W: Write + Send> Sink for Terminal<W> {
    fn write<'a>(&'a mut self, report: &'a Report) -> SinkFuture<'a> {
        // What has ended is drawn no more, as from the next whole report on.
        let drawn = if report.coverage == Coverage::All { self.draw(report) } else { Ok(()) };
        Box::pin(ready(
            drawn.map_err(|error| SinkError { text: format!("Error drawing: {error}"), retry: Retry::Slowly }),
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::snapshot::{CgroupId, Snapshot, Stamp};

    fn drawn(size: Size) -> String {
        let mut now = Snapshot::new(Stamp { mono: Duration::ZERO, wall: SystemTime::UNIX_EPOCH });
        now.cgroups.entry(CgroupId(1)).or_default();
        let mut terminal = Terminal::new(Vec::new(), Theme { color: false }, size);
        terminal.draw(&Report::new(None, &now, Duration::ZERO)).unwrap();
        String::from_utf8(terminal.out).unwrap()
    }

    #[test]
    fn what_does_not_fit_is_counted_and_does_not_scroll() {
        assert!(!drawn(|| (80, 500)).contains("more lines"));
        let small = drawn(|| (80, 24));
        assert_eq!(small.lines().count(), 24);
        assert!(small.contains("more lines in a larger window"), "{small}");
    }
}
