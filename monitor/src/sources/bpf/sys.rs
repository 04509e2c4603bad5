//! The raw kernel interface: what `aya` lacks. The only module with unsafe code; everything in it is safe to call.
#![expect(unsafe_code, reason = "system calls that no library wraps")]

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use aya::maps::MapData;
use bytemuck::{Pod, Zeroable};

/// `BPF_MAP_LOOKUP_BATCH` of `enum bpf_cmd` (`include/uapi/linux/bpf.h`), Linux 5.6.
const BPF_MAP_LOOKUP_BATCH: libc::c_int = 24;

/// `BPF_MAP_DELETE_ELEM` of the same.
const BPF_MAP_DELETE_ELEM: libc::c_int = 3;

/// The part of `union bpf_attr` that the commands for one element take.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Element {
    map_fd: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// The part of `union bpf_attr` that the batch commands take.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Batch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// A per-CPU hash map with 64-bit keys, read in batches: one system call for hundreds of entries.
#[derive(Debug)]
pub(super) struct PerCpuHash<V> {
    map: OwnedFd,
    cpus: usize,
    keys: Vec<u64>,
    values: Vec<V>,
    kind: PhantomData<V>,
}

/// Entries that are asked for at once, until the kernel says that a bucket has more.
const FIRST_BATCH: usize = 256;

impl<V: Pod> PerCpuHash<V> {
    /// Takes hold of a map.
    ///
    /// # Errors
    /// When the map's keys and values are not as this type reads them.
    pub(super) fn new(map: &MapData) -> io::Result<Self> {
        let info = map.info().map_err(io::Error::other)?;
        let cpus =
            aya::util::nr_cpus().map_err(|(path, error)| io::Error::new(error.kind(), format!("{path}: {error}")))?;
        // The kernel rounds each CPU's value up to eight bytes; a `V` of that size needs no rounding.
        let fits = info.key_size() as usize == size_of::<u64>() && info.value_size() as usize == size_of::<V>();
        if !fits || !size_of::<V>().is_multiple_of(8) || size_of::<V>() == 0 {
            return Err(io::Error::other(format!(
                "the map has keys of {} and values of {} bytes",
                info.key_size(),
                info.value_size()
            )));
        }
        let map = map.fd().as_fd().try_clone_to_owned()?;
        Ok(Self { map, cpus: cpus.max(1), keys: Vec::new(), values: Vec::new(), kind: PhantomData })
    }

    /// Calls `entry` with each key and its values, one per possible CPU.
    ///
    /// # Errors
    /// What the kernel said.
    pub(super) fn for_each(&mut self, mut entry: impl FnMut(u64, &[V])) -> io::Result<()> {
        let mut position: Option<[u8; 8]> = None;
        let mut batch = self.keys.len().max(FIRST_BATCH);
        loop {
            self.keys.resize(batch, 0);
            self.values.resize(batch * self.cpus, V::zeroed());
            let mut next = [0; 8];
            let (count, more) = match self.lookup(position.as_ref(), &mut next) {
                Ok(count) => (count, true),
                Err((error, count)) => match error.raw_os_error() {
                    Some(libc::ENOENT) => (count, false),
                    Some(libc::ENOSPC) => {
                        batch *= 2;
                        continue;
                    }
                    _ => return Err(error),
                },
            };
            for (key, values) in self.keys.iter().zip(self.values.chunks_exact(self.cpus)).take(count) {
                entry(*key, values);
            }
            if !more {
                return Ok(());
            }
            position = Some(next);
        }
    }

    /// Removes a key. One that is not there has been removed.
    ///
    /// # Errors
    /// What the kernel said.
    pub(super) fn remove(&mut self, key: u64) -> io::Result<()> {
        let mut attr = Element {
            map_fd: u32::try_from(self.map.as_raw_fd()).unwrap_or(u32::MAX),
            padding: 0,
            key: &raw const key as u64,
            value: 0,
            flags: 0,
        };
        // SAFETY: `key` has the eight bytes that `new` has checked the map's keys to have, and outlives the call.
        let result = unsafe { libc::syscall(libc::SYS_bpf, BPF_MAP_DELETE_ELEM, &raw mut attr, size_of::<Element>()) };
        match io::Error::last_os_error() {
            error if result != 0 && error.raw_os_error() != Some(libc::ENOENT) => Err(error),
            _ => Ok(()),
        }
    }

    /// One batch from `position` on. `ENOENT` says that it was the last one, `ENOSPC` that it was too small.
    fn lookup(&mut self, position: Option<&[u8; 8]>, next: &mut [u8; 8]) -> Result<usize, (io::Error, usize)> {
        let mut attr = Batch {
            in_batch: position.map_or(0, |position| position.as_ptr() as u64),
            out_batch: next.as_mut_ptr() as u64,
            keys: self.keys.as_mut_ptr() as u64,
            values: self.values.as_mut_ptr() as u64,
            count: u32::try_from(self.keys.len()).unwrap_or(u32::MAX),
            map_fd: u32::try_from(self.map.as_raw_fd()).unwrap_or(u32::MAX),
            elem_flags: 0,
            flags: 0,
        };
        // SAFETY: `keys` has room for `count` keys and `values` for `count` times `cpus` values; `new` has checked that the
        // kernel's keys and values have these types' sizes, and any bytes are valid values of a `Pod` type. `position` and
        // `next` have the four bytes that a hash map's position has. All of them outlive the call.
        let result = unsafe { libc::syscall(libc::SYS_bpf, BPF_MAP_LOOKUP_BATCH, &raw mut attr, size_of::<Batch>()) };
        let count = attr.count as usize;
        if result == 0 { Ok(count) } else { Err((io::Error::last_os_error(), count.min(self.keys.len()))) }
    }
}

impl<V> AsFd for PerCpuHash<V> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
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
