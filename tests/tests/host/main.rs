//! One agent for every container of a machine.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

#[macro_use]
mod world;

mod churn;
mod interface;
mod machine;
mod names;
mod reports;
mod traffic;
