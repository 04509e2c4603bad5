//! Array maps that lie in this process' memory.

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
    /// Takes the map into memory.
    ///
    /// # Errors
    /// When the map's values are not as this type reads them, or the kernel refuses.
    pub(in super::super) fn new(map: &MapData) -> io::Result<Self> {
        let info = map.info().map_err(io::Error::other)?;
        let entries = info.max_entries() as usize;
        // The kernel rounds each value up to eight bytes; a `V` of that size needs no rounding.
        if info.value_size() as usize != size_of::<V>() || !size_of::<V>().is_multiple_of(8) || size_of::<V>() == 0 {
            return Err(io::Error::other(format!("the map has values of {} bytes", info.value_size())));
        }
        let length = entries * size_of::<V>();
        let map = map.fd().as_fd().as_raw_fd();
        // SAFETY: a new mapping, at an address that the kernel chooses.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), length, libc::PROT_READ, libc::MAP_SHARED, map, 0) };
        match NonNull::new(start.cast::<V>()) {
            Some(values) if start != libc::MAP_FAILED => Ok(Self { start: values, entries, kind: PhantomData }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// How many values there are.
    pub(in super::super) fn len(&self) -> usize {
        self.entries
    }

    /// A value; `None` behind the end.
    pub(in super::super) fn get(&self, at: usize) -> Option<V> {
        // SAFETY: the mapping has `entries` values and lives as long as `self`; it begins at a page and so is aligned, and any
        // bytes are a valid value of a `Pod` type. Volatile, because the kernel may write at any time: then the value is
        // neither the old nor the new one, but it is one.
        (at < self.entries).then(|| unsafe { self.start.add(at).read_volatile() })
    }
}

impl<V> Drop for Table<V> {
    fn drop(&mut self) {
        // SAFETY: the mapping is this one's own, and nothing points into it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.entries * size_of::<V>()) };
    }
}
