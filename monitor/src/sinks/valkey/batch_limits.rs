//! Limits of a batch: its size, and its timeout.

use std::time::Duration;

/// The most entries of streams in one batch.
pub(super) const MOST_ENTRIES: usize = 500;
/// The most bytes of entries in one batch, besides the latest report.
const MOST_BYTES: usize = 256 << 10;
/// Shortest and longest timeout of a batch.
const TIMEOUT: (Duration, Duration) = (Duration::from_secs(3), Duration::from_secs(24));

/// The size of the next batch, and its timeout. A batch is small after a failure, so that a server that recovers in the
/// middle of one cannot accept its end without its beginning. It grows with each success, up to the amount that a slow
/// link carries in a second.
#[derive(Debug)]
pub(super) struct BatchLimits {
    pub(super) per_stream: usize,
    pub(super) bytes: usize,
    pub(super) timeout: Duration,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self { per_stream: 1, bytes: MOST_BYTES, timeout: TIMEOUT.0 }
    }
}

impl BatchLimits {
    /// Records that a batch of `bytes` was answered after `round_trip`.
    pub(super) fn answered(&mut self, bytes: u64, round_trip: Duration) {
        self.per_stream = (self.per_stream * 2).min(MOST_ENTRIES);
        self.timeout = (round_trip * 3).clamp(TIMEOUT.0, TIMEOUT.1);
        let second = Duration::from_secs(1);
        self.bytes = if round_trip > second {
            let in_a_second = u128::from(bytes) * second.as_nanos() / round_trip.as_nanos();
            usize::try_from(in_a_second).unwrap_or(MOST_BYTES).min(MOST_BYTES)
        } else {
            (self.bytes.max(1) * 2).min(MOST_BYTES)
        };
    }

    /// Records that the server refused.
    pub(super) fn refused(&mut self) {
        self.per_stream = 1;
    }

    /// Records a timeout on a connection that had been good: it may be slow.
    pub(super) fn timed_out(&mut self) {
        self.per_stream = 1;
        self.bytes /= 2;
        self.timeout = (self.timeout * 2).min(TIMEOUT.1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_link_gets_what_it_carries_and_a_longer_timeout() {
        let mut limits = BatchLimits { per_stream: 100, ..BatchLimits::default() };
        limits.timed_out();
        assert_eq!((limits.bytes, limits.timeout), (128 << 10, Duration::from_secs(6)));
        limits.answered(4096, Duration::from_secs(4));
        assert_eq!((limits.bytes, limits.timeout), (1024, Duration::from_secs(12)));
        for _ in 0..10 {
            limits.answered(1024, Duration::from_millis(2));
        }
        assert_eq!((limits.bytes, limits.timeout), (MOST_BYTES, TIMEOUT.0));
        for _ in 0..10 {
            limits.timed_out();
        }
        assert_eq!(limits.timeout, TIMEOUT.1);
    }
}
