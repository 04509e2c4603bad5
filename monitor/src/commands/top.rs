//! `top`: the live view, of this machine or of a fleet.

use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::ArgMatches;
use monitor::agent::Agent;
use monitor::agent::publish;
use monitor::assembly::Opened;
use monitor::config::Config;
use monitor::sources::SamplerThread;
use monitor::views::theme::Theme;
use monitor::views::top::feed::Own;
use monitor::views::top::fleet::Fleet;
use monitor::views::top::model::Model;
use monitor::views::top::notes::Notes;
use monitor::views::top::run::{self, Wires};
use tokio::sync::{mpsc, watch};

use super::{THREAD, hostname, require_ebpf, runtime, shutdown};
use crate::{cli, now};

/// Shows containers until somebody quits.
pub(super) fn run(flags: &ArgMatches, config: Config, notes: Notes) -> anyhow::Result<ExitCode> {
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        bail!("top needs a terminal; `system-monitor once` prints one report anywhere");
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
            runtime.spawn(Fleet::new(options, now).run(interval, update, wants, notes.clone()));
            subject
        }
        None => {
            let subject = hostname(&config);
            let opened = super::open(&config)?;
            require_ebpf(&config, &opened)?;
            let (reports, receiver) = publish::channel();
            let Opened { sources, ended, .. } = opened;
            let sampler = SamplerThread::start(sources, now).context(THREAD)?;
            let agent = Agent { sampler, interval, exited: ended, reports };
            runtime.spawn(agent.run(std::future::pending()));
            runtime.spawn(Own::default().run(receiver, update));
            subject
        }
    };
    let wires = Wires { updates, wanted, notes };
    let theme = Theme { color: cli::wants_color() };
    runtime.block_on(async {
        run::run(Model::new(subject, interval), wires, theme, shutdown()?).await.context("the terminal")
    })?;
    // A reading that hangs in the kernel must not hold the process.
    runtime.shutdown_background();
    Ok(ExitCode::SUCCESS)
}
