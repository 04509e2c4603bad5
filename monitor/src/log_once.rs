//! Logs a failure once, and again only when it changes or lasts.

use std::time::Duration;

use tokio::time::Instant;

use crate::timer;

/// The interval at which a lasting failure is logged again.
const REPEAT: Duration = Duration::from_secs(60);

/// Logs a failure when its text is not that of the last one, and otherwise once a minute.
#[derive(Debug, Default)]
pub(crate) struct LogOnce {
    logged: Option<(String, Instant)>,
}

impl LogOnce {
    /// Logs a warning, unless the same was logged less than a minute ago.
    pub(crate) fn warn(&mut self, text: &str) {
        let now = timer::now();
        if self.logged.as_ref().is_none_or(|(logged, at)| logged != text || now - *at >= REPEAT) {
            tracing::warn!("{text}");
            self.logged = Some((text.to_owned(), now));
        }
    }
}
