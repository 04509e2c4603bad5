//! Layers of defence that the agent applies to itself after start-up: each takes a privilege away for good.
//!
//! A layer that the kernel lacks or refuses costs a message, never the start. [`drop_capabilities`] and
//! [`apply_landlock`] act on the calling thread and the threads it starts later, [`apply_seccomp`] on all threads.

pub mod capabilities;
pub mod landlock;
pub mod seccomp;

use ::landlock::RulesetStatus;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::CapabilitySet;

use self::landlock::AllowedAccess;

/// Drops all capabilities but `retained`.
pub fn drop_capabilities(retained: CapabilitySet) {
    match capabilities::drop_all_but(retained) {
        Ok(left) => tracing::debug!(retained = %capabilities::names(left), "Capabilities dropped"),
        Err(error) => tracing::warn!(%error, "Capabilities cannot be dropped"),
    }
}

/// Confines files, ports and other processes with Landlock to what `allowed` lists.
pub fn apply_landlock(allowed: &AllowedAccess) {
    match landlock::restrict(allowed) {
        Ok(RulesetStatus::NotEnforced) => tracing::debug!("Landlock not applied: this kernel has none"),
        Ok(status) => tracing::debug!(?status, "Landlock applied"),
        Err(error) => tracing::warn!(%error, "Landlock not applied: all files and ports stay accessible"),
    }
}

/// Installs the seccomp filter. `maps_grow` leaves creating and pinning eBPF maps allowed.
pub fn apply_seccomp(maps_grow: bool) {
    match seccomp::apply(maps_grow) {
        Ok(()) => tracing::debug!("Seccomp filter installed"),
        Err(error) => tracing::warn!(%error, "Seccomp filter not installed: all system calls stay allowed"),
    }
}

/// Forbids core dumps, which would contain the password. A limit of one byte is too small for any core, and the one for
/// which the kernel starts no handler either (`fs/coredump.c`).
pub fn forbid_core_dumps() {
    let limit = Rlimit { current: Some(1), ..getrlimit(Resource::Core) };
    if let Err(error) = setrlimit(Resource::Core, limit) {
        tracing::debug!(%error, "Core dumps cannot be forbidden");
    }
}
