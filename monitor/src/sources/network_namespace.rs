//! The network namespace of a container: that of one of its processes.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::snapshot::{Cgroup, Scope};

/// Returns the name in `/proc` of the process in whose network namespace a cgroup is; `None` if no process of it is
/// known.
pub(super) fn process(cgroup: &Cgroup, scope: Scope) -> Option<String> {
    match (scope, cgroup.identity.is_root) {
        (Scope::SelfContainer, _) => Some("self".to_owned()),
        (Scope::Host, true) => Some("1".to_owned()),
        (Scope::Host, false) => Some(cgroup.first_process?.to_string()),
    }
}

/// Returns the inode number of the network namespace of a process (`namespaces(7)`).
///
/// # Errors
/// Returns the error of the system call.
pub(super) fn number(proc: &Path, process: &str) -> io::Result<u64> {
    fs::metadata(proc.join(process).join("ns/net")).map(|namespace| namespace.ino())
}
