//! Mounts of a test's own.

use std::ffi::CString;
use std::fs;
use std::io;
use std::path::Path;

/// Gives this thread, and the processes that it starts, a mount namespace of its own: a BPF file system in `dir`, and
/// an empty `/run`.
///
/// # Errors
/// The system's error.
pub fn own_mounts(dir: &Path) -> io::Result<()> {
    let checked = |result: i32| if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
    let bpf = dir.join("bpf");
    fs::create_dir(&bpf)?;
    let point = CString::new(bpf.to_str().unwrap()).unwrap();
    // SAFETY: the texts end with a zero; nothing else is pointed to.
    unsafe {
        checked(libc::unshare(libc::CLONE_NEWNS))?;
        let none = std::ptr::null();
        checked(libc::mount(none, c"/".as_ptr(), none, libc::MS_REC | libc::MS_PRIVATE, none.cast()))?;
        checked(libc::mount(c"bpf".as_ptr(), point.as_ptr(), c"bpf".as_ptr(), 0, none.cast()))?;
        checked(libc::mount(c"run".as_ptr(), c"/run".as_ptr(), c"tmpfs".as_ptr(), 0, none.cast()))
    }
}
