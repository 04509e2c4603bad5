//! Writes to Valkey, in the shape that readers know.
//!
//! ```text
//!   every report
//!      |
//!   queue.rs          record.rs         turns a report into documents for keys and entries for streams
//!      |              pending_report.rs the latest report, until it is written
//!      |              backlog.rs        entries of streams: in order, bounded, until they are known to be written
//!      |              disk_mirror.rs    keeps a copy of the backlog on disk (disk_store.rs), if one is wanted
//!      | batch.rs     the commands of one round trip (commands.rs, stream.rs, log_keys.rs, log_search.rs, owner_keys.rs)
//!      |
//!   delivery.rs       the sink: one thing at a time with the server; takes reports meanwhile, so that none is missed
//!      |              refusals.rs       what the server refuses
//!      |              status.rs         how delivery goes
//!      |
//!   connection.rs     when to connect and to send, and how much (batch_limits.rs)
//! ```

mod backlog;
mod batch;
mod batch_limits;
mod commands;
mod connection;
mod delivery;
mod disk_mirror;
mod disk_store;
mod log_keys;
mod log_search;
mod owner_keys;
mod pending_report;
mod queue;
mod record;
mod refusals;
mod status;
mod steady_clock;
mod stream;

pub use self::delivery::Valkey;
