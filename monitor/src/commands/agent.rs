//! `agent`: samples and publishes until it is asked to end.

use anyhow::anyhow;
use monitor::assembly::{Prepared, ProcessContext, Signals};
use monitor::config::Config;
use monitor::hardening;
use monitor::http::ListenOptions;
use monitor::instance::{self, InstanceGuard};
use monitor::sources::bpf;

use crate::output::Outcome;

/// Runs the agent in the foreground.
pub(super) fn run(config: &Config, context: &ProcessContext) -> anyhow::Result<Outcome> {
    let mut signals = Signals::install(context)?;
    hardening::forbid_core_dumps();
    bpf::share_memory();
    tracing::info!("Starting system monitor for container: {}", config.container_name);
    let token = config.listen.as_ref().map(ListenOptions::token).transpose()?.flatten();
    let holder = instance::holder((context.clock)().wall);
    let guard = InstanceGuard::acquire(config.pin.as_deref(), &holder)
        .map_err(|error| anyhow!("{error}; {}", error.remedy()))?;
    let attached = Prepared::new(config, context).attach(guard.pins()).require_ebpf()?;
    if signals.is_asked_to_end() {
        tracing::info!("Received shutdown signal during the start; nothing was written");
        return Ok(Outcome::Success);
    }
    attached.drop_capabilities().start_threads()?.apply_sandbox().start(token, context, signals)?.run();
    if let Some(pins) = guard.pins() {
        let dir = pins.dir().display();
        tracing::info!(%dir, "eBPF counters stay pinned for the next agent; `system-monitor detach` removes them");
    }
    Ok(Outcome::Success)
}
