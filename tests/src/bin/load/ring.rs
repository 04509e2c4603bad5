//! An `io_uring(7)` instance that makes one system call at a time.

use std::os::fd::RawFd;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

// Of `include/uapi/linux/io_uring.h`.
const ENTRIES: usize = 4;
const OFFSET_OF_CALLS: libc::off_t = 0x1000_0000;
const SINGLE_MAPPING: u32 = 1;
const GET_EVENTS: u32 = 1;
const OPEN: u8 = 18;
const CLOSE: u8 = 19;

/// `struct io_uring_params`.
#[repr(C)]
#[derive(Default)]
struct Parameters {
    entries: u32,
    results: u32,
    flags: u32,
    threads: [u32; 2],
    features: u32,
    more: [u32; 4],
    /// Offsets in the mapping: head, tail, mask, entries, flags, dropped, and the array of calls to make.
    of_calls: [u32; 10],
    /// Head, tail, mask, entries, overflow, and the array of results.
    of_results: [u32; 10],
}

/// `struct io_uring_sqe`, as far as it is used here.
#[repr(C)]
#[derive(Default)]
struct Call {
    operation: u8,
    flags: u8,
    priority: u16,
    file: i32,
    offset: u64,
    address: u64,
    more: [u64; 5],
}

/// The ring, with all that it has mapped.
pub(crate) struct Ring {
    file: RawFd,
    parameters: Parameters,
    mapping: *mut u8,
    calls: *mut Call,
}

impl Ring {
    /// Makes one; `None` if the kernel does not provide it.
    pub(crate) fn new() -> Option<Self> {
        let mut parameters = Parameters::default();
        // SAFETY: the parameters outlive the call.
        let file = unsafe { libc::syscall(libc::SYS_io_uring_setup, ENTRIES, &raw mut parameters) };
        let file = RawFd::try_from(file).ok().filter(|file| *file >= 0)?;
        assert!(parameters.features & SINGLE_MAPPING != 0);
        let map = |length: usize, offset: libc::off_t| {
            let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_POPULATE);
            // SAFETY: makes a new mapping.
            let mapped = unsafe { libc::mmap(ptr::null_mut(), length, access, kind, file, offset) };
            assert!(mapped != libc::MAP_FAILED);
            mapped
        };
        let mapping = map(4096, 0).cast();
        let calls = map(ENTRIES * size_of::<Call>(), OFFSET_OF_CALLS).cast();
        Some(Self { file, parameters, mapping, calls })
    }

    /// Opens a file.
    pub(crate) fn open(&mut self) -> RawFd {
        let path = c"/dev/null".as_ptr() as u64;
        self.call(Call { operation: OPEN, file: libc::AT_FDCWD, address: path, ..Call::default() })
    }

    /// Closes a file.
    pub(crate) fn close(&mut self, file: RawFd) {
        assert_eq!(self.call(Call { operation: CLOSE, file, ..Call::default() }), 0);
    }

    /// Makes a call, and returns its result.
    fn call(&mut self, call: Call) -> i32 {
        let [_, tail, mask, _, _, _, array, ..] = self.parameters.of_calls;
        let [head, _, result_mask, _, _, results, ..] = self.parameters.of_results;
        // SAFETY: the kernel has given the offsets in the mapping, which is large enough for them.
        unsafe {
            let at = self.word(tail).load(Ordering::Relaxed);
            let place = at & self.word(mask).load(Ordering::Relaxed);
            self.calls.add(place as usize).write(call);
            self.word(array + 4 * place).store(place, Ordering::Relaxed);
            self.word(tail).store(at + 1, Ordering::Release);
            let none = ptr::null::<u8>();
            let made = libc::syscall(libc::SYS_io_uring_enter, self.file, 1, 1, GET_EVENTS, none, 0);
            assert_eq!(made, 1, "{}", std::io::Error::last_os_error());
            let at = self.word(head).load(Ordering::Acquire);
            let place = at & self.word(result_mask).load(Ordering::Relaxed);
            // A result is sixteen bytes: eight of the caller's, the return value, and flags.
            let result = self.word(results + 16 * place + 8).load(Ordering::Acquire).cast_signed();
            self.word(head).store(at + 1, Ordering::Release);
            assert!(result >= 0, "{}", std::io::Error::from_raw_os_error(-result));
            result
        }
    }

    /// A word of the mapping.
    ///
    /// # Safety
    /// The kernel must have given the offset.
    unsafe fn word(&self, offset: u32) -> &AtomicU32 {
        // SAFETY: the offset is the kernel's by this function's contract: of an aligned word within the mapping, which
        // lives as long as `self`. The kernel writes it too, so it is an atomic.
        unsafe { &*self.mapping.add(offset as usize).cast() }
    }
}
