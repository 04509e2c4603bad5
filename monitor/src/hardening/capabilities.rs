//! Capabilities of the process.

use std::fmt;
use std::io;

use rustix::thread::{CapabilitySet, CapabilitySets};

/// The names of the capabilities that the kernel knows.
pub fn names(set: CapabilitySet) -> impl fmt::Display {
    let names: Vec<String> = set.iter_names().map(|(name, _)| format!("CAP_{name}")).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// Drops all capabilities but `retained`, and forbids new privileges. No capability can be gained by executing a
/// program: the bounding set becomes empty. Returns the capabilities that are left.
///
/// # Errors
/// The error of the system call that failed.
pub fn drop_all_but(retained: CapabilitySet) -> io::Result<CapabilitySet> {
    let has = rustix::thread::capabilities(None)?;
    // Emptying the bounding set takes a capability that a second call no longer has. Without it, and without new
    // privileges, the set has no effect.
    if has.effective.contains(CapabilitySet::SETPCAP) {
        for capability in CapabilitySet::all().iter() {
            // A capability that this kernel does not know is not in the set.
            _ = rustix::thread::remove_capability_from_bounding_set(capability);
        }
    }
    rustix::thread::clear_ambient_capability_set()?;
    let left = has.permitted.intersection(retained);
    let sets = CapabilitySets { effective: left, permitted: left, inheritable: CapabilitySet::empty() };
    rustix::thread::set_capabilities(None, sets)?;
    rustix::thread::set_no_new_privs(true)?;
    Ok(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_have_the_names_of_the_manual() {
        assert_eq!(names(CapabilitySet::SYS_PTRACE | CapabilitySet::BPF).to_string(), "CAP_SYS_PTRACE, CAP_BPF");
        assert_eq!(names(CapabilitySet::empty()).to_string(), "none");
    }
}
