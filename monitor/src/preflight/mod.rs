//! Preflight: facts about this host ([`probe`]), and a [`Plan`] for everything that takes a privilege ([`plan()`]).
//!
//! ```text
//!   facts.rs     the host, read once         request.rs   what the configuration asks for
//!   plan.rs      the decisions: pure
//!   programs.rs  which eBPF programs         retained.rs  which capabilities stay
//!   access.rs    which files and ports stay
//! ```

mod access;
mod facts;
mod plan;
mod programs;
mod request;
mod retained;

pub use self::facts::{HostFacts, probe};
pub use self::plan::{Plan, plan};
pub use self::programs::{DESCRIPTORS, programs};
pub use self::request::{EbpfMode, Layer, Request};
pub use self::retained::RetainedCapability;
