//! The composition root: the one module that knows every source, every sink and the server.
//!
//! A start passes through stages. Each is a type, and each consumes the one before, so that the order in which
//! privileges are used and given up cannot be got wrong:
//!
//! ```text
//!   Prepared      facts about the host, and the plan; nothing is changed yet
//!      | attach()               eBPF programs, which take most privileges
//!   Attached  ----- open_sources(): `once`, `top` and `doctor` only look, and keep their privileges
//!      | drop_capabilities()
//!   Unprivileged
//!      | start_threads()        threads that look into other processes
//!   Sampling
//!      | apply_sandbox()        Landlock, then seccomp
//!   Hardened
//!      | start()                the runtime, the sinks, the server and the loop
//!   Running
//! ```
//!
//! A new sink costs its folder and one line in `outputs.rs`, and one line in `request.rs` for the files and ports that
//! it uses.

mod context;
mod outputs;
mod request;
mod running;
mod stages;
mod watched;

pub use self::context::{Clock, ProcessContext, ServiceManager, Shutdown};
pub use self::running::{Running, Signals, runtime};
pub use self::stages::{Attached, Hardened, OpenedSources, Prepared, Sampling, Unprivileged, program_decisions};

#[cfg(test)]
mod tests;
