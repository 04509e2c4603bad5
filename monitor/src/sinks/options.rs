//! The interface of a sink's options.

use std::fmt::Debug;

use super::sink::Sink;
use crate::hardening::landlock::AllowedAccess;

/// The options of a sink, from which it is made.
pub trait SinkOptions: Debug + Send + Sync {
    /// Returns its name in the start line.
    fn name(&self) -> &'static str;

    /// Returns the files and ports that it needs. Landlock keeps it from all others.
    fn access(&self) -> AllowedAccess;

    /// Returns true if it tells the interfaces of a network namespace apart, which are read only for such sinks.
    fn tells_interfaces_apart(&self) -> bool {
        false
    }

    /// Creates the sink. Nothing is connected yet.
    fn sink(&self) -> Box<dyn Sink>;
}
