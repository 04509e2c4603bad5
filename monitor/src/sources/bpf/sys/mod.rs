//! The raw kernel interface: what `aya` lacks. The only module with unsafe code; everything in it is safe to call.
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

/// Opens what is pinned at a path.
///
/// # Errors
/// The kernel's error.
pub(super) fn open_pinned(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)?;
    let mut attr = Pin { path: path.as_ptr() as u64, fd: 0, flags: 0 };
    // SAFETY: `path` is a text that ends with a zero, and outlives the call; the command makes a descriptor.
    unsafe { descriptor(BPF_OBJ_GET, &mut attr) }
}

/// Pins an object at a path.
///
/// # Errors
/// The kernel's error.
pub(super) fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)?;
    let mut attr = Pin { path: path.as_ptr() as u64, fd: number(object), flags: 0 };
    // SAFETY: `path` is a text that ends with a zero, and outlives the call.
    unsafe { bpf(BPF_OBJ_PIN, &mut attr) }?;
    Ok(())
}

/// The part of `union bpf_attr` that the exchange of a link's program takes.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Update {
    link: u32,
    program: u32,
    flags: u32,
    old_program: u32,
}

/// Gives a link another program, between two events.
///
/// # Errors
/// The kernel's error: `ENOLINK` if the link's target is gone.
pub(super) fn update(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = Update { link: number(link), program: number(program), flags: 0, old_program: 0 };
    // SAFETY: nothing in `attr` is an address.
    unsafe { bpf(BPF_LINK_UPDATE, &mut attr) }?;
    Ok(())
}

/// The part of `union bpf_attr` that asks about an object.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Ask {
    fd: u32,
    length: u32,
    info: u64,
}

/// The beginning of `struct bpf_prog_info`, which an older kernel fills in as far as it knows it.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct ProgramInfo {
    others: [u64; 26],
    recursion_misses: u64,
}

/// How often a program did not begin because it was running on the same CPU already; 0 before Linux 5.12.
///
/// # Errors
/// The kernel's error.
pub(super) fn recursion_misses(program: BorrowedFd<'_>) -> io::Result<u64> {
    let mut info = ProgramInfo::zeroed();
    let length = u32::try_from(size_of::<ProgramInfo>()).unwrap_or(0);
    let mut attr = Ask { fd: number(program), length, info: &raw mut info as u64 };
    // SAFETY: `info` has that length and outlives the call; being zero, it asks for nothing to be written elsewhere.
    unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attr) }?;
    Ok(info.recursion_misses)
}

/// Has all threads share one heap, and what is large go back as soon as it is not needed: thousands of reports come and
/// go in each thread, and what one has let go the others cannot use otherwise. To be called before there are threads.
pub fn share_memory() {
    // `man 3 mallopt`: large is more than a page, and less than what grows with the containers.
    #[cfg(target_env = "gnu")]
    for (parameter, value) in
        [(libc::M_ARENA_MAX, 1), (libc::M_MMAP_THRESHOLD, 128 << 10), (libc::M_TRIM_THRESHOLD, 128 << 10)]
    {
        // SAFETY: the function takes no pointers.
        unsafe { libc::mallopt(parameter, value) };
    }
}

/// Gives memory that was freed back to the system: reading the kernel's types takes some megabytes once, which the
/// allocator would keep for ever.
pub(super) fn release_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the function takes no pointers and may be called at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}
