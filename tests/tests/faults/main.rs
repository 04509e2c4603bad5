//! The fault matrix: whatever becomes of Valkey or of the way to it, nothing that fits the buffer is lost, nothing is there
//! twice, and the agent goes on.
//!
//! Each case is a real server and a real agent. Every sample of the history is accounted for: a report says how long before
//! it the reading before it was; and every log entry: each sample has a heartbeat, by whose time it is known (`tests::chain`).
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

mod case;
mod cases;
mod matrix;
mod run;
mod stage;
