//! Messages of the program while the terminal is taken: they are kept, and shown in the last line.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;
use tracing_subscriber::fmt::MakeWriter;

/// The newest messages, shared by all who write them and the view.
#[derive(Clone, Debug, Default)]
pub struct Notes(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    texts: Mutex<Vec<String>>,
    news: Notify,
}

/// Messages that wait.
const MOST: usize = 100;

impl Notes {
    /// Adds a message.
    pub fn add(&self, text: impl Into<String>) {
        let mut texts = self.0.texts.lock().unwrap_or_else(PoisonError::into_inner);
        if texts.len() == MOST {
            texts.remove(0);
        }
        texts.push(text.into());
        self.0.news.notify_one();
    }

    /// Completes when there is a new message.
    pub async fn news(&self) {
        self.0.news.notified().await;
    }

    /// Takes all messages.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.texts.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A message that is being written: the log writes each with one call.
#[derive(Debug)]
pub struct Note(Notes);

impl Write for Note {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        self.0.add(String::from_utf8_lossy(text).trim());
        Ok(text.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Notes {
    type Writer = Note;

    fn make_writer(&'a self) -> Note {
        Note(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_messages_are_kept_and_taken_once() {
        let notes = Notes::default();
        for number in 0..=MOST {
            notes.make_writer().write_all(format!("{number}\n").as_bytes()).unwrap();
        }
        let taken = notes.take();
        assert_eq!((taken.len(), taken[0].as_str()), (MOST, "1"));
        assert!(notes.take().is_empty());
    }
}
