//! Points in time.

use std::time::{Duration, SystemTime};

/// RFC 3339 in UTC with nine digits of a second, always of one length, so that readers may sort it as text.
pub fn timestamp(wall: SystemTime) -> String {
    humantime::format_rfc3339_nanos(wall).to_string()
}

/// Whole microseconds.
pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
