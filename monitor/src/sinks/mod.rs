//! Sinks take reports out of the process. Each has a task of its own; a slow one misses reports and never delays
//! sampling.
//!
//! A new sink is a folder with an `impl Sink`, and a line in `configured.rs`, where they are listed.

mod backoff;
mod configured;
mod drive;
mod options;
pub mod otlp;
pub mod service;
mod sink;
pub mod valkey;

pub use self::configured::configured;
pub use self::drive::start;
pub use self::options::SinkOptions;
pub use self::sink::{Feed, Retry, Sink, SinkError, SinkFuture};
