//! Log entries.

use std::time::SystemTime;

use serde_json::Value;

use super::time::timestamp;
use crate::findings::Level;

/// A log entry as JSON: four texts, none of them null.
pub fn entry(container: &str, wall: SystemTime, level: Level, message: &str) -> String {
    let (container, message) = (Value::from(container), Value::from(message));
    let (timestamp, level) = (timestamp(wall), level.as_str());
    format!(r#"{{"container_name":{container},"timestamp":"{timestamp}","level":"{level}","message":{message}}}"#)
}
