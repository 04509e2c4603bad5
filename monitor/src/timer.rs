//! The clock that waits and back-offs are measured by.
//!
//! It is the runtime's, because that is the clock `sleep` and `timeout` follow: it stands still in tests that pause
//! time. The time of a reading is never taken from here, but from the clock that `main.rs` passes in.

use tokio::time::Instant;

/// The present moment.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the runtime's clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
