//! Wall-clock times as Unix time.

use std::time::{Duration, SystemTime};

/// Returns the time since the epoch; zero for a time before it.
pub(crate) fn since_epoch(wall: SystemTime) -> Duration {
    wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// Returns the milliseconds since the epoch; zero for a time before it.
pub(crate) fn unix_millis(wall: SystemTime) -> u64 {
    u64::try_from(since_epoch(wall).as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_before_the_epoch_is_zero() {
        let at = |millis| SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
        assert_eq!((unix_millis(at(7)), unix_millis(SystemTime::UNIX_EPOCH - Duration::from_secs(1))), (7, 0));
    }
}
