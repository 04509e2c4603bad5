//! Array maps mapped into this process (`mmap`).

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::NonNull;

use aya::maps::MapData;
use bytemuck::Pod;

/// An array map (`BPF_F_MMAPABLE`), read without a system call.
#[derive(Debug)]
pub(in super::super) struct Table<V> {
    start: NonNull<V>,
    entries: usize,
    kind: PhantomData<V>,
}

// SAFETY: the memory is shared with the kernel and belongs to no thread.
unsafe impl<V: Send> Send for Table<V> {}

impl<V: Pod> Table<V> {
    /// Maps the array.
    ///
    /// # Errors
    /// If the map's values have another size than this type's, or the kernel refuses.
    pub(in super::super) fn new(map: &MapData) -> io::Result<Self> {
        let info = map.info().map_err(io::Error::other)?;
        let entries = info.max_entries() as usize;
        // The kernel rounds each value up to eight bytes; a `V` of that size needs no rounding.
        if info.value_size() as usize != size_of::<V>() || !size_of::<V>().is_multiple_of(8) || size_of::<V>() == 0 {
            return Err(io::Error::other(format!("the map has values of {} bytes", info.value_size())));
        }
        let length = entries * size_of::<V>();
        let map = map.fd().as_fd().as_raw_fd();
        // SAFETY: a new mapping at an address that the kernel chooses.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), length, libc::PROT_READ, libc::MAP_SHARED, map, 0) };
        match NonNull::new(start.cast::<V>()) {
            Some(values) if start != libc::MAP_FAILED => Ok(Self { start: values, entries, kind: PhantomData }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Returns the number of values.
    pub(in super::super) fn len(&self) -> usize {
        self.entries
    }

    /// Returns a value; `None` past the end.
    pub(in super::super) fn get(&self, at: usize) -> Option<V> {
        // SAFETY: the mapping has `entries` values and lives as long as `self`; it is page-aligned, and any bytes are a
        // valid value of a `Pod` type. Volatile, because the kernel may write at any time: a torn value is still a
        // valid one.
        (at < self.entries).then(|| unsafe { self.start.add(at).read_volatile() })
    }
}

impl<V> Drop for Table<V> {
    fn drop(&mut self) {
        // SAFETY: `self` owns the mapping, and no reference into it is left.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.entries * size_of::<V>()) };
    }
}
