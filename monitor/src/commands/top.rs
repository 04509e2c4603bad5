//! `top`: the live view, of this machine or of a fleet.

use std::io::IsTerminal;

use anyhow::{Context, bail};
use clap::ArgMatches;
use monitor::agent::Agent;
use monitor::assembly::{OpenedSources, ProcessContext, runtime};
use monitor::config::Config;
use monitor::hostname::hostname;
use monitor::publish;
use monitor::sources::SamplerThread;
use monitor::views::theme::Theme;
use monitor::views::top::feed::Own;
use monitor::views::top::fleet::Fleet;
use monitor::views::top::model::Model;
use monitor::views::top::notes::Notes;
use monitor::views::top::run::{self, Wires};
use tokio::sync::{mpsc, watch};

use super::probe;
use crate::output::Outcome;

/// Shows containers until the user quits.
pub(super) fn run(
    flags: &ArgMatches,
    config: &Config,
    context: &ProcessContext,
    notes: Notes,
) -> anyhow::Result<Outcome> {
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        bail!("top needs a terminal; `system-monitor once` prints one report anywhere");
    }
    if !context.can_draw {
        bail!(
            "top needs a terminal that can move its cursor, and TERM is dumb; `system-monitor once` prints one report"
        );
    }
    let is_fleet = flags.contains_id("from");
    if is_fleet && config.valkey.is_none() {
        bail!("--from none: nothing is written there");
    }
    let (update, updates) = mpsc::channel(1);
    let (wanted, wants) = watch::channel(None);
    let fleet = config.valkey.clone().filter(|_| is_fleet);
    let interval = config.interval;
    let runtime = runtime()?;
    let subject = match fleet {
        Some(options) => {
            let subject = options.target.to_string();
            runtime.spawn(Fleet::new(options, context.clock).run(interval, update, wants, notes.clone()));
            subject
        }
        None => {
            let OpenedSources { sources, ended, .. } = probe::open(config, context)?;
            let (reports, receiver) = publish::channel();
            let sampler = SamplerThread::start(sources, context.clock).context("a thread cannot be started")?;
            let agent = Agent { sampler, interval, exited: ended, reports };
            runtime.spawn(agent.run(std::future::pending()));
            runtime.spawn(Own::default().run(receiver, update));
            hostname(&config.roots.proc)
        }
    };
    let wires = Wires { updates, wanted, notes };
    let theme = Theme { color: context.use_color };
    runtime.block_on(async {
        let shutdown = (context.shutdown)().context("signals cannot be handled")?;
        run::run(Model::new(subject, interval), wires, theme, shutdown).await.context("the terminal")
    })?;
    // A reading that hangs in the kernel must not keep the process alive.
    runtime.shutdown_background();
    Ok(Outcome::Success)
}
