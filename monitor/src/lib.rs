//! A per-container resource monitor.
//!
//! ```text
//!   kernel          monitor-ebpf/src/*/*.rs       one file per hook
//!      | increments
//!   eBPF maps       monitor-ebpf/src/*/main.rs    values typed in monitor-common
//!      | read                                     and cgroup files, /proc, statfs
//!   sources/        fill in
//!      |
//!   snapshot/       plain values; absence is a value, with its cause (cause.rs)
//!      | + the previous one
//!   report/         rates and derived numbers: pure
//!      | agent/     samples at each tick, and publishes
//!      |
//!      +-- sinks/   one task each: Valkey, OTLP, the service manager
//!      |      | Valkey
//!      |   valkey/  the client, and the store that reads back
//!      |
//!      +-- http/    serves frames: the page, the API, /metrics
//!      +-- views/   the terminal
//! ```
//!
//! `metrics/` is the table that all of them read: one row per number. `assembly/` is the only module that knows every
//! source and every sink; it takes the steps of a start in the order of privileges. `main.rs` is the only place with
//! arguments, environment, clock, signals and exit codes.
//!
//! Modules are listed in layers, from plain data up to the composition root; each imports from its own layer and those
//! before it.
#![deny(unsafe_code)]

// Plain data and pure functions.
pub mod amount;
pub mod cause;
pub mod events;
pub mod findings;
pub mod metrics;
pub mod proc_text;
pub mod programs;
pub mod readings;
pub mod refusal;
pub mod report;
pub mod settings;
pub mod snapshot;
mod unix_time;
pub mod wire;

// Small services, which read files or hold a state.
pub mod foreign;
pub mod hostname;
pub mod lock;
mod log_once;
mod mutex;
pub mod publish;
pub mod secrets;
mod timer;

// The host: its containers and its privileges; and the Valkey client.
pub mod containers;
pub mod hardening;
pub mod preflight;
pub mod valkey;

// The data path: sources, loop, sinks, server, terminal; and the guard against a second agent.
pub mod agent;
pub mod http;
pub mod instance;
pub mod sinks;
pub mod sources;
pub mod views;

// The root: the settings with their types, and every part put together.
pub mod assembly;
pub mod config;
