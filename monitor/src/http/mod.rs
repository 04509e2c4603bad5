//! Shows reports to whoever asks: the page, the API, `/metrics`.
//!
//! ```text
//!   address.rs   where it listens            guard.rs     who may ask
//!   listen.rs    connections and bounds      routes.rs    what is answered where
//!   server.rs    what all answers share      shown.rs     one tick, of an agent or of a fleet
//!   memory.rs    the last hour (packed.rs)   stream.rs    server-sent events
//!   chart.rs     columns for charts          past.rs      Valkey's history, for longer than an hour
//!   openapi.rs   the API's description       problem.rs   errors
//!   fleet.rs     what many agents wrote      exposition.rs  /metrics
//! ```
//!
//! It runs on a thread of its own, with a runtime of its own: whatever clients do, the loop that reads the kernel is on
//! another thread, and hands over one `Arc` per tick.

mod address;
mod assets;
mod chart;

mod exposition;
mod fleet;
mod guard;
mod listen;
mod memory;
pub mod openapi;
mod packed;
mod past;
mod problem;
mod routes;
mod server;
mod shown;
mod stream;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

pub use self::address::Address;
use self::guard::Guard;
pub use self::guard::{Token, TokenError};
pub(crate) use self::listen::CONNECTIONS;
use self::memory::Entry;
use self::past::Past;
pub use self::server::About;
use self::server::Server;
use self::shown::{Tick, millis};
use crate::events::{ENDED, Event, Level, Watch};
use crate::publish::Reports;
use crate::report::Delivery;
use crate::sinks::valkey::ValkeyOptions;
use crate::snapshot::{CgroupId, Extent, Stamp};

/// What was said about listening.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenOptions {
    /// Where.
    pub address: Address,
    /// The file with the token that is asked for, if one is.
    pub token_file: Option<PathBuf>,
}

/// Serves the reports of this agent until no more come.
///
/// # Errors
/// That the thread or its runtime cannot be had.
pub fn start(
    address: Address,
    token: Option<Token>,
    about: About,
    reports: Reports,
    history: Option<ValkeyOptions>,
    clock: fn() -> Stamp,
) -> std::io::Result<JoinHandle<()>> {
    let guard = Guard { loopback: address.is_loopback(), token };
    let server = Arc::new(Server::new(guard, about, history.map(Past::new), clock));
    run(address, Arc::clone(&server), feed(server, reports))
}

/// Serves what a fleet of agents writes to Valkey, until `stop`.
///
/// # Errors
/// As [`start`].
pub fn start_fleet(
    address: Address,
    token: Option<Token>,
    (options, interval): (ValkeyOptions, Duration),
    stop: impl Future<Output = ()> + Send + 'static,
    clock: fn() -> Stamp,
) -> std::io::Result<JoinHandle<()>> {
    let sinks = [("valkey", options.target.to_string())].into();
    let about = About { scope: None, interval, programs: Vec::new(), sinks };
    let guard = Guard { loopback: address.is_loopback(), token };
    let server = Arc::new(Server::new(guard, about, Some(Past::new(options.clone())), clock));
    let feed = fleet::feed(Arc::clone(&server), options, interval);
    run(address, server, async {
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
                tracing::info!("Listening at {address}");
                let router = routes::router(Arc::clone(&server));
                listen::accept(listener, server, router).await;
            };
            tokio::select! {
                () = feed => {}
                () = serve => {}
            }
        });
        if let Address::Unix(path) = &address {
            // It may never have been made.
            _ = std::fs::remove_file(path);
        }
    })
}

/// Shows the agent's reports until no more come. Nothing here can fail or take long, so the sinks' driver has no work.
async fn feed(server: Arc<Server>, mut reports: Reports) {
    let mut watches: BTreeMap<CgroupId, Watch> = BTreeMap::new();
    while let Some(report) = reports.next().await {
        let mut happened = Vec::new();
        for container in &report.containers {
            let mut events = watches.entry(container.id).or_default().events(container);
            if report.extent == Extent::Ended {
                events.push(Event::new(Level::Info, ENDED));
            }
            for event in events {
                let time = millis(report.taken.wall);
                let entry = Entry { time, level: event.level.as_str(), message: event.message };
                happened.push((container.identity.name.clone(), entry));
            }
        }
        let tick = Tick::reported(&report);
        if report.extent == Extent::Whole {
            let there: BTreeSet<CgroupId> = report.containers.iter().map(|container| container.id).collect();
            watches.retain(|id, _| there.contains(id));
            server.show(tick, report.delivery.as_ref().and_then(away));
        } else {
            server.remember(&tick);
        }
        server.tell(happened);
    }
}

/// Why reports do not get out, if they do not.
fn away(delivery: &Delivery) -> Option<String> {
    let waiting = delivery.backlog;
    delivery.connected_since.is_none().then(|| format!("Valkey is away; {waiting} entries wait to be written"))
}
