//! Raw kernel interface that `aya` lacks. The only module with unsafe code; its API is safe.
#![expect(unsafe_code, reason = "system calls that no library wraps")]

mod iterator;
mod maps;
mod syscall;
mod table;

use std::ffi::CString;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use bytemuck::{Pod, Zeroable};

pub(super) use self::iterator::{Iterator, Over};
pub(super) use self::maps::{Hash, PerCpuHash, exchange};
use self::syscall::{bpf, descriptor, number};
pub(super) use self::table::Table;

// Of `enum bpf_cmd` (`include/uapi/linux/bpf.h`).
const BPF_OBJ_PIN: libc::c_int = 6;
const BPF_OBJ_GET: libc::c_int = 7;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
/// Linux 5.7.
const BPF_LINK_UPDATE: libc::c_int = 29;

/// The part of `union bpf_attr` that pinned objects take.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Pin {
    path: u64,
    fd: u32,
    flags: u32,
}

/// Opens a pinned object.
///
/// # Errors
/// The kernel's error.
pub(super) fn open_pinned(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)?;
    let mut attr = Pin { path: path.as_ptr() as u64, fd: 0, flags: 0 };
    // SAFETY: `path` is a NUL-terminated string that outlives the call; the command creates a descriptor.
    unsafe { descriptor(BPF_OBJ_GET, &mut attr) }
}

/// Pins an object at a path.
///
/// # Errors
/// The kernel's error.
pub(super) fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)?;
    let mut attr = Pin { path: path.as_ptr() as u64, fd: number(object), flags: 0 };
    // SAFETY: `path` is a NUL-terminated string that outlives the call.
    unsafe { bpf(BPF_OBJ_PIN, &mut attr) }?;
    Ok(())
}

/// The part of `union bpf_attr` that `BPF_LINK_UPDATE` takes.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Update {
    link: u32,
    program: u32,
    flags: u32,
    old_program: u32,
}

/// Replaces the program of a link, atomically.
///
/// # Errors
/// The kernel's error: `ENOLINK` if the link's target is gone.
pub(super) fn update(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = Update { link: number(link), program: number(program), flags: 0, old_program: 0 };
    // SAFETY: `attr` contains no address.
    unsafe { bpf(BPF_LINK_UPDATE, &mut attr) }?;
    Ok(())
}

/// The part of `union bpf_attr` that `BPF_OBJ_GET_INFO_BY_FD` takes.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Ask {
    fd: u32,
    length: u32,
    info: u64,
}

/// The first fields of `struct bpf_prog_info`; an older kernel fills in those that it knows.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct ProgramInfo {
    others: [u64; 26],
    recursion_misses: u64,
}

/// Returns how often the kernel skipped a program because it was already running on the same CPU; 0 before Linux 5.12.
///
/// # Errors
/// The kernel's error.
pub(super) fn recursion_misses(program: BorrowedFd<'_>) -> io::Result<u64> {
    let mut info = ProgramInfo::zeroed();
    let length = u32::try_from(size_of::<ProgramInfo>()).unwrap_or(0);
    let mut attr = Ask { fd: number(program), length, info: &raw mut info as u64 };
    // SAFETY: `info` has that length and outlives the call; its zeroed pointers request no further output.
    unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attr) }?;
    Ok(info.recursion_misses)
}

/// Makes all threads share one heap, and returns large allocations to the system at once. Each thread allocates
/// thousands of reports, and memory freed in one arena is not reused by the others. Must be called before threads
/// start.
pub fn share_memory() {
    // `man 3 mallopt`: the threshold is above one page, and below what grows with the number of containers.
    #[cfg(target_env = "gnu")]
    for (parameter, value) in
        [(libc::M_ARENA_MAX, 1), (libc::M_MMAP_THRESHOLD, 128 << 10), (libc::M_TRIM_THRESHOLD, 128 << 10)]
    {
        // SAFETY: the function takes no pointers.
        unsafe { libc::mallopt(parameter, value) };
    }
}

/// Gives this thread a table of descriptors of its own, without those that the process has opened: a thread that the
/// kernel cannot end then holds none of them, the lock on the pins least of all. The thread must not use a descriptor
/// that was opened elsewhere. Before Linux 5.9 it keeps them.
///
/// The thread handles no signals from then on: their handlers write to a descriptor of the process, and a SIGTERM that
/// the kernel gives to this thread would be lost.
pub(crate) fn leave_descriptors() {
    const AFTER_STDERR: libc::c_uint = 3;
    const LAST: libc::c_uint = libc::c_uint::MAX;
    // SAFETY: the set is initialized before it is used, and outlives the calls. `close_range` takes no pointers; it
    // closes descriptors in the copy of the table that it makes for this thread alone: owners in other threads keep
    // theirs.
    unsafe {
        let mut signals = std::mem::zeroed();
        libc::sigfillset(&raw mut signals);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const signals, std::ptr::null_mut());
        libc::syscall(libc::SYS_close_range, AFTER_STDERR, LAST, libc::CLOSE_RANGE_UNSHARE);
    }
}

/// Returns freed memory to the system: parsing the kernel's BTF takes some megabytes once, which the allocator would
/// keep otherwise.
pub(super) fn release_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the function takes no pointers and may be called at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::thread;

    use crate::foreign;

    /// The numbers of signals that a thread blocks (`SigBlk` of `proc_pid_status(5)`: signal 1 is bit 0).
    fn blocked() -> u64 {
        let status = foreign::read(Path::new("/proc/thread-self/status"), 4096).unwrap();
        let status = String::from_utf8(status).unwrap();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap();
        u64::from_str_radix(mask.trim(), 16).unwrap()
    }

    #[test]
    fn a_thread_without_descriptors_handles_no_signal() {
        let before = blocked();
        let thread = thread::spawn(|| {
            super::leave_descriptors();
            blocked()
        });
        for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGTERM] {
            assert_eq!(before >> (signal - 1) & 1, 0);
        }
        let after = thread.join().unwrap();
        for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGTERM] {
            assert_eq!(after >> (signal - 1) & 1, 1, "{signal}");
        }
        assert_eq!(blocked(), before);
    }
}
