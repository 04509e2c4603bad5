//! What becomes of the data when Valkey, or the way to it, is not well.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

#[macro_use]
mod server;

mod answers;
mod cleanup;
mod keys;
mod login;
mod outage;
mod rights;
mod tls;
