//! Decides that a failure is logged once, and again only when it changes or lasts.

use std::time::Duration;

use tokio::time::Instant;

use crate::timer;

/// The interval at which a lasting failure is logged again.
const REPEAT: Duration = Duration::from_secs(60);

/// A failure that is logged when its text is not that of the last one, and otherwise once a minute.
#[derive(Debug, Default)]
pub(crate) struct LogOnce {
    logged: Option<(String, Instant)>,
}

impl LogOnce {
    /// Returns true if a failure of this text is to be logged now: the same was not less than a minute ago.
    pub(crate) fn is_new(&mut self, text: &str) -> bool {
        let now = timer::now();
        let is_new = self.logged.as_ref().is_none_or(|(logged, at)| logged != text || now - *at >= REPEAT);
        if is_new {
            self.logged = Some((text.to_owned(), now));
        }
        is_new
    }
}
