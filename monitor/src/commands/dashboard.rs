//! `dashboard`: the page and the API for a fleet, from the reports of its agents in Valkey.

use anyhow::Context;
use monitor::assembly::{ProcessContext, runtime};
use monitor::config::Config;
use monitor::http;
use tokio::sync::oneshot;

use crate::output::Outcome;

/// Serves until the process is asked to end.
pub(super) fn run(config: &Config, context: &ProcessContext) -> anyhow::Result<Outcome> {
    let listen = config.listen.clone().unwrap_or_default();
    let token = listen.token()?;
    let options = config.valkey.clone().context("--valkey-url none: there is nothing to read a fleet from")?;
    let runtime = runtime()?;
    let shutdown = {
        let _in_runtime = runtime.enter();
        (context.shutdown)().context("signals cannot be handled")?
    };
    let (stop, stopped) = oneshot::channel::<()>();
    // A message and a closed channel both mean the end.
    let stopped = async { _ = stopped.await };
    let server = http::start_fleet(&listen, token, (options, config.interval), stopped, context.clock)
        .context("the server cannot start")?;
    runtime.block_on(shutdown);
    drop(stop);
    server.join().map_err(|_| anyhow::anyhow!("a bug in the server; please report it"))?;
    Ok(Outcome::Success)
}
