//! Loads of memory.

use std::fs::File;
use std::io::Write;
use std::os::fd::FromRawFd;
use std::time::Duration;

use crate::held::Held;
use crate::time::now;

use crate::tasks::{child, park};

/// A process that takes memory until it is killed, with `threads` idle threads.
pub(crate) fn hog(bytes: u64, threads: u64) -> Held {
    child(|| {
        park(threads);
        let mut all = Vec::new();
        for _ in 0..bytes >> 20 {
            all.push(vec![7u8; 1 << 20]);
        }
        i32::try_from(std::hint::black_box(all).len()).unwrap_or_default()
    });
    Held::Nothing
}

/// Writes to every page of `bytes` of memory, again and again for a number of milliseconds.
pub(crate) fn sweep(bytes: u64, milliseconds: u64) -> Held {
    let end = now() + Duration::from_millis(milliseconds);
    let mut memory = vec![7u8; usize::try_from(bytes).unwrap()];
    while now() < end {
        memory.iter_mut().step_by(4096).for_each(|byte| *byte = byte.wrapping_add(1));
        std::hint::black_box(&mut memory);
    }
    Held::Memory(memory)
}

/// Holds bytes of shared memory: a file without a name.
pub(crate) fn share(bytes: u64) -> Held {
    // SAFETY: the name is a string that ends with a zero, and the new descriptor is nobody else's.
    let mut file = unsafe {
        let descriptor = libc::memfd_create(c"shared".as_ptr(), 0);
        assert!(descriptor >= 0, "memfd_create: {}", std::io::Error::last_os_error());
        File::from_raw_fd(descriptor)
    };
    file.write_all(&vec![7; usize::try_from(bytes).unwrap()]).unwrap();
    Held::Files(vec![file])
}
