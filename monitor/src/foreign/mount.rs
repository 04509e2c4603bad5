//! The mount that an open file lies on.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;

use super::file::read;

/// The number of a mount, as in the first column of `/proc/PID/mountinfo`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MountId(pub u64);

/// Returns the mount of a handle of this thread, which may have a table of its own, from `/proc/thread-self/fdinfo` (`Documentation/filesystems/proc.rst` section 3.8). The file
/// system itself is not asked: it may never answer.
///
/// # Errors
/// If `/proc` is not mounted or does not tell.
pub fn mount_id(handle: impl AsFd) -> io::Result<MountId> {
    let path = PathBuf::from(format!("/proc/thread-self/fdinfo/{}", handle.as_fd().as_raw_fd()));
    let text = read(&path, 4096)?;
    let line = text.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(b"mnt_id:"));
    let number = line.and_then(|line| std::str::from_utf8(line).ok()?.trim().parse().ok());
    number.map(MountId).ok_or_else(|| io::Error::other("/proc/thread-self/fdinfo names no mount"))
}
