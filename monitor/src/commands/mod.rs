//! The commands, one file each.

mod agent;
mod completions;
mod dashboard;
mod detach;
mod doctor;
mod healthcheck;
mod man;
mod metrics;
mod once;
mod probe;
mod running_agent;
mod settings;
mod top;
pub(crate) mod version;

use clap::ArgMatches;
use monitor::assembly::ProcessContext;
use monitor::config::Config;
use monitor::views::top::notes::Notes;

use crate::output::Outcome;

/// The text of a command that only prints one and needs no settings; `None` for the others.
pub(crate) fn text(name: &str, flags: &ArgMatches) -> Option<std::io::Result<String>> {
    match name {
        "metrics" => Some(Ok(metrics::text(flags))),
        "settings" => Some(Ok(settings::text(flags))),
        "completions" => completions::script(flags).map(Ok),
        "man" => Some(man::page(flags)),
        _ => None,
    }
}

/// Runs a command with the settings. `notes` takes what is logged while `top` has the terminal.
pub(crate) fn run(
    name: &str,
    flags: &ArgMatches,
    config: &Config,
    context: &ProcessContext,
    notes: Notes,
) -> anyhow::Result<Outcome> {
    match name {
        "once" => once::run(flags, config, context),
        "top" => top::run(flags, config, context, notes),
        "dashboard" => dashboard::run(config, context),
        "doctor" => doctor::run(flags, config, context),
        "healthcheck" => healthcheck::run(flags, config, context),
        "detach" => detach::run(config, context),
        _ => agent::run(config, context),
    }
}
