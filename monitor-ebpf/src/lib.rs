//! Shared parts of the programs: constants that the agent sets at load time, counting, the scope, kernel functions, and
//! iterators.
//!
//! The programs use tracepoint arguments and direct loads of typed kernel memory only, no `bpf_probe_read` where the kernel
//! has another way: so they load under confidentiality lockdown too.
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

/// The deepest cgroup that is searched for its ancestors.
const DEEPEST: i32 = 32;

/// A constant that the agent overwrites before it loads the object.
///
/// Not `aya_ebpf::Global`, whose type is a union with a name that the kernel's BTF check refuses.
#[repr(transparent)]
pub struct Constant<T>(T);

impl<T: Copy> Constant<T> {
    /// A constant with the value that holds if the agent says nothing.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value. Volatile, so that the compiler does not put the initial one in its place.
    #[inline(always)]
    pub fn get(&self) -> T {
        // SAFETY: `self` is a valid reference.
        unsafe { core::ptr::read_volatile(&raw const self.0) }
    }
}

/// Adds to a counter in a map. Atomic, because a softirq may interrupt the same program on the same CPU.
///
/// # Safety
/// `counter` must point into a map value, or be null-checked memory that the program may write.
#[inline(always)]
pub unsafe fn add(counter: *mut u64, by: u64) {
    // SAFETY: as required of the caller.
    unsafe {
        atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(counter, by);
    }
}

/// A map of one map, which the agent makes as large as it must be, and exchanges for a larger one between two events.
pub type Growing<M> = ArrayOfMaps<M, 1>;

/// Counts by cgroup id, values of so many words. What the agent makes is like this, but for the number of entries, and
/// without a type of its own. Words and no structure: of one, Linux from 5.15 to 6.1 notes that it has searched it for
/// timers, and refuses in its place a map of which it has not.
pub type Counts<const WORDS: usize> = PerCpuHashMap<u64, [u64; WORDS], 1>;

/// Where each cgroup of the counts lies, a `Lineage`: of one that is gone nobody else can tell.
pub type Lineages = HashMap<u64, [u64; LEVELS], 1>;

/// The maps of a group that counts by cgroup.
pub struct Counters<const WORDS: usize> {
    /// The counters.
    pub counts: &'static Growing<Counts<WORDS>>,
    /// Where it was.
    pub lineage: &'static Growing<Lineages>,
    /// Events that had no room.
    pub lost: &'static PerCpuArray<u64>,
    /// The initial value. Not made on the stack: to clear it there, the compiler takes a loop that the verifier
    /// allows only with CAP_PERFMON.
    pub zero: &'static [u64; WORDS],
}

impl<const WORDS: usize> Counters<WORDS> {
    /// Lets `update` count in the value of a cgroup, which begins at zero. When the map is full, the event is counted as
    /// lost. `V` is what the words of a value are; `ancestor` gives the id of the cgroup's ancestor at a level, and 0 below
    /// the cgroup itself.
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
        // Another CPU may be first, which is as good.
        if counts.insert(cgroup, self.zero, u64::from(BPF_NOEXIST)).is_ok() {
            self.remember(cgroup, ancestor);
        }
        let Some(value) = counts.get_ptr_mut(cgroup) else { return self.lose() };
        update(value.cast());
        Ok(())
    }

    /// Notes that an event had no room.
    #[inline(always)]
    pub fn lose(&self) -> Result<(), Full> {
        let Some(counter) = self.lost.get_ptr_mut(0) else { return Ok(()) };
        // SAFETY: the pointer is into a map value.
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
            // SAFETY: the pointer is into a map value, and `level` is within the array.
            unsafe { lineage.cast::<u64>().add(level).write_volatile(id) };
        }
    }
}

/// A lineage to be filled in, not on the stack either.
static NOWHERE: [u64; LEVELS] = [0; LEVELS];

/// The map had no room for another cgroup, for the first time on this CPU: worth a message, where the next are not.
#[derive(Clone, Copy, Debug)]
pub struct Full;

/// The cgroup of the current task, if it lies in the cgroup `scope` or below it; 0 is the whole machine.
#[inline(always)]
pub fn current_cgroup(scope: u64) -> Option<u64> {
    // SAFETY: the helpers take no pointers.
    unsafe {
        if scope != 0 && !is_below(scope) {
            return None;
        }
        Some(bpf_get_current_cgroup_id())
    }
}

/// Walks down from the root: an agent in a cgroup namespace cannot know how deep its own cgroup lies.
#[inline(always)]
unsafe fn is_below(scope: u64) -> bool {
    let mut level = 0;
    while level < DEEPEST {
        // SAFETY: the helper takes no pointers.
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

/// The ancestor of the current task's cgroup at a level.
#[inline(always)]
pub fn current_ancestor(level: i32) -> u64 {
    // SAFETY: the helper takes no pointers.
    unsafe { bpf_get_current_ancestor_cgroup_id(level) }
}

/// Goes on with the program that `now` holds. This is what is attached to a tracepoint, as long as anybody counts: a
/// link to one cannot be turned over to another program, but what the map holds can be exchanged between two events.
#[inline(always)]
pub fn tail_call(now: &ProgramArray, ctx: &impl EbpfContext) -> i32 {
    // SAFETY: nothing here has to be dropped.
    unsafe { now.tail_call(ctx, 0) };
    0
}

/// The parts that every object needs: a panic handler, which the compiler never keeps, and a licence that the kernel's
/// helpers accept.
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
