//! Counts of open descriptors in a table.

use aya_ebpf::helpers::bpf_probe_read_kernel;
use aya_ebpf::helpers::generated::bpf_loop;
use monitor_common::kernel::CAST;

use crate::Constant;
use crate::kernel::{call, follow, load};

/// `offsetof(struct files_struct, fdt)`.
#[unsafe(no_mangle)]
static FILES_FDT: Constant<u64> = Constant::new(0);

/// `offsetof(struct fdtable, max_fds)`.
#[unsafe(no_mangle)]
static FDTABLE_MAX: Constant<u64> = Constant::new(0);

/// `offsetof(struct fdtable, open_fds)`.
#[unsafe(no_mangle)]
static FDTABLE_OPEN: Constant<u64> = Constant::new(0);

/// The BTF id of `struct cpumask`, which begins with a long; 0 if the kernel has no `bpf_rdonly_cast` (before Linux
/// 6.2).
#[unsafe(no_mangle)]
static LONG: Constant<u64> = Constant::new(0);

/// The BTF id of `struct files_struct`; 0 if the kernel has no `bpf_rdonly_cast`.
#[unsafe(no_mangle)]
static FILES: Constant<u64> = Constant::new(0);

/// The bitmap of a table, and the number of bits set so far.
struct Bits {
    words: u64,
    open: u64,
}

/// Returns the number of open descriptors in a table.
///
/// # Safety
/// The verifier must know `files` as a `struct files_struct`.
#[inline(always)]
pub unsafe fn open(files: *const u8) -> u64 {
    // SAFETY: `files` is a `struct files_struct` by this function's contract, and `table` the `struct fdtable` that it
    // points to.
    unsafe {
        let table = follow(files, FILES_FDT.get());
        count(load(table, FDTABLE_MAX.get()), load(table, FDTABLE_OPEN.get()))
    }
}

/// Returns the number of open descriptors in a table of unknown type; 0 if the address is invalid.
#[inline(always)]
pub fn open_untyped(files: u64) -> u64 {
    // SAFETY: `open` gets a pointer that the verifier knows by the cast; without casts the helper checks each address.
    // Integers may have any bytes.
    unsafe {
        if FILES.get() != 0 {
            return open(call::<CAST>(files, FILES.get()) as *const u8);
        }
        let table: u64 = copy(files + FILES_FDT.get());
        count(copy(table + FDTABLE_MAX.get()), copy(table + FDTABLE_OPEN.get()))
    }
}

/// Counts the set bits of a bitmap of `bits` bits at `words`.
#[inline(always)]
fn count(bits: u32, words: u64) -> u64 {
    let mut found = Bits { words, open: 0 };
    // SAFETY: `found` outlives the loop, and has the type that `add_word` takes.
    unsafe { bpf_loop(bits.div_ceil(64), add_word as *mut _, (&raw mut found).cast(), 0) };
    found.open
}

/// Adds the set bits of one word; a callback of `bpf_loop`.
///
/// # Safety
/// `bits` must point to the [`Bits`] that the caller of `bpf_loop` passed to it.
unsafe extern "C" fn add_word(at: u32, bits: *mut Bits) -> i64 {
    // SAFETY: `bits` is valid by this function's contract: `count`, the only user, passes its own `found`. `long`
    // checks the address of the word.
    unsafe {
        let word = (*bits).words + u64::from(at) * 8;
        (*bits).open += u64::from(long(word).count_ones());
    }
    0
}

/// Reads a long of kernel memory: through a cast if the kernel has one, else by copying. An invalid address reads as 0.
#[inline(always)]
fn long(at: u64) -> u64 {
    // SAFETY: the cast makes `at` a pointer to a structure that begins with a long, and loads through it may fault;
    // `copy` checks the address, and an integer may have any bytes.
    unsafe { if LONG.get() != 0 { load(call::<CAST>(at, LONG.get()) as *const u8, 0) } else { copy(at) } }
}

/// Copies a value of kernel memory; the default if the address is invalid.
///
/// # Safety
/// Any bytes must be a valid `T`.
#[inline(always)]
unsafe fn copy<T: Default>(at: u64) -> T {
    // SAFETY: the helper checks the address, and any bytes are a valid `T` by this function's contract.
    unsafe { bpf_probe_read_kernel(at as *const T).unwrap_or_default() }
}
