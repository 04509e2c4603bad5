//! The context of an iterator program (`Documentation/bpf/bpf_iterators.rst`).

use aya_ebpf::bindings::seq_file;
use aya_ebpf::maps::Array;
use monitor_common::Pass;

/// `struct bpf_iter_meta` (`include/linux/bpf.h`).
#[repr(C)]
pub struct Meta {
    /// Where output goes.
    pub output: *mut seq_file,
    /// The same in all calls of one pass, and another one in each pass.
    pub session: u64,
}

/// The context: `struct bpf_iter__cgroup`, `struct bpf_iter__task`.
#[repr(C)]
pub struct Visit {
    meta: *const Meta,
    object: *const u8,
}

impl Visit {
    /// Where the pass stands, and the object; `None` at the end of the pass.
    ///
    /// # Safety
    /// `visit` must be the context that the kernel gave.
    #[inline(always)]
    pub unsafe fn of(visit: *const Self) -> Option<(*const Meta, *const u8)> {
        // SAFETY: as required of the caller; volatile, so that each is one load, as the verifier wants it.
        let (meta, object) = unsafe {
            (core::ptr::read_volatile(&raw const (*visit).meta), core::ptr::read_volatile(&raw const (*visit).object))
        };
        if object.is_null() { None } else { Some((meta, object)) }
    }
}

/// The next entry of a table in which a pass writes its objects one after another. There is none when the table is too
/// short.
///
/// # Safety
/// `meta` must be what [`Visit::of`] gave.
#[inline(always)]
pub unsafe fn entry<V>(table: &Array<V>, passes: &Array<Pass>, meta: *const Meta) -> Option<*mut V> {
    let pass = passes.get_ptr_mut(0)?;
    // SAFETY: as required of the caller; the pass is a map's value, and no two of them run at a time. The kernel counts the
    // objects itself, but also those that it does not show.
    unsafe {
        let session = core::ptr::read_volatile(&raw const (*meta).session);
        if (*pass).session != session {
            *pass = Pass { session, found: 0 };
        }
        let at = (*pass).found;
        (*pass).found = at + 1;
        table.get_ptr_mut(u32::try_from(at).ok()?)
    }
}
