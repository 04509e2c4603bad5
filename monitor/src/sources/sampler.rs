//! Thread that takes the samples.

use std::io;
use std::sync::mpsc;
use std::thread;

use tokio::sync::oneshot;

use super::sample::{Sampled, reading};
use super::source::Source;
use crate::snapshot::{Coverage, Stamp};

/// Thread that samples on request. A sample may block there, and may read other processes after the rest of the agent
/// has dropped that privilege. It ends when its handle is dropped.
#[derive(Debug)]
pub struct SamplerThread(mpsc::Sender<(Coverage, oneshot::Sender<Sampled>)>);

impl SamplerThread {
    /// Starts the thread, which inherits the privileges of the calling thread.
    ///
    /// # Errors
    /// If the kernel refuses another thread.
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

    /// Takes one sample; `None` if the thread has ended.
    pub(crate) async fn sample(&self, coverage: Coverage) -> Option<Sampled> {
        let (answer, answered) = oneshot::channel();
        self.0.send((coverage, answer)).ok()?;
        answered.await.ok()
    }
}
