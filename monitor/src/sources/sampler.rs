//! The sampling thread.

use std::io;
use std::sync::mpsc;
use std::thread;

use tokio::sync::oneshot;

use super::sample::{Sampled, reading};
use super::source::Source;
use crate::snapshot::{Coverage, Stamp};

/// A thread that samples on request. There a sample may block, and may look into other processes when the rest of this one is
/// not allowed to any more. It ends when its handle is dropped.
#[derive(Debug)]
pub struct SamplerThread(mpsc::Sender<(Coverage, oneshot::Sender<Sampled>)>);

impl SamplerThread {
    /// Starts the thread, which inherits the privileges of the calling thread.
    ///
    /// # Errors
    /// When the kernel refuses another thread.
    pub fn start(mut sources: Vec<Box<dyn Source>>, clock: impl Fn() -> Stamp + Send + 'static) -> io::Result<Self> {
        let (ask, asked) = mpsc::channel::<(Coverage, oneshot::Sender<Sampled>)>();
        thread::Builder::new().name("readings".to_owned()).spawn(move || {
            for (coverage, answer) in asked {
                // The requester may have given up meanwhile.
                _ = answer.send(reading(&mut sources, coverage, &clock));
            }
        })?;
        Ok(Self(ask))
    }

    /// One sample; `None` when the thread is gone.
    pub(crate) async fn sample(&self, coverage: Coverage) -> Option<Sampled> {
        let (answer, answered) = oneshot::channel();
        self.0.send((coverage, answer)).ok()?;
        answered.await.ok()
    }
}
