//! Log entries, as they are written and read back.

use std::time::SystemTime;

use super::event::{AGENT_STOPPED, EXITED, Event};
use super::heartbeat::SOURCES;
use crate::findings::Level;

/// A log entry: an event in words. An entry that is read back may be from an agent of another version, with other
/// words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// The time of the event.
    pub at: SystemTime,
    /// Its severity.
    pub level: Level,
    /// Its words.
    pub message: String,
    /// Its topic, as far as readers distinguish it.
    pub topic: Topic,
}

/// Topics of log entries that readers distinguish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// [`Event::Alive`].
    Heartbeat,
    /// [`Event::Exited`].
    Exited,
    /// [`Event::AgentStopped`].
    AgentStopped,
    /// Any other.
    Other,
}

impl LogEntry {
    /// The entry of an event.
    pub fn new(at: SystemTime, event: &Event) -> Self {
        let topic = match event {
            Event::Alive(_) => Topic::Heartbeat,
            Event::Exited => Topic::Exited,
            Event::AgentStopped => Topic::AgentStopped,
            _ => Topic::Other,
        };
        Self { at, level: event.level(), message: event.to_string(), topic }
    }

    /// An entry that an agent has written.
    pub fn written(at: SystemTime, level: Level, message: impl Into<String>) -> Self {
        let message = message.into();
        let topic = Topic::of(&message);
        Self { at, level, message, topic }
    }
}

impl Topic {
    /// The topic of a message that an agent has written.
    pub fn of(message: &str) -> Self {
        match message {
            EXITED => Self::Exited,
            AGENT_STOPPED => Self::AgentStopped,
            _ if message.contains(SOURCES) => Self::Heartbeat,
            _ => Self::Other,
        }
    }
}
