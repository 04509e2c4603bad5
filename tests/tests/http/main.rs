//! The server as a stranger sees it: what it answers, what it refuses, and that its description is true.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

mod api;
mod clients;
mod fuzzed;
mod hostile;
mod listen;
mod server;
mod upstream;
