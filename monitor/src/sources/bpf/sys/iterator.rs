//! Iterators: programs that the kernel runs once per object of its own (`Documentation/bpf/bpf_iterators.rst`).

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use bytemuck::{Pod, Zeroable};

use super::syscall::{descriptor, number};

/// `BPF_LINK_CREATE` and `BPF_ITER_CREATE` of `enum bpf_cmd` (`include/uapi/linux/bpf.h`), Linux 5.8.
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_ITER_CREATE: libc::c_int = 33;

/// `BPF_TRACE_ITER` of `enum bpf_attach_type`.
const BPF_TRACE_ITER: u32 = 28;

/// `BPF_CGROUP_ITER_SELF_ONLY` and `BPF_CGROUP_ITER_DESCENDANTS_PRE` of `enum bpf_cgroup_iter_order`, Linux 6.1.
const SELF_ONLY: u32 = 1;
const DESCENDANTS_PRE: u32 = 2;

/// The target of an iterator.
#[derive(Clone, Copy, Debug)]
pub(in super::super) enum Over<'a> {
    /// The tasks of the caller's pid namespace.
    Tasks,
    /// One cgroup, by its directory.
    Cgroup(BorrowedFd<'a>),
    /// A cgroup and its descendants, parents first.
    CgroupAndBelow(BorrowedFd<'a>),
}

/// The part of `union bpf_attr` that `BPF_LINK_CREATE` takes for an iterator.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Create {
    prog_fd: u32,
    target_fd: u32,
    attach_type: u32,
    flags: u32,
    iter_info: u64,
    iter_info_len: u32,
    padding: u32,
}

/// `cgroup` of `union bpf_iter_link_info`.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Info {
    order: u32,
    cgroup_fd: u32,
    cgroup_id: u64,
}

/// The part of `union bpf_attr` that `BPF_ITER_CREATE` takes.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Open {
    link_fd: u32,
    flags: u32,
}

/// A program attached to its target (`bpf_iter` link).
#[derive(Debug)]
pub(in super::super) struct Iterator {
    link: OwnedFd,
}

impl Iterator {
    /// Attaches a loaded program.
    ///
    /// # Errors
    /// The kernel's error.
    pub(in super::super) fn new(program: BorrowedFd<'_>, over: Over<'_>) -> io::Result<Self> {
        let info = match over {
            Over::Tasks => None,
            Over::Cgroup(top) => Some(Info { order: SELF_ONLY, cgroup_fd: number(top), cgroup_id: 0 }),
            Over::CgroupAndBelow(top) => Some(Info { order: DESCENDANTS_PRE, cgroup_fd: number(top), cgroup_id: 0 }),
        };
        let mut attr = Create {
            prog_fd: number(program),
            attach_type: BPF_TRACE_ITER,
            iter_info: info.as_ref().map_or(0, |info| &raw const *info as u64),
            iter_info_len: info.map_or(0, |_| u32::try_from(size_of::<Info>()).unwrap_or(0)),
            ..Create::zeroed()
        };
        // SAFETY: `info` outlives the call, which creates a descriptor.
        Ok(Self { link: unsafe { descriptor(BPF_LINK_CREATE, &mut attr) }? })
    }

    /// Starts a run. The kernel continues it as the file is read, and it ends with the file.
    ///
    /// # Errors
    /// The kernel's error.
    pub(in super::super) fn pass(&self) -> io::Result<File> {
        let mut attr = Open { link_fd: number(self.link.as_fd()), flags: 0 };
        // SAFETY: `attr` contains no address, and the call creates a descriptor.
        Ok(unsafe { descriptor(BPF_ITER_CREATE, &mut attr) }?.into())
    }
}
