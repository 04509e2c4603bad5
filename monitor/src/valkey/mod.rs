//! The Valkey client: finding a server, connecting to it and sending commands. It knows neither its writers nor its
//! readers.
//!
//! ```text
//!   options.rs, target.rs      where the server is, and with which login
//!      |
//!   connector.rs               finds it: one server, a sentinel's master, or a cluster
//!      |        dial.rs        one connection: the login, and which protocol
//!      |        socket.rs      its socket: addresses (resolve.rs), TLS (tls.rs)
//!      |        connection.rs  the library's connection, on a socket whose answers are bounded (bounded.rs, answers)
//!      |
//!   link.rs                    commands out, answers in
//!      |        cluster.rs     which node has which slot
//!      |        pipeline.rs    one pipeline to one node
//!      |
//!   store.rs, health.rs        read back what agents have written (entries.rs, stored.rs)
//! ```

pub mod answers;
pub mod arrivals;
mod behind;
mod bounded;
mod cluster;
mod connection;
mod connector;
mod dial;
mod document;
mod entries;
mod fault;
pub mod health;
pub mod keys;
mod link;
mod options;
mod pipeline;
mod request;
mod resolve;
mod socket;
pub mod store;
mod stored;
mod target;
mod tls;

pub(crate) use self::connector::Connector;
pub(crate) use self::document::Document;
pub use self::fault::Fault;
pub(crate) use self::fault::FaultKind;
pub(crate) use self::link::Link;
pub use self::options::{TlsOptions, ValkeyOptions};
pub(crate) use self::pipeline::Answer;
pub(crate) use self::request::Request;
pub(crate) use self::resolve::addresses;
pub use self::target::{Address, HostPort, Secret, Target, TargetError, Topology};
