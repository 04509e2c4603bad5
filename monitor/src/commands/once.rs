//! `once`: one report on stdout.

use std::io::IsTerminal;
use std::time::Duration;

use clap::ArgMatches;
use monitor::assembly::ProcessContext;
use monitor::config::Config;
use monitor::report::Report;
use monitor::views::once;
use monitor::wire::{self, EncodeError};

use super::probe;
use crate::output::{self, Outcome};

/// Takes two readings and prints the report: for a person on a terminal, else as JSON.
pub(super) fn run(flags: &ArgMatches, config: &Config, context: &ProcessContext) -> anyhow::Result<Outcome> {
    let wait = flags.get_one::<Duration>("wait").copied().unwrap_or(Duration::from_secs(1));
    let mut opened = probe::open(config, context)?;
    let report = probe::report(&mut opened, wait, context);
    let is_json = flags.get_flag("json") || !std::io::stdout().is_terminal();
    let text = if is_json { json_lines(&report)? } else { once::render(&report, output::look(context.use_color)) };
    Ok(output::print(&text))
}

/// Returns a line of JSON per container.
fn json_lines(report: &Report) -> Result<String, EncodeError> {
    report.containers.iter().map(|container| Ok(wire::report(report, container)? + "\n")).collect()
}
