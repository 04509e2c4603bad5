//! A per-container resource monitor.
//!
//! ```text
//!   kernel        monitor-ebpf/src/*/*.rs             one file per hook
//!      | increments
//!   maps          monitor-ebpf/src/*/main.rs          values typed in monitor-common
//!      | read                        cgroup files, /proc, statfs
//!   sources       sources/*
//!      | fill in
//!   snapshot      snapshot.rs                         plain values; absence is a value
//!      | + the previous one
//!   report        report.rs                           rates, derived numbers; pure
//!      | agent/publish.rs: the latest, and every end
//!   sinks         sinks/*                             one task each
//!      | Valkey
//!   store         valkey/store.rs                        what readers of it can ask
//!
//!   metrics/      the table that all of the above read: one row per number
//!   agent/        the loop: samples at each tick, and publishes
//!   main.rs       the only place with argv, env, signals, exit codes
//! ```
#![deny(unsafe_code)]

pub mod agent;
pub mod assembly;
pub mod cause;
pub mod config;
pub mod containers;
pub mod events;
pub mod hardening;
pub mod http;
pub mod instance;
pub mod lock;
mod log_once;
pub mod metrics;
pub mod preflight;
pub mod proc_text;
pub mod programs;
pub mod readings;
pub mod refusal;
pub mod report;
pub mod secrets;
pub mod settings;
pub mod sinks;
pub mod snapshot;
pub mod sources;
mod unix_time;
pub mod valkey;
pub mod views;
pub mod wire;
