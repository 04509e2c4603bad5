//! Access to kernel memory and kernel functions.

use core::arch::asm;

use crate::Constant;

/// `offsetof(struct cgroup, kn)`.
#[unsafe(no_mangle)]
static CGROUP_KN: Constant<u64> = Constant::new(0);

/// `offsetof(struct kernfs_node, id)`.
#[unsafe(no_mangle)]
static KERNFS_ID: Constant<u64> = Constant::new(0);

/// Calls a kernel function (`Documentation/bpf/kfuncs.rst`) by its placeholder in [`monitor_common::kernel`], which the
/// agent replaces by the function's id before it loads the object. A function with a single argument ignores the
/// second.
///
/// # Safety
/// As for the function; the verifier checks the arguments' types.
#[inline(always)]
pub unsafe fn call<const PLACEHOLDER: u32>(first: u64, second: u64) -> u64 {
    let result: u64;
    // SAFETY: the arguments are as the function demands, by this function's contract. The call changes the registers
    // named here and none of the program's memory.
    unsafe {
        asm!(
            // BPF_JMP | BPF_CALL, with BPF_PSEUDO_KFUNC_CALL as its source register.
            ".quad {instruction}",
            instruction = const (PLACEHOLDER as u64) << 32 | 0x2085,
            inlateout("r1") first => _,
            inlateout("r2") second => _,
            lateout("r0") result,
            lateout("r3") _, lateout("r4") _, lateout("r5") _,
        );
    }
    result
}

/// Loads from kernel memory.
///
/// # Safety
/// The verifier must know the type of `base`, with a `T` at `offset` in it.
#[inline(always)]
pub unsafe fn load<T: Copy>(base: *const u8, offset: u64) -> T {
    // SAFETY: there is a `T` at `offset` by this function's contract. Volatile, so that it is a single load of this
    // size, as the verifier requires.
    unsafe { core::ptr::read_volatile(base.add(offset as usize).cast()) }
}

/// Loads a pointer from kernel memory.
///
/// # Safety
/// As for [`load`].
#[inline(always)]
pub unsafe fn follow(base: *const u8, offset: u64) -> *const u8 {
    // SAFETY: there is a pointer at `offset` by this function's contract.
    unsafe { load(base, offset) }
}

/// Returns the id of a cgroup, which is the inode of its directory.
///
/// # Safety
/// The verifier must know `cgroup` as a `struct cgroup`.
#[inline(always)]
pub unsafe fn id(cgroup: *const u8) -> u64 {
    // SAFETY: `cgroup` is a `struct cgroup` by this function's contract; `kn` points to its `struct kernfs_node`.
    unsafe { load(follow(cgroup, CGROUP_KN.get()), KERNFS_ID.get()) }
}
