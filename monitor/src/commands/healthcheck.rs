//! `healthcheck`: succeeds while the agent of this container writes.

use anyhow::Context;
use monitor::assembly::{ProcessContext, runtime};
use monitor::config::Config;
use monitor::valkey::health;

use super::probe::reported_name;
use crate::output::{self, Outcome};

/// Prints the age of the latest report, or fails.
pub(super) fn run(config: &Config, context: &ProcessContext) -> anyhow::Result<Outcome> {
    let options = config.valkey.as_ref().context("--valkey-url none: nothing is written, so nothing can be checked")?;
    let name = reported_name(config);
    let check = health::check(options, &name, config.interval, (context.clock)().wall);
    let age = runtime()?.block_on(check)?;
    Ok(output::print(&format!("healthy: written {:.1} s ago\n", age.as_secs_f64())))
}
