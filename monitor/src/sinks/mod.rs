//! Sinks take reports out of the process. Each has a task of its own; a slow one misses reports and never delays
//! sampling.
//!
//! A new sink is a folder with an `impl Sink` and a line where the program lists its sinks.

mod backoff;
mod drive;
pub mod otlp;
pub mod service;
mod sink;
pub mod valkey;

pub use self::drive::start;
pub use self::sink::{Feed, Retry, Sink, SinkError, SinkFuture};
