//! The context of an iterator program (`Documentation/bpf/bpf_iterators.rst`).

use aya_ebpf::bindings::seq_file;
use aya_ebpf::maps::Array;
use monitor_common::Pass;

/// `struct bpf_iter_meta` (`include/linux/bpf.h`).
#[repr(C)]
pub struct Meta {
    /// The output file.
    pub output: *mut seq_file,
    /// The number of the run: the same in all its calls, and unique.
    pub session: u64,
}

/// The context: `struct bpf_iter__cgroup`, `struct bpf_iter__task`.
#[repr(C)]
pub struct Visit {
    meta: *const Meta,
    object: *const u8,
}

impl Visit {
    /// Returns the state of the run and the current object; `None` at the end of the run.
    ///
    /// # Safety
    /// `visit` must be the kernel's context.
    #[inline(always)]
    pub unsafe fn of(visit: *const Self) -> Option<(*const Meta, *const u8)> {
        // SAFETY: `visit` is the kernel's context by this function's contract, and has both fields. Volatile, so that
        // each read is a single load, as the verifier requires.
        let (meta, object) = unsafe {
            (core::ptr::read_volatile(&raw const (*visit).meta), core::ptr::read_volatile(&raw const (*visit).object))
        };
        if object.is_null() { None } else { Some((meta, object)) }
    }
}

/// Returns the next entry of a table that a run fills in its order; `None` if the table is full.
///
/// # Safety
/// `meta` must come from [`Visit::of`].
#[inline(always)]
pub unsafe fn entry<V>(table: &Array<V>, passes: &Array<Pass>, meta: *const Meta) -> Option<*mut V> {
    let pass = passes.get_ptr_mut(0)?;
    // SAFETY: `meta` is the kernel's by this function's contract; `pass` points to a map value, and no two runs
    // overlap.
    unsafe {
        let session = core::ptr::read_volatile(&raw const (*meta).session);
        if (*pass).session != session {
            *pass = Pass { session, found: 0 };
        }
        // The kernel's own sequence number would also count the objects that it skips.
        let at = (*pass).found;
        (*pass).found = at + 1;
        table.get_ptr_mut(u32::try_from(at).ok()?)
    }
}
