//! Keys and streams that the agent writes, and its behaviour when Valkey or the network fails.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

#[macro_use]
mod server;

mod answers;
mod cleanup;
mod keys;
mod login;
mod outage;
mod owners;
mod rights;
mod tls;
