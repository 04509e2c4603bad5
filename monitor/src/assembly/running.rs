//! The last stage: the runtime, the sinks, the server and the loop.

use anyhow::Context;
use sd_notify::NotifyState;
use tokio::runtime::{Builder, Runtime};

use super::context::{ProcessContext, Shutdown};
use super::outputs::Outputs;
use super::stages::{Hardened, Sampling};
use crate::agent::Agent;
use crate::http::Token;
use crate::publish;

/// A runtime on this thread.
///
/// # Errors
/// When the system refuses its descriptors.
pub fn runtime() -> anyhow::Result<Runtime> {
    Builder::new_current_thread().enable_all().build().context("the asynchronous runtime cannot start")
}

/// The handlers of signals, and the runtime that they need. They come first, so that a signal during the start is not
/// lost: the kernel delivers none without a handler to the first process of a container.
pub struct Signals {
    runtime: Runtime,
    shutdown: Shutdown,
}

impl Signals {
    /// Installs the handlers.
    ///
    /// # Errors
    /// When signals cannot be handled.
    pub fn install(context: &ProcessContext) -> anyhow::Result<Self> {
        let runtime = runtime()?;
        let shutdown = {
            let _in_runtime = runtime.enter();
            (context.shutdown)().context("signals cannot be handled")?
        };
        Ok(Self { runtime, shutdown })
    }

    /// Returns whether the process has been asked to end. After that, nothing else may be asked.
    pub fn is_asked_to_end(&mut self) -> bool {
        let Self { runtime, shutdown } = self;
        runtime.block_on(async {
            tokio::select! {
                biased;
                () = shutdown => true,
                // The runtime looks for signals when a task yields.
                () = async { tokio::task::yield_now().await; tokio::task::yield_now().await } => false,
            }
        })
    }
}

/// An agent that has started.
pub struct Running {
    runtime: Runtime,
    agent: Agent,
    outputs: Outputs,
    shutdown: Shutdown,
    context: ProcessContext,
    name: String,
}

impl Hardened<'_> {
    /// Starts the sinks and the server. `token` is what the server asks for.
    ///
    /// # Errors
    /// When the server cannot start.
    pub fn start(self, token: Option<Token>, context: &ProcessContext, signals: Signals) -> anyhow::Result<Running> {
        let Self(Sampling { config, programs, sampler, ended, owners, .. }) = self;
        let Signals { runtime, shutdown } = signals;
        let in_runtime = runtime.enter();
        let (mut publisher, reports) = publish::channel();
        let attached = programs.iter().filter(|program| program.state.is_attached()).count();
        let known = programs.len();
        let mut outputs = Outputs::default();
        outputs.start_server(config, context, token, programs, &reports)?;
        outputs.start_sinks(config, context, owners, &mut publisher, &reports);
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            scope = config.scope.as_str(),
            ebpf_programs = format_args!("{attached}/{known}"),
            sinks = outputs.names.join(","),
            "Agent started"
        );
        drop(in_runtime);
        let agent = Agent { sampler, interval: config.interval, exited: ended, reports: publisher };
        let (context, name) = (context.clone(), config.container_name.clone());
        Ok(Running { runtime, agent, outputs, shutdown, context, name })
    }
}

impl Running {
    /// Samples and publishes until the process is asked to end, and writes the last report.
    pub fn run(self) {
        let Self { runtime, agent, outputs, shutdown, context, name } = self;
        runtime.block_on(async {
            let stop = async {
                shutdown.await;
                tracing::info!("Received shutdown signal");
                tell_stopping(&context);
                tracing::info!("System monitor stopping for container: {name}");
            };
            agent.run(stop).await;
            outputs.finish().await;
        });
        tracing::info!("System monitor stopped");
        // A reading that hangs in the kernel must not keep the process alive.
        runtime.shutdown_background();
    }
}

fn tell_stopping(context: &ProcessContext) {
    let Some(manager) = &context.service_manager else { return };
    if let Err(error) = manager.socket.notify(&[NotifyState::Stopping]) {
        tracing::debug!(%error, "Error notifying the service manager");
    }
}
