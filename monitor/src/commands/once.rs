//! `once`: one report on stdout.

use std::io::IsTerminal;
use std::time::Duration;

use clap::ArgMatches;
use monitor::assembly::ProcessContext;
use monitor::config::Config;
use monitor::sinks::stdout;
use monitor::views::once;

use super::probe;
use crate::output::{self, Outcome};

/// Takes two readings and prints the report: for a person on a terminal, else as JSON.
pub(super) fn run(flags: &ArgMatches, config: &Config, context: &ProcessContext) -> anyhow::Result<Outcome> {
    let wait = flags.get_one::<Duration>("wait").copied().unwrap_or(Duration::from_secs(1));
    let mut opened = probe::open(config, context)?;
    let report = probe::report(&mut opened, wait, context);
    let is_json = flags.get_flag("json") || !std::io::stdout().is_terminal();
    let text = if is_json { stdout::lines(&report)? } else { once::render(&report, output::look(context.use_color)) };
    Ok(output::print(&text))
}
