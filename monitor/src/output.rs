//! Stdout and stderr of the process.

use std::collections::VecDeque;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use monitor::foreign::text;
use monitor::views::once::Look;
use monitor::views::theme::Theme;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tracing_subscriber::fmt::MakeWriter;

/// The bytes of the log that wait for a reader.
const WAITING: usize = 64 << 10;
/// `PIPE_BUF` of `pipe(7)`.
const PIPE_BUF: usize = 4096;
/// The time that a last message is given.
const GOODBYE: Duration = Duration::from_millis(200);

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
    match write_whole(&mut io::stdout().lock(), text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            complain(format_args!("stdout: {error}"));
            Outcome::Failure
        }
        _ => Outcome::Success,
    }
}

/// Writes all bytes, to a pipe that does not block (another process may have made it so) as well.
fn write_whole(out: &mut (impl Write + AsFd), mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match out.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => _ = is_writable(&*out, None),
            Err(error) => return Err(error),
        }
    }
    flush(out)
}

/// Hands on what the standard library holds back.
fn flush(out: &mut (impl Write + AsFd)) -> io::Result<()> {
    loop {
        match out.flush() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => _ = is_writable(&*out, None),
            other => return other,
        }
    }
}

/// Waits until something can be written, for at most `timeout`. Returns whether it can.
fn is_writable(out: &impl AsFd, timeout: Option<Duration>) -> bool {
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    let mut wait = [PollFd::new(out, PollFlags::OUT)];
    poll(&mut wait, timeout.as_ref()).is_ok_and(|ready| ready > 0)
}

/// Writers of log lines in which control characters are escaped: a container chooses its name, and could begin a line
/// of its own or steer a terminal.
pub(crate) struct PlainLines<M> {
    /// Destination of the lines.
    pub(crate) out: M,
    /// True if ESC stays, which colours are made of; in values it is escaped before.
    pub(crate) has_color: bool,
}

/// One line.
pub(crate) struct PlainLine<W> {
    out: W,
    has_color: bool,
}

impl<'a, M: MakeWriter<'a>> MakeWriter<'a> for PlainLines<M> {
    type Writer = PlainLine<M::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        PlainLine { out: self.out.make_writer(), has_color: self.has_color }
    }
}

impl<W: Write> Write for PlainLine<W> {
    /// Takes a line in one piece, as the subscriber writes it.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let mut plain = text::escape_controls(text.strip_suffix('\n').unwrap_or(&text), self.has_color);
        plain.push('\n');
        self.out.write_all(plain.as_bytes()).map(|()| line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Writes an error for a person to stderr.
pub(crate) fn complain(error: impl Display) {
    let mut err = io::stderr();
    if is_writable(&err, Some(GOODBYE)) {
        // With stderr closed, an error cannot be reported.
        let _closed = writeln!(err, "system-monitor: {error}");
    }
}

/// The log on stderr. Nobody waits for a reader that does not read: lines wait in memory, and those that find no room
/// are counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log(Arc<Mutex<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    lost: u64,
}

impl Log {
    /// Writes what still waits, if it can be written soon.
    pub(crate) fn finish(&self) {
        self.lock().drain(&mut io::stderr(), GOODBYE);
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// Takes a line.
    fn add(&mut self, line: &[u8]) {
        if self.bytes + line.len() > WAITING {
            self.lost += 1;
            return;
        }
        self.bytes += line.len();
        self.lines.push_back(line.to_owned());
    }

    /// Writes lines, as long as each can be written within `timeout`.
    fn drain(&mut self, out: &mut (impl Write + AsFd), timeout: Duration) {
        while !(self.lines.is_empty() && self.lost == 0) && is_writable(&*out, Some(timeout)) {
            if self.lines.is_empty() {
                let lost = std::mem::take(&mut self.lost);
                self.add(format!("system-monitor: {lost} lines of the log were lost: nobody read stderr\n").as_bytes());
            }
            let Some(line) = self.lines.front_mut() else { return };
            // The kernel takes this much without waiting, when it says that a pipe can be written to (`pipe(7)`).
            let taken = match out.write(&line[..line.len().min(PIPE_BUF)]) {
                Ok(written) => written,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // A closed pipe or a full disk takes no line, and the next one may find room again.
                Err(_) => line.len(),
            };
            line.drain(..taken);
            self.bytes -= taken;
            self.lines.pop_front_if(|line| line.is_empty());
        }
    }
}

/// Each event is one line.
impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut waiting = self.lock();
        waiting.add(line);
        waiting.drain(&mut io::stderr(), Duration::ZERO);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Colours and width for output to stdout.
pub(crate) fn look(use_color: bool) -> Look {
    let columns = rustix::termios::tcgetwinsize(io::stdout()).map_or(100, |size| usize::from(size.ws_col).max(60));
    Look { theme: Theme { color: io::stdout().is_terminal() && use_color }, columns }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, pipe};

    use super::*;

    #[test]
    fn a_pipe_that_does_not_block_gets_the_whole_text() {
        let (mut reader, mut writer) = pipe().unwrap();
        rustix::io::ioctl_fionbio(&writer, true).unwrap();
        let text = vec![b'x'; 1 << 20];
        let reading = std::thread::spawn(move || {
            let mut read = Vec::new();
            reader.read_to_end(&mut read).unwrap();
            read.len()
        });
        write_whole(&mut writer, &text).unwrap();
        drop(writer);
        assert_eq!(reading.join().unwrap(), text.len());
    }

    #[test]
    fn lines_that_nobody_reads_wait_and_are_counted_when_there_are_too_many() {
        let (mut reader, mut writer) = pipe().unwrap();
        let mut waiting = Waiting::default();
        let line = [&[b'x'; 999][..], b"\n"].concat();
        for _ in 0..500 {
            waiting.add(&line);
            waiting.drain(&mut writer, Duration::ZERO);
        }
        assert!(waiting.lost > 300 && waiting.bytes <= WAITING, "{} {}", waiting.lost, waiting.bytes);
        let lost = waiting.lost;
        let reading = std::thread::spawn(move || {
            let mut read = String::new();
            reader.read_to_string(&mut read).unwrap();
            read
        });
        waiting.drain(&mut writer, Duration::from_secs(10));
        drop(writer);
        let read = reading.join().unwrap();
        assert_eq!(read.matches("x\n").count() as u64, 500 - lost);
        assert!(
            read.ends_with(&format!("{lost} lines of the log were lost: nobody read stderr\n")),
            "{}",
            &read[read.len() - 90..]
        );
    }

    #[test]
    fn an_event_is_one_line_whatever_the_names_in_it() {
        let mut line = PlainLine { out: Vec::new(), has_color: false };
        line.write_all(b"WARN name=a\nWARN forged\x1b[2J\n").unwrap();
        assert_eq!(line.out, b"WARN name=a\\nWARN forged\\u{1b}[2J\n");
    }
}
