//! Lifecycle events of cgroups: created, got the first process, lost the last process, removed. The only object with a
//! ring buffer: a few events per container, and none for the container's activity.
#![no_std]
#![no_main]

mod cgroup_mkdir;
mod cgroup_notify_populated;
mod cgroup_rmdir;

use aya_ebpf::macros::map;
use aya_ebpf::maps::{PerCpuArray, RingBuf};
use monitor_common::{CgroupEvent, CgroupEventKind};
use monitor_ebpf::kernel::{follow, id, load};
use monitor_ebpf::{Constant, add};

monitor_ebpf::object!();

/// The events, in their order.
#[map]
static CGROUP_EVENTS: RingBuf = RingBuf::with_byte_size(256 * 1024, 0);

/// Events dropped because the ring buffer was full.
#[map]
static LOST: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// `offsetof(struct cgroup, self)`.
#[unsafe(no_mangle)]
static CGROUP_SELF: Constant<u64> = Constant::new(0);

/// `offsetof(struct cgroup, root)`.
#[unsafe(no_mangle)]
static CGROUP_ROOT: Constant<u64> = Constant::new(0);

/// `offsetof(struct cgroup_root, hierarchy_id)`.
#[unsafe(no_mangle)]
static ROOT_HIERARCHY: Constant<u64> = Constant::new(0);

/// `offsetof(struct cgroup_subsys_state, parent)`.
#[unsafe(no_mangle)]
static CSS_PARENT: Constant<u64> = Constant::new(0);

/// `offsetof(struct cgroup_subsys_state, cgroup)`.
#[unsafe(no_mangle)]
static CSS_CGROUP: Constant<u64> = Constant::new(0);

/// Sends an event of a cgroup in the v2 tree, which is hierarchy 0; ids of v1 hierarchies could collide with v2 ids.
///
/// # Safety
/// `cgroup` must be the `struct cgroup *` that is the first argument of a BTF tracepoint.
#[inline(always)]
unsafe fn send(cgroup: *const u8, kind: CgroupEventKind) -> i32 {
    // SAFETY: `cgroup` is a `struct cgroup` by this function's contract; `root`, `outer` and the cgroup of `outer` are
    // pointers of the types that the verifier reads from BTF, with the fields at these offsets.
    let event = unsafe {
        let root = follow(cgroup, CGROUP_ROOT.get());
        let hierarchy: u32 = load(root, ROOT_HIERARCHY.get());
        if hierarchy != 0 {
            return 0;
        }
        let outer = follow(cgroup, CGROUP_SELF.get() + CSS_PARENT.get());
        CgroupEvent { id: id(cgroup), parent: id(follow(outer, CSS_CGROUP.get())), kind: kind as u64 }
    };
    match CGROUP_EVENTS.reserve::<CgroupEvent>(0) {
        Some(mut place) => {
            place.write(event);
            place.submit(0);
        }
        None => {
            if let Some(lost) = LOST.get_ptr_mut(0) {
                // SAFETY: `lost` is this CPU's value in the map, as the lookup returned it.
                unsafe { add(lost, 1) }
            }
        }
    }
    0
}
