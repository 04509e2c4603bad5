//! The system call `bpf(2)`.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use bytemuck::Pod;

/// `bpf(2)`.
///
/// # Safety
/// `attr` must have the layout that the command takes, and the memory that it points to must outlive the call.
pub(super) unsafe fn bpf<T: Pod>(command: libc::c_int, attr: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: `attr` has the command's layout and valid addresses by this function's contract; its length is passed, so
    // the kernel reads and writes no byte behind it.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attr, size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Calls `bpf(2)` with a command that creates a descriptor.
///
/// # Safety
/// As for [`bpf`], and the command must create a descriptor.
pub(super) unsafe fn descriptor<T: Pod>(command: libc::c_int, attr: &mut T) -> io::Result<OwnedFd> {
    // SAFETY: `attr` has the command's layout and valid addresses by this function's contract.
    let fd = unsafe { bpf(command, attr) }?;
    let fd = libc::c_int::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel has just created the descriptor for this process.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Returns the number of a descriptor, as `union bpf_attr` takes it.
pub(super) fn number(fd: BorrowedFd<'_>) -> u32 {
    u32::try_from(fd.as_raw_fd()).unwrap_or(u32::MAX)
}
