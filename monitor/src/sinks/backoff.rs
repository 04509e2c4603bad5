//! Pauses between attempts.

use std::time::Duration;

use tokio::time::Instant;

use super::sink::{Retry, SinkError};
use crate::log_once::LogOnce;
use crate::timer;

/// Shortest and longest pause between two attempts.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(4));
/// After a long outage the longest pause grows to this fraction of the outage, up to this bound: it limits reconnects
/// to 10 % of a fleet per second after a shared outage.
const LONG_PAUSE: (u32, Duration) = (15, Duration::from_secs(16));
/// The longest pause after an error that stays until an operator acts.
const SLOW_PAUSE: Duration = Duration::from_secs(30);

/// Exponential backoff with jitter. It logs the failures.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    log: LogOnce,
    failures: u32,
    since: Option<Instant>,
}

impl Backoff {
    /// Records an outcome, and returns the pause before the next attempt. It lies anywhere (`chance`, 0 to 1) in
    /// the upper half below its bound, so that many agents do not come back at the same moment.
    pub(super) fn pause(&mut self, outcome: Result<(), SinkError>, chance: f64) -> Option<Duration> {
        let Err(error) = outcome else {
            *self = Self::default();
            return None;
        };
        if self.log.is_new(&error.text) {
            tracing::warn!("Error {}", error.text);
        }
        let since = *self.since.get_or_insert_with(timer::now);
        let lasted = timer::now() - since;
        let longest = match error.retry {
            Retry::Soon => (lasted / LONG_PAUSE.0).clamp(PAUSE.1, LONG_PAUSE.1),
            Retry::Slowly => SLOW_PAUSE,
            // A little later, so that the agents of a fleet do not come back at the same moment.
            Retry::After(least) => return Some(least.mul_f64(1.0 + chance / 10.0)),
        };
        let bound = PAUSE.0.saturating_mul(1 << self.failures.min(16)).min(longest);
        self.failures += 1;
        Some(bound.mul_f64(0.5 + chance / 2.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_to_their_bound_and_start_anew_after_a_success() {
        let failed = |retry| Err(SinkError { text: "x".to_owned(), retry });
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = (0..8).map(|_| backoff.pause(failed(Retry::Soon), 1.0).unwrap().as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 4000, 4000]);
        assert_eq!(backoff.pause(failed(Retry::Slowly), 1.0), Some(Duration::from_millis(25_600)));
        assert_eq!(backoff.pause(failed(Retry::Slowly), 1.0), Some(SLOW_PAUSE));
        assert_eq!(backoff.pause(failed(Retry::Slowly), 0.0), Some(SLOW_PAUSE / 2));
        let asked = Duration::from_secs(60);
        assert_eq!(backoff.pause(failed(Retry::After(asked)), 0.0), Some(asked));
        assert_eq!(backoff.pause(failed(Retry::After(asked)), 1.0), Some(asked + asked / 10));
        assert_eq!(backoff.pause(Ok(()), 1.0), None);
        assert_eq!(backoff.pause(failed(Retry::Soon), 1.0), Some(PAUSE.0));
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_minute_of_failures_pauses_become_longer() {
        let mut backoff = Backoff { failures: 10, ..Backoff::default() };
        let mut after = async |seconds| {
            tokio::time::advance(Duration::from_secs(seconds)).await;
            backoff.pause(Err(SinkError { text: "x".to_owned(), retry: Retry::Soon }), 1.0).unwrap().as_secs()
        };
        assert_eq!([after(0).await, after(60).await, after(60).await, after(3600).await], [4, 4, 8, 16]);
    }
}
