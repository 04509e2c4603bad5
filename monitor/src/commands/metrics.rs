//! `metrics`: the table of numbers.

use clap::ArgMatches;
use monitor::http::openapi;
use monitor::views::metrics;

/// The table as text or as Markdown, or the description of the API that serves it.
pub(super) fn text(flags: &ArgMatches) -> String {
    if flags.get_flag("markdown") {
        metrics::markdown()
    } else if flags.get_flag("openapi") {
        openapi::document()
    } else {
        metrics::text()
    }
}
