//! The terminal, which is taken over while the view is shown, and restored in every case.

use std::io::{Stdout, Write, stdout};
use std::mem::ManuallyDrop;
use std::panic::PanicHookInfo;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::ThreadId;

use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::event::{DisableMouseCapture, EnableMouseCapture};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode, size,
};
use ratatui::layout::Rect;
use ratatui::{Frame, Terminal, TerminalOptions, Viewport};

use super::notes::Notes;

/// Columns and lines of a terminal that does not know its size, such as a serial console.
const USUAL: (u16, u16) = (80, 24);

/// A terminal that is taken over. It is given back when this is dropped, and when the thread that took it panics.
pub struct Screen {
    /// Never dropped: that would show the cursor, which [`leave`] does, and panic on a terminal that is gone.
    terminal: ManuallyDrop<Terminal<CrosstermBackend<Stdout>>>,
    /// The part of the terminal that is drawn on.
    area: Rect,
    taken: Arc<AtomicBool>,
}

impl Screen {
    /// Takes the terminal over. A panic on another thread is caught there and becomes a note.
    ///
    /// # Errors
    /// When the terminal refuses.
    pub fn take(notes: Notes) -> std::io::Result<Self> {
        let taken = Arc::new(AtomicBool::new(false));
        let back = Arc::clone(&taken);
        let on_panic = move || give_back(&back);
        std::panic::set_hook(hook(std::thread::current().id(), on_panic, notes, std::panic::take_hook()));
        take(&taken)?;
        let (terminal, area) = opened().inspect_err(|_| give_back(&taken))?;
        Ok(Self { terminal: ManuallyDrop::new(terminal), area, taken })
    }

    /// Draws, at the size that the terminal has now.
    ///
    /// # Errors
    /// As [`Screen::take`].
    pub fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> std::io::Result<()> {
        let area = visible(size()?);
        if area != self.area {
            self.terminal.resize(area)?;
            self.area = area;
        }
        self.terminal.draw(draw).map(drop)
    }

    /// Takes it over again.
    ///
    /// # Errors
    /// As [`Screen::take`].
    pub fn resume(&mut self) -> std::io::Result<()> {
        take(&self.taken)?;
        // A new one knows nothing of earlier drawing. Clearing the old one would ask the terminal for its cursor, and
        // the thread that reads the keys would get the answer.
        (*self.terminal, self.area) = opened()?;
        Ok(())
    }

    /// Gives it back for a while.
    pub fn suspend(&self) {
        give_back(&self.taken);
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back(&self.taken);
    }
}

fn opened() -> std::io::Result<(Terminal<CrosstermBackend<Stdout>>, Rect)> {
    let area = visible(size()?);
    let options = TerminalOptions { viewport: Viewport::Fixed(area) };
    Ok((Terminal::with_options(CrosstermBackend::new(stdout()), options)?, area))
}

/// What is drawn on: a size of 0 means that the terminal's driver does not know it (`ioctl_tty(2)`).
fn visible((columns, lines): (u16, u16)) -> Rect {
    let known = |size: u16, usual: u16| if size == 0 { usual } else { size };
    Rect::new(0, 0, known(columns, USUAL.0), known(lines, USUAL.1))
}

/// Restores the terminal even if it was taken only in part.
fn take(taken: &AtomicBool) -> std::io::Result<()> {
    taken.store(true, Ordering::SeqCst);
    enable_raw_mode().and_then(|()| enter(&mut stdout())).inspect_err(|_| give_back(taken))
}

fn enter(out: &mut impl Write) -> std::io::Result<()> {
    execute!(out, EnterAlternateScreen, Clear(ClearType::All), EnableMouseCapture, Hide)
}

fn leave(out: &mut impl Write) -> std::io::Result<()> {
    execute!(out, DisableMouseCapture, LeaveAlternateScreen, Show)
}

/// Gives the terminal back, if it is taken. A terminal that is gone needs nothing back.
fn give_back(taken: &AtomicBool) {
    if taken.swap(false, Ordering::SeqCst) {
        _ = leave(&mut stdout());
        _ = disable_raw_mode();
    }
}

type Hook = Box<dyn Fn(&PanicHookInfo<'_>) + Send + Sync>;

/// The panic hook: on the thread that draws, the terminal is given back and then the message is printed; on
/// another one, where panics are caught, the message is noted and the view goes on.
fn hook(drawing: ThreadId, give_back: impl Fn() + Send + Sync + 'static, notes: Notes, previous: Hook) -> Hook {
    Box::new(move |info| {
        if std::thread::current().id() == drawing {
            give_back();
            previous(info);
        } else {
            notes.add(info.to_string());
        }
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn what_is_taken_is_given_back() {
        let (mut taken, mut back) = (Vec::new(), Vec::new());
        enter(&mut taken).unwrap();
        leave(&mut back).unwrap();
        let (taken, back) = (String::from_utf8(taken).unwrap(), String::from_utf8(back).unwrap());
        for mode in ["1049", "1000", "1002", "1003", "1006"] {
            assert!(taken.contains(&format!("\x1b[?{mode}h")) && back.contains(&format!("\x1b[?{mode}l")), "{mode}");
        }
        assert!(taken.ends_with("\x1b[?25l") && back.ends_with("\x1b[?25h"), "the cursor");
    }

    #[test]
    fn a_terminal_without_a_size_has_the_usual_one() {
        for (told, drawn) in [((0, 0), USUAL), ((0, 50), (80, 50)), ((132, 0), (132, 24)), ((20, 5), (20, 5))] {
            assert_eq!(visible(told), Rect::new(0, 0, drawn.0, drawn.1));
        }
    }

    #[test]
    fn a_panic_gives_the_terminal_back_before_it_is_told_and_one_elsewhere_is_noted() {
        let (notes, said) = (Notes::default(), Arc::<Mutex<Vec<&str>>>::default());
        let (first, second) = (Arc::clone(&said), Arc::clone(&said));
        let mine = std::thread::current().id();
        let before = Arc::new(std::panic::take_hook());
        let others = Arc::clone(&before);
        let previous: Hook = Box::new(move |_| second.lock().unwrap().push("told"));
        let under_test = hook(mine, move || first.lock().unwrap().push("given back"), notes.clone(), previous);
        // Tests that run beside this one keep their own messages.
        std::panic::set_hook(Box::new(move |info| {
            let name = std::thread::current().name().unwrap_or_default().to_owned();
            if std::thread::current().id() == mine || name == "elsewhere" { under_test(info) } else { others(info) }
        }));
        let caught = std::panic::catch_unwind(|| panic!("drawing"));
        let elsewhere = std::thread::Builder::new().name("elsewhere".to_owned());
        let joined = elsewhere.spawn(|| panic!("a source")).unwrap().join();
        drop(std::panic::take_hook());
        if let Ok(before) = Arc::try_unwrap(before) {
            std::panic::set_hook(before);
        }
        assert!(caught.is_err() && joined.is_err());
        assert_eq!(*said.lock().unwrap(), ["given back", "told"]);
        let notes = notes.take();
        assert!(notes.len() == 1 && notes[0].contains("a source"), "{notes:?}");
    }
}
