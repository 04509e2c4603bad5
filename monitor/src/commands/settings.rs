//! `settings`: the table of settings.

use clap::ArgMatches;
use monitor::views::settings;

/// The table as text or as Markdown.
pub(super) fn text(flags: &ArgMatches) -> String {
    if flags.get_flag("markdown") { settings::markdown() } else { settings::text() }
}
