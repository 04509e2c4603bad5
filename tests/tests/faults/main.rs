//! The fault matrix: whatever happens to Valkey or to the network, nothing that fits the buffer is lost, nothing is
//! written twice, and the agent continues.
//!
//! Each case is a real server and a real agent. Every sample of the history is accounted for by the time that each
//! report states since the reading before it, and every log entry by the heartbeat of each sample (`tests::chain`).
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

mod case;
mod cases;
mod matrix;
mod run;
mod stage;
