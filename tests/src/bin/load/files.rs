//! Open descriptors, and files.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use crate::held::Held;
use crate::time::now;

/// Opens `count` descriptors, with a pause before each.
pub(crate) fn open(count: u64, pause: Duration) -> Held {
    let enough = libc::rlimit { rlim_cur: 20_000, rlim_max: 20_000 };
    // SAFETY: `enough` outlives the call. A refusal shows when a file cannot be opened.
    unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const enough) };
    let one = |_| {
        std::thread::sleep(pause);
        File::open("/dev/null").unwrap()
    };
    Held::Files((0..count).map(one).collect())
}

/// Tables of descriptors of every kind, with `count` descriptors in each: one that two processes share, one that the
/// threads of a process share, and one that a thread has for itself.
pub(crate) fn tables(count: u64) -> Held {
    let flags = u64::try_from(libc::CLONE_FILES | libc::SIGCHLD).unwrap();
    // SAFETY: this program has one thread, and the child, which has memory of its own, sleeps until it is killed.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    assert!(pid >= 0, "clone: {}", std::io::Error::last_os_error());
    if pid == 0 {
        // SAFETY: takes a number; the child ends with this program.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        loop {
            std::thread::sleep(Duration::from_secs(3600));
        }
    }
    let ready = Arc::new(Barrier::new(3));
    for is_apart in [false, true] {
        let ready = Arc::clone(&ready);
        std::thread::spawn(move || {
            // SAFETY: takes a number.
            assert!(!is_apart || unsafe { libc::unshare(libc::CLONE_FILES) } == 0);
            let _files = open(count, Duration::ZERO);
            ready.wait();
            std::thread::sleep(Duration::from_secs(3600));
        });
    }
    ready.wait();
    Held::Nothing
}

/// The unit of direct I/O, aligned as a block device demands.
#[repr(align(4096))]
struct Block([u8; 4096]);

/// Reads or writes a block device past the page cache, a block at a time (`open(2)`, `O_DIRECT`).
pub(crate) fn around_the_cache(
    disk: &str,
    bytes: u64,
    work: impl Fn(&mut File, &mut [u8]) -> std::io::Result<()>,
) -> Held {
    let mut disk = File::options().read(true).write(true).custom_flags(libc::O_DIRECT).open(disk).unwrap();
    let mut block = Box::new(Block([7; 4096]));
    (0..bytes / 4096).for_each(|_| work(&mut disk, &mut block.0).unwrap());
    Held::Nothing
}

/// Reads the first bytes of a file, through the page cache, a number of times.
pub(crate) fn read(file: &str, bytes: u64, times: u64) -> Held {
    let file = File::open(file).unwrap();
    for _ in 0..times {
        (&file).rewind().unwrap();
        std::io::copy(&mut (&file).take(bytes), &mut std::io::sink()).unwrap();
    }
    // The cached pages of a block device are dropped when its last user closes it.
    Held::Files(vec![file])
}

/// Looks at each page of the first bytes of a file through mappings of its own, several times: often enough that the
/// kernel takes the pages for ones in use.
pub(crate) fn map(file: &str, bytes: u64) -> Held {
    let file = File::open(file).unwrap();
    let length = usize::try_from(bytes).unwrap();
    for _ in 0..3 {
        // SAFETY: the mapping is private to this function, and is read only within its length before it is removed.
        unsafe {
            let start =
                libc::mmap(std::ptr::null_mut(), length, libc::PROT_READ, libc::MAP_SHARED, file.as_raw_fd(), 0);
            assert!(start != libc::MAP_FAILED, "mmap: {}", std::io::Error::last_os_error());
            (0..length).step_by(4096).for_each(|at| _ = start.cast::<u8>().add(at).read_volatile());
            assert_eq!(libc::munmap(start, length), 0);
        }
    }
    Held::Files(vec![file])
}

/// Writes the first bytes of a file and leaves it to the kernel when they reach the disk.
pub(crate) fn write_behind(file: &str, bytes: u64) -> Held {
    let mut file = File::options().write(true).open(file).unwrap();
    file.write_all(&vec![7; usize::try_from(bytes).unwrap()]).unwrap();
    Held::Files(vec![file])
}

/// Writes the first bytes of a file and waits until they have reached the disk, again and again.
pub(crate) fn write_out(file: &str, bytes: u64, time: Duration) -> Held {
    let mut file = File::options().write(true).open(file).unwrap();
    let (end, all) = (now() + time, vec![7; usize::try_from(bytes).unwrap()]);
    while now() < end {
        file.rewind().unwrap();
        file.write_all(&all).unwrap();
        file.sync_data().unwrap();
    }
    Held::Files(vec![file])
}

/// Makes empty files in a directory.
pub(crate) fn name(directory: &str, count: u64) -> Held {
    (0..count).for_each(|at| drop(File::create(Path::new(directory).join(at.to_string())).unwrap()));
    Held::Nothing
}
