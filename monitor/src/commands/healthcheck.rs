//! `healthcheck`: succeeds while the agent of this container is alive.
//!
//! The agent's own settings say where to look: they are read from its process, unless the command line has settings. A
//! listener is asked first, since it knows the loop itself; then Valkey, for the latest report; with neither, an agent
//! that runs is all that can be known.

use anyhow::{Context, bail};
use clap::ArgMatches;
use monitor::assembly::{ProcessContext, runtime};
use monitor::config::Config;
use monitor::hostname::hostname;
use monitor::http::ask_health;
use monitor::settings::Settings;
use monitor::snapshot::Scope;
use monitor::valkey::health;

use super::probe::reported_name;
use super::running_agent::{self, RunningAgent};
use crate::output::{self, Outcome};

/// Prints what was found, or fails.
pub(super) fn run(flags: &ArgMatches, config: &Config, context: &ProcessContext) -> anyhow::Result<Outcome> {
    let running = running_agent::find(&config.roots.proc);
    let is_told = Settings::flags().any(|flag| flags.contains_id(flag.get_id().as_str()));
    let said = match running {
        Some(RunningAgent { pid, config: settings }) if !is_told => {
            let settings = settings.with_context(|| format!("the settings of the agent, process {pid}"))?;
            check(&settings, Some(pid), context)
        }
        other => check(config, other.map(|agent| agent.pid), context),
    };
    Ok(output::print(&format!("healthy: {}\n", said?)))
}

/// Returns why the agent with these settings is healthy. `pid` is its process, if one was found.
fn check(config: &Config, pid: Option<u32>, context: &ProcessContext) -> anyhow::Result<String> {
    if let Some(listen) = &config.listen {
        let address = &listen.address;
        let asked = runtime()?.block_on(ask_health(address));
        asked.map_err(|error| anyhow::anyhow!("the agent at {address}: {error}"))?;
        return Ok(format!("the agent answers at {address}"));
    }
    match &config.valkey {
        Some(options) if !is_left_out(config) => {
            let check = async {
                let name = reported_name(config, options).await;
                health::check(options, &name, config.interval, (context.clock)().wall).await
            };
            Ok(format!("written {:.1} s ago", runtime()?.block_on(check)?.as_secs_f64()))
        }
        _ => {
            let Some(pid) = pid else {
                bail!("no agent runs here, and without --listen and Valkey nothing else tells of it")
            };
            Ok(format!(
                "the agent runs as process {pid}; without --listen and a report of its own, no more can be checked"
            ))
        }
    }
}

/// True if no report has a name that is known here: the machine's is left out.
fn is_left_out(config: &Config) -> bool {
    config.scope == Scope::Host && !config.rules.reports_machine(&hostname(&config.roots.proc))
}
