//! Stdout and stderr of the process.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use monitor::views::once::Look;
use monitor::views::theme::Theme;

/// The result of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It did what it was asked for.
    Success,
    /// It worked, and its answer is negative.
    Failure,
}

/// Writes to stdout. A reader that closed it (`| head`) is no failure.
pub(crate) fn print(text: &str) -> Outcome {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            complain(format_args!("stdout: {error}"));
            Outcome::Failure
        }
        _ => Outcome::Success,
    }
}

/// Writes an error for a person to stderr.
pub(crate) fn complain(error: impl Display) {
    // With stderr closed, an error cannot be reported.
    let _closed = writeln!(io::stderr(), "system-monitor: {error}");
}

/// Colours and width for output to stdout.
pub(crate) fn look(use_color: bool) -> Look {
    let columns = rustix::termios::tcgetwinsize(io::stdout()).map_or(100, |size| usize::from(size.ws_col).max(60));
    Look { theme: Theme { color: io::stdout().is_terminal() && use_color }, columns }
}
