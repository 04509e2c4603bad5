//! Hash maps by cgroup id.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use aya::maps::MapData;
use bytemuck::{Pod, Zeroable};

use super::syscall::{bpf, descriptor, number};

// Of `enum bpf_cmd` (`include/uapi/linux/bpf.h`).
const BPF_MAP_CREATE: libc::c_int = 0;
const BPF_MAP_LOOKUP_ELEM: libc::c_int = 1;
const BPF_MAP_UPDATE_ELEM: libc::c_int = 2;
const BPF_MAP_DELETE_ELEM: libc::c_int = 3;
const BPF_MAP_GET_NEXT_KEY: libc::c_int = 4;
/// Of per-CPU hash maps since Linux 5.14.
const BPF_MAP_LOOKUP_AND_DELETE_ELEM: libc::c_int = 21;
/// Linux 5.6.
const BPF_MAP_LOOKUP_BATCH: libc::c_int = 24;

// Of `enum bpf_map_type`.
const BPF_MAP_TYPE_HASH: u32 = 1;
const BPF_MAP_TYPE_PERCPU_HASH: u32 = 5;

/// The part of `union bpf_attr` that `BPF_MAP_CREATE` takes.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Make {
    kind: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
    inner: u32,
    node: u32,
    name: [u8; 16],
}

/// Creates a map with 64-bit keys.
fn make<V>(kind: u32, label: &str, entries: u32) -> io::Result<OwnedFd> {
    let mut name = [0; 16];
    // The last byte stays zero.
    name.iter_mut().take(15).zip(label.bytes()).for_each(|(to, from)| *to = from);
    let value_size = u32::try_from(size_of::<V>()).map_err(io::Error::other)?;
    let key_size = 8;
    let mut attr = Make { kind, key_size, value_size, max_entries: entries, flags: 0, inner: 0, node: 0, name };
    // SAFETY: `attr` contains no address; the command creates a descriptor.
    unsafe { descriptor(BPF_MAP_CREATE, &mut attr) }
}

/// Puts a map into an outer map of one entry. When this returns, no program uses the previous inner map.
///
/// # Errors
/// The kernel's error.
pub(in super::super) fn exchange(outer: BorrowedFd<'_>, map: BorrowedFd<'_>) -> io::Result<()> {
    let value = number(map);
    // SAFETY: an outer map has a key of four bytes, for which the eight of a zero suffice, and a value of four.
    unsafe { element(BPF_MAP_UPDATE_ELEM, outer, &0, &raw const value as u64) }?;
    Ok(())
}

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

impl Element {
    fn new(map: BorrowedFd<'_>, key: u64, value: u64) -> Self {
        Self { map_fd: number(map), padding: 0, key, value, flags: 0 }
    }
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

/// An error that the kernel returns though it is not meant for user space (`include/linux/errno.h`).
const ENOTSUPP: i32 = 524;

/// A per-CPU hash map with 64-bit keys, read in batches: one system call for hundreds of entries.
#[derive(Debug)]
pub(in super::super) struct PerCpuHash<V> {
    map: OwnedFd,
    entries: usize,
    cpus: usize,
    keys: Vec<u64>,
    values: Vec<V>,
    kind: PhantomData<V>,
}

/// Entries requested per batch, until the kernel reports a bucket with more.
const FIRST_BATCH: usize = 256;

impl<V: Pod> PerCpuHash<V> {
    /// Creates a map with `entries` entries.
    ///
    /// # Errors
    /// The kernel's error.
    pub(in super::super) fn make(label: &str, entries: u32) -> io::Result<Self> {
        Self::of(MapData::from_fd(make::<V>(BPF_MAP_TYPE_PERCPU_HASH, label, entries)?).map_err(io::Error::other)?)
    }

    /// Opens a pinned map.
    ///
    /// # Errors
    /// If there is none, or its keys and values have other sizes than this type's.
    pub(in super::super) fn open(path: &Path) -> io::Result<Self> {
        Self::of(MapData::from_pin(path).map_err(io::Error::other)?)
    }

    fn of(map: MapData) -> io::Result<Self> {
        let cpus =
            aya::util::nr_cpus().map_err(|(path, error)| io::Error::new(error.kind(), format!("{path}: {error}")))?;
        let entries = checked::<V>(&map)?;
        let map = map.fd().as_fd().try_clone_to_owned()?;
        Ok(Self { map, entries, cpus: cpus.max(1), keys: Vec::new(), values: Vec::new(), kind: PhantomData })
    }

    /// Returns the maximum number of entries.
    pub(in super::super) fn room(&self) -> usize {
        self.entries
    }

    /// Calls `entry` with each key and its values, one per possible CPU.
    ///
    /// # Errors
    /// The kernel's error.
    pub(in super::super) fn for_each(&mut self, mut entry: impl FnMut(u64, &[V])) -> io::Result<()> {
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

    /// Removes a key and returns its last values, one per possible CPU; `None` if it does not exist.
    ///
    /// # Errors
    /// The kernel's error.
    pub(in super::super) fn take(&mut self, key: u64) -> io::Result<Option<Vec<V>>> {
        let mut values = vec![V::zeroed(); self.cpus];
        let value = values.as_mut_ptr() as u64;
        // SAFETY: `checked` has verified the sizes of `key` and `values`; both outlive the calls.
        let found = unsafe {
            match element(BPF_MAP_LOOKUP_AND_DELETE_ELEM, self.map.as_fd(), &key, value) {
                // Before Linux 5.14 a per-CPU map needs two calls.
                Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | ENOTSUPP)) => {
                    let found = element(BPF_MAP_LOOKUP_ELEM, self.map.as_fd(), &key, value)?;
                    element(BPF_MAP_DELETE_ELEM, self.map.as_fd(), &key, 0)?;
                    found
                }
                found => found?,
            }
        };
        Ok(found.then_some(values))
    }

    /// Reads one batch from `position` on. `ENOENT` means that it was the last one, `ENOSPC` that it was too small.
    fn lookup(&mut self, position: Option<&[u8; 8]>, next: &mut [u8; 8]) -> Result<usize, (io::Error, usize)> {
        let mut attr = Batch {
            in_batch: position.map_or(0, |position| position.as_ptr() as u64),
            out_batch: next.as_mut_ptr() as u64,
            keys: self.keys.as_mut_ptr() as u64,
            values: self.values.as_mut_ptr() as u64,
            count: u32::try_from(self.keys.len()).unwrap_or(u32::MAX),
            map_fd: number(self.map.as_fd()),
            elem_flags: 0,
            flags: 0,
        };
        // SAFETY: `keys` has room for `count` keys and `values` for `count` times `cpus` values; `checked` has verified
        // that the kernel's keys and values have these types' sizes, and any bytes are valid values of a `Pod` type.
        // `position` and `next` have the four bytes of a hash map's position. All of them outlive the call.
        let result = unsafe { bpf(BPF_MAP_LOOKUP_BATCH, &mut attr) };
        let count = attr.count as usize;
        result.map(|_| count).map_err(|error| (error, count.min(self.keys.len())))
    }
}

/// A hash map with 64-bit keys that the agent writes, one entry at a time.
#[derive(Debug)]
pub(in super::super) struct Hash<V> {
    map: OwnedFd,
    entries: usize,
    kind: PhantomData<V>,
}

impl<V: Pod> Hash<V> {
    /// Creates a map with `entries` entries.
    ///
    /// # Errors
    /// The kernel's error.
    pub(in super::super) fn make(label: &str, entries: u32) -> io::Result<Self> {
        Self::of(MapData::from_fd(make::<V>(BPF_MAP_TYPE_HASH, label, entries)?).map_err(io::Error::other)?)
    }

    /// Opens a pinned map.
    ///
    /// # Errors
    /// If there is none, or its keys and values have other sizes than this type's.
    pub(in super::super) fn open(path: &Path) -> io::Result<Self> {
        Self::of(MapData::from_pin(path).map_err(io::Error::other)?)
    }

    fn of(map: MapData) -> io::Result<Self> {
        let entries = checked::<V>(&map)?;
        Ok(Self { map: map.fd().as_fd().try_clone_to_owned()?, entries, kind: PhantomData })
    }

    /// Returns the maximum number of entries.
    pub(in super::super) fn room(&self) -> usize {
        self.entries
    }

    /// Returns the value of a key.
    ///
    /// # Errors
    /// The kernel's error.
    pub(in super::super) fn get(&self, key: u64) -> io::Result<Option<V>> {
        let mut value = V::zeroed();
        // SAFETY: `checked` has verified the sizes of `key` and `value`; both outlive the call.
        let found = unsafe { element(BPF_MAP_LOOKUP_ELEM, self.map.as_fd(), &key, &raw mut value as u64) }?;
        Ok(found.then_some(value))
    }

    /// Sets the value of a key, atomically.
    ///
    /// # Errors
    /// The kernel's error.
    pub(in super::super) fn put(&mut self, key: u64, value: &V) -> io::Result<()> {
        // SAFETY: `checked` has verified the sizes of `key` and `value`, which the command reads; both outlive the
        // call.
        unsafe { element(BPF_MAP_UPDATE_ELEM, self.map.as_fd(), &key, &raw const *value as u64) }?;
        Ok(())
    }

    /// Removes a key; no error if it does not exist.
    ///
    /// # Errors
    /// The kernel's error.
    pub(in super::super) fn remove(&mut self, key: u64) -> io::Result<()> {
        // SAFETY: `checked` has verified the size of `key`, which outlives the call; the command uses no value.
        unsafe { element(BPF_MAP_DELETE_ELEM, self.map.as_fd(), &key, 0) }?;
        Ok(())
    }

    /// Returns all entries.
    ///
    /// # Errors
    /// The kernel's error.
    pub(in super::super) fn entries(&self) -> io::Result<Vec<(u64, V)>> {
        let (mut key, mut next) = (None::<u64>, 0);
        let mut entries = Vec::new();
        loop {
            let before = key.as_ref().map_or(0, |key| &raw const *key as u64);
            let mut attr = Element::new(self.map.as_fd(), before, &raw mut next as u64);
            // SAFETY: `key`, if present, and `next` have the eight bytes that `checked` has verified, and outlive the
            // call.
            match unsafe { bpf(BPF_MAP_GET_NEXT_KEY, &mut attr) } {
                Ok(_) => entries.extend(self.get(next)?.map(|value| (next, value))),
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(entries),
                Err(error) => return Err(error),
            }
            key = Some(next);
        }
    }
}

/// Returns the maximum number of entries, after verifying the sizes of keys and values.
fn checked<V>(map: &MapData) -> io::Result<usize> {
    let info = map.info().map_err(io::Error::other)?;
    let (key, value) = (info.key_size() as usize, info.value_size() as usize);
    // The kernel rounds each CPU's value up to eight bytes; a `V` of that size needs no rounding.
    if key != size_of::<u64>() || value != size_of::<V>() || !value.is_multiple_of(8) || value == 0 {
        return Err(io::Error::other(format!("the map has keys of {key} and values of {value} bytes")));
    }
    Ok(info.max_entries() as usize)
}

/// Runs one command on one element; false if the key does not exist.
///
/// # Safety
/// The map must have keys of eight bytes, and `value` must point to memory of the size that the command reads or
/// writes, valid for the call.
unsafe fn element(command: libc::c_int, map: BorrowedFd<'_>, key: &u64, value: u64) -> io::Result<bool> {
    let mut attr = Element::new(map, &raw const *key as u64, value);
    // SAFETY: `attr` is what the commands on one element take. `key` is a reference, and `value` is valid for the
    // command and the call by this function's contract.
    match unsafe { bpf(command, &mut attr) } {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

impl<V> AsFd for Hash<V> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
    }
}

impl<V> AsFd for PerCpuHash<V> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
    }
}
