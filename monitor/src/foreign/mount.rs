//! The mount that an open file lies on.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::path::Arg;

use super::file::read;

/// Flags of a handle that only names a file: no device is opened, no link is followed, and no file system is asked.
pub const NAME: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The number of a mount, as in the first column of `/proc/PID/mountinfo`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MountId(pub u64);

/// Returns the mount of a handle, from `/proc/thread-self/fdinfo` (`Documentation/filesystems/proc.rst` section 3.8): a
/// thread may have a table of descriptors of its own. The file system is not asked, because it may never answer.
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

/// Returns a handle that names a file in a directory.
///
/// # Errors
/// Returns the error of the system call; `EXDEV` for a file of another mount.
pub fn named(mount: MountId, parent: impl AsFd, name: impl Arg) -> io::Result<OwnedFd> {
    on_mount(mount, rustix::fs::openat(parent, name, NAME, Mode::empty())?)
}

/// Returns the handle if it lies on the mount.
pub(super) fn on_mount(mount: MountId, handle: OwnedFd) -> io::Result<OwnedFd> {
    if mount_id(&handle)? == mount { Ok(handle) } else { Err(Errno::XDEV.into()) }
}
