//! Where reports go. One task per sink; a slow one misses reports and never delays sampling.

pub mod terminal;
pub mod wire;

use std::future::Future;
use std::pin::Pin;

use crate::report::Report;

/// What a sink's write returns.
pub type SinkFuture<'a> = Pin<Box<dyn Future<Output = Result<(), SinkError>> + Send + 'a>>;

/// Something that takes reports out of the process.
pub trait Sink: Send {
    /// Its name in messages.
    fn name(&self) -> &'static str;

    /// Takes one report.
    fn write<'a>(&'a mut self, report: &'a Report) -> SinkFuture<'a>;
}

/// A report did not get out.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SinkError(pub String);
