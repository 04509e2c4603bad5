//! The HTTP server: the page, the API, `/metrics`.
//!
//! ```text
//!   serve.rs     start of the server         feed.rs      the agent's own reports
//!   address.rs   where it listens            fleet.rs     reports of many agents, out of Valkey
//!   listen.rs    connections, their limits   frame.rs     all containers at one moment
//!   places.rs    who is served at once       budget.rs    the bytes of answers under way
//!   guard.rs     who may ask                 view.rs      one container
//!   routes.rs    the paths                   memory.rs    the last hour (packed.rs)
//!   server.rs    the shared state            past.rs      Valkey's history, for longer than an hour
//!   stream.rs    server-sent events          chart.rs     columns for charts
//!   exposition   /metrics (text_format.rs)   openapi.rs   the API's description
//!   about.rs     the agent itself            judge.rs     the findings about all containers
//!   problem.rs   errors                      health.rs    a client of /healthz
//! ```
//!
//! It runs on a thread of its own, with a runtime of its own: whatever clients do, the loop that reads the kernel is on
//! another thread, and hands over one `Arc` per report.

mod about;
mod address;
mod assets;
mod budget;
mod chart;
mod ended_kills;
mod exposition;
mod feed;
mod fleet;
mod frame;
mod guard;
mod health;
mod judge;
mod listen;
mod log_entry;
mod memory;
mod numbers;
pub mod openapi;
mod packed;
mod past;
mod places;
mod problem;
mod routes;
mod serve;
mod server;
mod stream;
mod text_format;
mod view;

pub use self::about::About;
pub use self::address::{Address, ListenOptions};
pub use self::guard::{Token, TokenError};
pub use self::health::ask_health;
pub(crate) use self::places::CONNECTIONS;
pub use self::serve::{start, start_fleet};
