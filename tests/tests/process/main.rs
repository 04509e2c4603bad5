//! The binary from the outside, in environments that lack something.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

mod commands;
mod end;
mod health;
mod missing;
mod once;
mod shown;
mod start;
mod usage;
mod version;
