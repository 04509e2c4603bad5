//! `doctor`: what can be measured on this host, what cannot, why, and the remedy.

use std::time::Duration;

use clap::ArgMatches;
use monitor::assembly::{Prepared, ProcessContext, runtime};
use monitor::config::Config;
use monitor::valkey::health;
use monitor::views::doctor::{self, Check, State};

use super::probe;
use crate::output::{self, Outcome};

/// Time between the two readings of the report that is checked.
const WAIT: Duration = Duration::from_secs(1);

/// Prints the checks. The outcome is a failure if a number is missing that this host could provide.
pub(super) fn run(flags: &ArgMatches, config: &Config, context: &ProcessContext) -> anyhow::Result<Outcome> {
    let mut opened = Prepared::new(config, context).attach(None).open_sources()?;
    let report = probe::report(&mut opened, WAIT, context);
    let mut checks: Vec<Check> = opened.programs.iter().map(doctor::program).collect();
    checks.extend(doctor::plan(&opened.plan));
    checks.extend(doctor::numbers(&report));
    checks.extend(check_valkey(config, context)?);
    let text = if flags.get_flag("json") {
        serde_json::to_string_pretty(&checks)? + "\n"
    } else {
        doctor::render(&checks, output::look(context.use_color))
    };
    output::print(&text);
    Ok(if doctor::is_well(&checks) { Outcome::Success } else { Outcome::Failure })
}

/// Checks that the server answers, and how the agent that writes to it is doing.
fn check_valkey(config: &Config, context: &ProcessContext) -> anyhow::Result<Vec<Check>> {
    let Some(options) = &config.valkey else {
        return Ok(vec![Check::new("valkey", State::NotNeeded, "--valkey-url none", None)]);
    };
    let runtime = runtime()?;
    let round_trip = match runtime.block_on(health::probe(options, context.clock)) {
        Ok(round_trip) => round_trip.as_micros(),
        Err(error) => {
            let remedy = "check VALKEY_HOST, VALKEY_PORT or --valkey-url, and that the server runs".to_owned();
            let why = format!("{}: {error}", options.target);
            return Ok(vec![Check::new("valkey", State::Refused, why, Some(remedy))]);
        }
    };
    let answers = format!("{} answers within {round_trip} µs", options.target);
    let status =
        runtime.block_on(async { health::agent_status(options, &probe::reported_name(config, options).await).await });
    let losses = status.as_ref().map_or_else(Vec::new, doctor::losses);
    let delivery = match status.and_then(|status| status.delivery) {
        Some(text) => Check::new("delivery", State::Available, text, None),
        None => Check::new("delivery", State::NotNeeded, "no agent of this name writes there", None),
    };
    let answers = Check::new("valkey", State::Available, answers, None);
    Ok([answers, delivery].into_iter().chain(losses).collect())
}
