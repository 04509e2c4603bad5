//! Events of a container: what changed between one report and the next, as data. Pure. They become words where they
//! leave the process.

mod event;
mod heartbeat;
mod log;
mod watch;

pub use self::event::Event;
pub use self::heartbeat::Heartbeat;
pub use self::log::{LogEntry, Topic};
pub use self::watch::Watch;

#[cfg(test)]
mod tests;
