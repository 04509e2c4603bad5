//! The clock of a benchmark.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime};

use monitor::snapshot::Stamp;

static START: OnceLock<Instant> = OnceLock::new();

/// The time now, since the first call.
pub fn stamp() -> Stamp {
    let since = Instant::now().duration_since(*START.get_or_init(Instant::now));
    Stamp { mono: since, wall: SystemTime::now() }
}
