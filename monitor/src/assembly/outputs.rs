//! The sinks and the server of an agent.

use std::thread;
use std::time::Duration;

use anyhow::Context;
use sd_notify::NotifyState;
use tokio::task::JoinHandle;

use super::context::{ProcessContext, ServiceManager};
use crate::config::Config;
use crate::containers::owners::Owners;
use crate::http::{self, About, Token};
use crate::programs::ProgramState;
use crate::publish::{Publisher, Reports};
use crate::sinks::service::Service;
use crate::sinks::valkey::Valkey;
use crate::sinks::{self, Sink};

/// Time limit for delivering the last report.
const GOODBYE: Duration = Duration::from_millis(600);

/// The running sinks and the server's thread. Each ends with the reports.
#[derive(Debug, Default)]
pub(super) struct Outputs {
    sinks: Vec<JoinHandle<()>>,
    server: Option<thread::JoinHandle<()>>,
    /// Names of the sinks, for the start line.
    pub(super) names: Vec<&'static str>,
}

/// Tells the service manager.
fn service(manager: ServiceManager, interval: Duration) -> Box<dyn Sink> {
    Box::new(Service::new(move |states: &[NotifyState<'_>]| manager.socket.notify(states), manager.watchdog, interval))
}

impl Outputs {
    /// Starts the configured sinks, a task each. Takes a runtime.
    pub(super) fn start_sinks(
        &mut self,
        config: &Config,
        context: &ProcessContext,
        owners: Option<Owners>,
        publisher: &mut Publisher,
        reports: &Reports,
    ) {
        let manager = context.service_manager.as_ref();
        for options in &config.sinks {
            self.start_sink(Some(options.name()), options.sink(), publisher, reports);
        }
        if let Some(options) = config.valkey.clone() {
            let valkey = Valkey::new(options, context.clock).with_owners(owners);
            self.start_sink(Some("valkey"), Box::new(valkey), publisher, reports);
        }
        if let Some(manager) = manager.cloned() {
            self.start_sink(None, service(manager, config.interval), publisher, reports);
        }
    }

    fn start_sink(
        &mut self,
        name: Option<&'static str>,
        sink: Box<dyn Sink>,
        publisher: &mut Publisher,
        reports: &Reports,
    ) {
        self.sinks.push(sinks::start(sink, publisher, reports));
        self.names.extend(name);
    }

    /// Starts the server, if the configuration asks for it.
    pub(super) fn start_server(
        &mut self,
        config: &Config,
        context: &ProcessContext,
        token: Option<Token>,
        programs: Vec<ProgramState>,
        reports: &Reports,
    ) -> anyhow::Result<()> {
        let Some(options) = &config.listen else { return Ok(()) };
        let valkey = config.valkey.iter().map(|valkey| ("valkey", valkey.target.to_string()));
        let about = About { scope: Some(config.scope), interval: config.interval, programs, sinks: valkey.collect() };
        let history = config.valkey.clone().filter(|valkey| valkey.history.is_some());
        let server = http::start(options, token, about, reports.clone(), history, context.clock);
        self.server = Some(server.context("the server cannot start")?);
        Ok(())
    }

    /// Waits until the last report is delivered, but no longer than [`GOODBYE`].
    pub(super) async fn finish(self) {
        let finished = async {
            for sink in self.sinks {
                // A sink that panicked has logged it.
                _ = sink.await;
            }
            if let Some(server) = self.server {
                _ = tokio::task::spawn_blocking(|| server.join()).await;
            }
        };
        if tokio::time::timeout(GOODBYE, finished).await.is_err() {
            tracing::warn!(timeout = ?GOODBYE, "The last report was not written in time");
        }
    }
}
