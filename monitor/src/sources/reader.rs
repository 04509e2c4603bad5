//! The thread that reads.

use std::io;
use std::sync::mpsc;
use std::thread;

use tokio::sync::oneshot;

use super::{Sampled, Source, reading};
use crate::snapshot::{Extent, Stamp};

/// Reads when it is asked to, in a thread of its own: there a reading may block, and may look into other processes when the
/// rest of this one is not allowed to any more. It ends when nobody can ask again.
#[derive(Debug)]
pub struct Reader(mpsc::Sender<(Extent, oneshot::Sender<Sampled>)>);

impl Reader {
    /// Starts the thread, which has the privileges of the one that calls this.
    ///
    /// # Errors
    /// When this process may not have another thread.
    pub fn start(mut sources: Vec<Box<dyn Source>>, clock: impl Fn() -> Stamp + Send + 'static) -> io::Result<Self> {
        let (ask, asked) = mpsc::channel::<(Extent, oneshot::Sender<Sampled>)>();
        thread::Builder::new().name("readings".to_owned()).spawn(move || {
            for (extent, answer) in asked {
                // Who has asked may have ended meanwhile.
                _ = answer.send(reading(&mut sources, extent, &clock));
            }
        })?;
        Ok(Self(ask))
    }

    /// One reading; `None` when the thread is gone.
    pub(crate) async fn read(&self, extent: Extent) -> Option<Sampled> {
        let (answer, answered) = oneshot::channel();
        self.0.send((extent, answer)).ok()?;
        answered.await.ok()
    }
}
