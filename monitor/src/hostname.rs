//! The name of the machine.

use std::fs;
use std::path::Path;

/// The name that the kernel reports below a procfs mount; empty if it cannot be read.
pub fn hostname(proc: &Path) -> String {
    fs::read_to_string(proc.join("sys/kernel/hostname")).unwrap_or_default().trim().to_owned()
}
