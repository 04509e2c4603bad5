//! Shared parts of the programs: constants that the agent sets at load time, counters, the scope, kernel functions and
//! iterators.
//!
//! The programs read tracepoint arguments and typed kernel memory directly, and use `bpf_probe_read` only where the
//! kernel offers nothing else, so that they load under confidentiality lockdown too.
#![no_std]
#![feature(core_intrinsics, asm_experimental_arch)]
#![allow(internal_features, reason = "the BPF target has no other way to an atomic add without its result")]

pub mod files;
pub mod iterator;
pub mod kernel;

use core::intrinsics::{AtomicOrdering, atomic_xadd};

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::btf_maps::{ArrayOfMaps, HashMap, PerCpuHashMap};
use aya_ebpf::helpers::generated::{bpf_get_current_ancestor_cgroup_id, bpf_get_current_cgroup_id};
use aya_ebpf::maps::{PerCpuArray, ProgramArray};
use monitor_common::LEVELS;

/// Depth down to which a cgroup is searched for its ancestors. Engines in engines reach dozens of levels; this is far
/// beyond.
const DEEPEST: i32 = 256;

/// Constant that the agent sets before it loads the object.
///
/// Replaces `aya_ebpf::Global`, whose union has a name that the kernel's BTF check rejects.
#[repr(transparent)]
pub struct Constant<T>(T);

impl<T: Copy> Constant<T> {
    /// Creates a constant with its default value.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// Returns the value. Volatile, so that the compiler does not inline the default.
    #[inline(always)]
    pub fn get(&self) -> T {
        // SAFETY: `self` is a valid reference.
        unsafe { core::ptr::read_volatile(&raw const self.0) }
    }
}

/// Adds to a counter in a map. Atomic, because a softirq may interrupt the same program on the same CPU.
///
/// # Safety
/// `counter` must point into a map value, or to null-checked memory that the program may write.
#[inline(always)]
pub unsafe fn add(counter: *mut u64, by: u64) {
    // SAFETY: `counter` is memory that the program may write, by this function's contract; words in it are aligned.
    unsafe {
        atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(counter, by);
    }
}

/// Outer map of one entry, whose inner map the agent creates and atomically replaces by a larger one.
pub type Growing<M> = ArrayOfMaps<M, 1>;

/// Counters by cgroup id, as values of `WORDS` words. The agent's inner maps differ only in the number of entries and
/// have no BTF. The value is an array of words, since Linux 5.15 to 6.1 records for a structure that it was searched
/// for timers, and then rejects an inner map without that record.
pub type Counts<const WORDS: usize> = PerCpuHashMap<u64, [u64; WORDS], 1>;

/// The place of each cgroup with counters, as a `Lineage`: a removed cgroup has no other source for it.
pub type Lineages = HashMap<u64, [u64; LEVELS], 1>;

/// The maps of a group of counters.
pub struct Counters<const WORDS: usize> {
    /// The counters.
    pub counts: &'static Growing<Counts<WORDS>>,
    /// The places of their cgroups.
    pub lineage: &'static Growing<Lineages>,
    /// Events dropped because a map was full.
    pub lost: &'static PerCpuArray<u64>,
    /// The initial value. Static, because clearing it on the stack compiles to a loop that the verifier accepts only
    /// with CAP_PERFMON.
    pub zero: &'static [u64; WORDS],
}

impl<const WORDS: usize> Counters<WORDS> {
    /// Calls `update` with the counters of a cgroup, which start at zero. If the map is full, the event is counted as
    /// lost. `V` is the type of the counters; `ancestor` returns the id of the cgroup's ancestor at a level, and 0
    /// below the cgroup itself.
    #[inline(always)]
    pub fn count<V>(
        &self,
        cgroup: u64,
        ancestor: impl Fn(i32) -> u64,
        update: impl FnOnce(*mut V),
    ) -> Result<(), Full> {
        const { assert!(size_of::<V>() == size_of::<[u64; WORDS]>() && align_of::<V>() == align_of::<u64>()) };
        let Some(counts) = self.counts.get(0) else { return self.lose() };
        if let Some(value) = counts.get_ptr_mut(cgroup) {
            update(value.cast());
            return Ok(());
        }
        // Another CPU may insert it first, with the same result.
        if counts.insert(cgroup, self.zero, u64::from(BPF_NOEXIST)).is_ok() {
            self.remember(cgroup, ancestor);
        }
        let Some(value) = counts.get_ptr_mut(cgroup) else { return self.lose() };
        update(value.cast());
        Ok(())
    }

    /// Counts a lost event.
    #[inline(always)]
    pub fn lose(&self) -> Result<(), Full> {
        let Some(counter) = self.lost.get_ptr_mut(0) else { return Ok(()) };
        // SAFETY: `counter` is this CPU's value in the map `lost`, as the lookup returned it.
        unsafe {
            let is_first = core::ptr::read_volatile(counter) == 0;
            add(counter, 1);
            if is_first { Err(Full) } else { Ok(()) }
        }
    }

    #[inline(always)]
    fn remember(&self, cgroup: u64, ancestor: impl Fn(i32) -> u64) {
        let Some(lineages) = self.lineage.get(0) else { return };
        let _room = lineages.insert(cgroup, &NOWHERE, 0);
        let Some(lineage) = lineages.get_ptr_mut(cgroup) else { return };
        for level in 0..LEVELS {
            let id = ancestor(level as i32 + 1);
            if id == 0 {
                break;
            }
            // SAFETY: `lineage` is a map value of `LEVELS` words, and `level` is less than that.
            unsafe { lineage.cast::<u64>().add(level).write_volatile(id) };
        }
    }
}

/// An empty lineage; static for the same reason as `Counters::zero`.
static NOWHERE: [u64; LEVELS] = [0; LEVELS];

/// The map was full for the first time on this CPU, which is worth a message; later times are not.
#[derive(Clone, Copy, Debug)]
pub struct Full;

/// Returns the cgroup of the current task if it is `scope` or a descendant; scope 0 is the whole machine.
#[inline(always)]
pub fn current_cgroup(scope: u64) -> Option<u64> {
    if scope != 0 && !is_below(scope) {
        return None;
    }
    // SAFETY: the helper takes no arguments.
    Some(unsafe { bpf_get_current_cgroup_id() })
}

/// Searches from the root down: an agent in a cgroup namespace cannot know the depth of its own cgroup.
#[inline(always)]
fn is_below(scope: u64) -> bool {
    let mut level = 0;
    while level < DEEPEST {
        // SAFETY: the helper takes a number, and returns 0 for a level that does not exist.
        let ancestor = unsafe { bpf_get_current_ancestor_cgroup_id(level) };
        if ancestor == scope {
            return true;
        }
        if ancestor == 0 {
            return false;
        }
        level += 1;
    }
    false
}

/// Returns the ancestor of the current task's cgroup at a level.
#[inline(always)]
pub fn current_ancestor(level: i32) -> u64 {
    // SAFETY: the helper takes a number, and returns 0 for a level that does not exist.
    unsafe { bpf_get_current_ancestor_cgroup_id(level) }
}

/// Tail-calls the program in `now`. The attached program is a trampoline that does only this: a tracing link cannot
/// change its program, but the map's entry can be replaced atomically.
#[inline(always)]
pub fn tail_call(now: &ProgramArray, ctx: &impl EbpfContext) -> i32 {
    // SAFETY: a tail call that succeeds does not return, so nothing is dropped; the callers have nothing to drop.
    unsafe { now.tail_call(ctx, 0) };
    0
}

/// Defines the parts that every object needs: a panic handler, which the compiler removes, and a licence that the
/// kernel's helpers accept.
#[macro_export]
macro_rules! object {
    () => {
        #[panic_handler]
        fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
            loop {}
        }

        #[unsafe(link_section = "license")]
        #[unsafe(no_mangle)]
        static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
    };
}
