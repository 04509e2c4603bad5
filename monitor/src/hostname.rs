//! The name of the machine.

use std::path::Path;

use crate::foreign;

/// `__NEW_UTS_LEN` is 64 (`include/uapi/linux/utsname.h`).
const LONGEST: usize = 256;

/// The name that the kernel reports below a procfs mount; empty if it cannot be read.
pub fn hostname(proc: &Path) -> String {
    let text = foreign::read(&proc.join("sys/kernel/hostname"), LONGEST).unwrap_or_default();
    String::from_utf8_lossy(&text).trim().to_owned()
}
