//! The loop: updates, input and drawing.

use std::future::Future;

use ratatui::crossterm::event::{Event, MouseEventKind, read};
use rustix::process::{Signal, kill_current_process_group};
use tokio::sync::{mpsc, watch};

use super::draw::draw;
use super::keys::{self, Next};
use super::model::{Model, Update};
use super::notes::Notes;
use super::screen::Screen;
use crate::views::theme::Theme;

/// The channels of the view.
pub struct Wires {
    /// Updates.
    pub updates: mpsc::Receiver<Update>,
    /// The container whose details are wanted.
    pub wanted: watch::Sender<Option<String>>,
    /// Messages of the program.
    pub notes: Notes,
}

/// Shows the model until the user quits or `shutdown` completes.
///
/// # Errors
/// When the terminal refuses.
pub async fn run(
    mut model: Model,
    mut wires: Wires,
    theme: Theme,
    shutdown: impl Future<Output = ()>,
) -> std::io::Result<()> {
    let mut screen = Screen::take(wires.notes.clone())?;
    let mut typed = typed();
    tokio::pin!(shutdown);
    let mut running = true;
    loop {
        model.note = wires.notes.take().pop().or(model.note);
        screen.draw(|frame| draw(frame, &mut model, theme))?;
        let wanted = model.wanted().map(str::to_owned);
        wires.wanted.send_if_modified(|now| std::mem::replace(now, wanted.clone()) != wanted);
        tokio::select! {
            event = typed.recv() => match event {
                Some(event) => match take(&mut model, &mut typed, event) {
                    Next::Draw => {}
                    Next::Quit => return Ok(()),
                    Next::Suspend => suspend(&mut screen)?,
                },
                None => return Ok(()),
            },
            update = wires.updates.recv(), if running => match update {
                Some(update) => model.update(update),
                None => running = false,
            },
            () = wires.notes.news() => {}
            () = &mut shutdown => return Ok(()),
        }
    }
}

/// Handles an input event and all that are queued behind it: a burst is drawn once.
fn take(model: &mut Model, typed: &mut mpsc::Receiver<Event>, first: Event) -> Next {
    let mut event = Some(first);
    while let Some(now) = event {
        let next = match now {
            Event::Key(key) => keys::key(model, key),
            Event::Mouse(mouse) => {
                keys::mouse(model, mouse);
                Next::Draw
            }
            _ => Next::Draw,
        };
        if next != Next::Draw {
            return next;
        }
        event = typed.try_recv().ok();
    }
    Next::Draw
}

/// Stops as every program on a terminal does, with the script that runs it, and takes the terminal again when it is continued.
fn suspend(screen: &mut Screen) -> std::io::Result<()> {
    screen.suspend();
    kill_current_process_group(Signal::TSTP)?;
    screen.resume()
}

/// Reads the terminal on a thread of its own, which ends with the process.
fn typed() -> mpsc::Receiver<Event> {
    let (sender, receiver) = mpsc::channel(64);
    std::thread::spawn(move || {
        while let Ok(event) = read() {
            // A mouse move without a button changes nothing.
            let moves = matches!(&event, Event::Mouse(mouse) if mouse.kind == MouseEventKind::Moved);
            if !moves && sender.blocking_send(event).is_err() {
                return;
            }
        }
    });
    receiver
}
