//! The system call `bpf(2)`.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use bytemuck::Pod;

/// `bpf(2)`.
///
/// # Safety
/// `attr` must be what the command takes, and what it points to must live as long as the call.
pub(super) unsafe fn bpf<T: Pod>(command: libc::c_int, attr: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: as required of the caller.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attr, size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// The same for a command that makes a descriptor.
///
/// # Safety
/// As [`bpf`], and the command must be one of those.
pub(super) unsafe fn descriptor<T: Pod>(command: libc::c_int, attr: &mut T) -> io::Result<OwnedFd> {
    // SAFETY: as required of the caller.
    let fd = unsafe { bpf(command, attr) }?;
    let fd = libc::c_int::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made the descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The number of a descriptor, as the attributes of `bpf(2)` take it.
pub(super) fn number(fd: BorrowedFd<'_>) -> u32 {
    u32::try_from(fd.as_raw_fd()).unwrap_or(u32::MAX)
}
