//! The server from the outside: its answers, its refusals, and the truth of its description.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

mod api;
mod clients;
mod fuzzed;
mod hostile;
mod listen;
mod server;
mod upstream;
