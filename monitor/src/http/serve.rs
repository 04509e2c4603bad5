//! Starts the server: a thread of its own, with a runtime of its own.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::about::About;
use super::address::{Address, ListenOptions};
use super::guard::{Guard, Token};
use super::past::Past;
use super::server::Server;
use super::{feed, fleet, listen, routes};
use crate::publish::Reports;
use crate::snapshot::Stamp;
use crate::valkey::ValkeyOptions;

/// Serves the reports of this agent until no more come.
///
/// # Errors
/// If the thread or its runtime cannot be started.
pub fn start(
    listen: &ListenOptions,
    token: Option<Token>,
    about: About,
    reports: Reports,
    history: Option<ValkeyOptions>,
    clock: fn() -> Stamp,
) -> std::io::Result<JoinHandle<()>> {
    let guard = Guard { loopback: listen.guarded(), token };
    let server = Arc::new(Server::new(guard, about, history.map(Past::new), clock));
    run(listen.address.clone(), Arc::clone(&server), feed::run(server, reports))
}

/// Serves what a fleet of agents writes to Valkey, until `stop`.
///
/// # Errors
/// As [`start`].
pub fn start_fleet(
    listen: &ListenOptions,
    token: Option<Token>,
    (options, interval): (ValkeyOptions, Duration),
    stop: impl Future<Output = ()> + Send + 'static,
    clock: fn() -> Stamp,
) -> std::io::Result<JoinHandle<()>> {
    let sinks = [("valkey", options.target.to_string())].into();
    let about = About { scope: None, interval, programs: Vec::new(), sinks };
    let guard = Guard { loopback: listen.guarded(), token };
    let server = Arc::new(Server::new(guard, about, Some(Past::new(options.clone())), clock));
    let feed = fleet::run(Arc::clone(&server), options, interval);
    run(listen.address.clone(), server, async {
        tokio::select! {
            () = feed => {}
            () = stop => {}
        }
    })
}

/// A thread that serves until `feed` has no more.
fn run(
    address: Address,
    server: Arc<Server>,
    feed: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("http".to_owned()).spawn(move || {
        runtime.block_on(async {
            let serve = async {
                let listener = listen::bind(&address).await;
                tracing::info!(%address, "Listening");
                let router = routes::router(Arc::clone(&server));
                listen::accept(&listener, server, router).await;
            };
            tokio::select! {
                () = feed => {}
                () = serve => {}
            }
        });
    })
}
