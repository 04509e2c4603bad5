//! Iterator over the cgroups of one tree, v2 or v1, that reads the state of their controllers: the values of short
//! files, and change tokens of the longer ones.
#![no_std]
#![no_main]

use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::macros::map;
use aya_ebpf::maps::Array;
use monitor_common::kernel::CAST;
use monitor_common::{Controllers, Pass, UNKNOWN};
use monitor_ebpf::Constant;
use monitor_ebpf::iterator::{Visit, entry};
use monitor_ebpf::kernel::{call, follow, id, load};

monitor_ebpf::object!();

/// The records of the run, in its order.
#[map]
static CONTROLLERS: Array<Controllers> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// The run that wrote the records.
#[map]
static PASS: Array<Pass> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Constants that the agent sets: ids of structures, 0 if the kernel lacks one, and offsets of their fields.
macro_rules! constants {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        $($(#[$doc])* #[unsafe(no_mangle)] static $name: Constant<u64> = Constant::new(0);)*
    };
}

constants! {
    /// In `struct cgroup`: the counts that `cgroup_is_populated()` adds up, and `flags` with the number of the bit
    /// `CGRP_FROZEN`.
    CGROUP_TASKS;
    CGROUP_CHILDREN;
    CGROUP_THREADED;
    CGROUP_FLAGS;
    FROZEN_BIT;

    /// In `struct cgroup`: the states of the controllers.
    CGROUP_CPU;
    CGROUP_MEMORY;
    CGROUP_PIDS;
    CGROUP_FREEZER;
    CGROUP_IO;

    /// Quotas, and how often the group was throttled (`kernel/sched/core.c`).
    TASK_GROUP;
    TASK_GROUP_QUOTA;
    TASK_GROUP_PERIOD;
    TASK_GROUP_PERIODS;
    TASK_GROUP_THROTTLED;
    TASK_GROUP_THROTTLED_TIME;

    /// Charged memory and swap with their watermarks, in pages, event counts, and the statistics (`mm/memcontrol.c`).
    MEM_CGROUP;
    MEM_CGROUP_USAGE;
    MEM_CGROUP_LIMIT;
    MEM_CGROUP_PEAK;
    MEM_CGROUP_SWAP;
    MEM_CGROUP_EVENTS;
    OOM_KILL;
    MEM_CGROUP_STATS;
    /// The statistics behind `memory.stat`, the number of longs in each, and the number of updates not flushed yet.
    STATS;
    STATS_STATE;
    STATS_STATE_LENGTH;
    STATS_EVENTS;
    STATS_EVENTS_LENGTH;
    STATS_UPDATES;

    /// Tasks (`kernel/cgroup/pids.c`).
    PIDS_CGROUP;
    PIDS_CGROUP_COUNT;
    PIDS_CGROUP_LIMIT;

    /// The state of a v1 freezer, by bits (`kernel/cgroup/legacy_freezer.c`).
    FREEZER;
    FREEZER_STATE;
    FREEZER_FREEZING;
    FREEZER_FROZEN;

    /// The devices with I/O (`block/blk-cgroup.c`).
    BLKCG;
    BLKCG_FIRST;

    /// Pressure (`kernel/sched/psi.c`): enabled or not, pending update of the averages, the averages, and the numbers
    /// of the states.
    CGROUP_PSI;
    PSI_GROUP;
    PSI_GROUP_ENABLED;
    PSI_GROUP_WORK;
    PSI_GROUP_AVERAGES;
    PSI_CPU_SOME;
    PSI_MEM_SOME;
    PSI_MEM_FULL;
    PSI_IO_SOME;
}

/// Upper bound on the statistics of one kind, for the verifier.
const MOST: u64 = 128;

/// Reads the controllers' state of one cgroup.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/cgroup")]
fn cgroup_controllers(visit: *const Visit) -> i32 {
    // SAFETY: `visit` is the context that the kernel passes to the program, and `cgroup` the live cgroup in it; `found`
    // points to a map value, which no other run writes.
    unsafe {
        let Some((meta, cgroup)) = Visit::of(visit) else { return 0 };
        let Some(found) = entry(&CONTROLLERS, &PASS, meta) else { return 0 };
        (*found).cgroup = id(cgroup);
        (*found).populated = u64::from(populated(cgroup));
        (*found).frozen = load::<u64>(cgroup, CGROUP_FLAGS.get()) >> FROZEN_BIT.get() & 1;
        (*found).psi_idle = psi_idle(cgroup);
        cpu(cgroup, found);
        memory(cgroup, found);
        (*found).tasks = count(cgroup, &CGROUP_PIDS, &PIDS_CGROUP, &PIDS_CGROUP_COUNT);
        (*found).tasks_limit = count(cgroup, &CGROUP_PIDS, &PIDS_CGROUP, &PIDS_CGROUP_LIMIT);
        (*found).frozen_v1 = frozen_v1(cgroup);
        (*found).first_device = count(cgroup, &CGROUP_IO, &BLKCG, &BLKCG_FIRST);
    }
    0
}

/// Returns a controller's state of a cgroup, cast to the controller's structure; `None` if there is none.
///
/// # Safety
/// The verifier must know `cgroup` as a `struct cgroup`.
#[inline(always)]
unsafe fn state(cgroup: *const u8, controller: &Constant<u64>, structure: &Constant<u64>) -> Option<*const u8> {
    if controller.get() == 0 || structure.get() == 0 {
        return None;
    }
    // SAFETY: `cgroup` is a `struct cgroup` by this function's contract, with a pointer at the offset `controller`. The
    // cast is to the controller's structure, which begins with its `cgroup_subsys_state`. A load through a cast pointer
    // that faults gives 0.
    unsafe {
        let state = follow(cgroup, controller.get());
        if state.is_null() { None } else { Some(call::<CAST>(state as u64, structure.get()) as *const u8) }
    }
}

/// Reads one field of a controller's state; unknown if the cgroup has no such state.
///
/// # Safety
/// The verifier must know `cgroup` as a `struct cgroup`.
#[inline(always)]
unsafe fn count(
    cgroup: *const u8,
    controller: &Constant<u64>,
    structure: &Constant<u64>,
    field: &Constant<u64>,
) -> u64 {
    // SAFETY: `cgroup` is a `struct cgroup` by this function's contract; `state` is of the structure that has the
    // field.
    unsafe { state(cgroup, controller, structure).map_or(UNKNOWN, |state| load(state, field.get())) }
}

/// True if the cgroup or a descendant has a process.
///
/// # Safety
/// The verifier must know `cgroup` as a `struct cgroup`.
#[inline(always)]
unsafe fn populated(cgroup: *const u8) -> bool {
    // SAFETY: `cgroup` is a `struct cgroup` by this function's contract, and has the three counts at these offsets.
    unsafe {
        load::<u32>(cgroup, CGROUP_TASKS.get())
            | load::<u32>(cgroup, CGROUP_CHILDREN.get())
            | load::<u32>(cgroup, CGROUP_THREADED.get())
            != 0
    }
}

/// Returns 1 if all averages of pressure are shown as zero in the files and no update is pending: they stay so until a
/// task's state changes.
///
/// # Safety
/// The verifier must know `cgroup` as a `struct cgroup`.
#[inline(always)]
unsafe fn psi_idle(cgroup: *const u8) -> u64 {
    /// `FIXED_1` (`include/linux/sched/loadavg.h`): an average below a hundredth of it is shown as zero.
    const ONE: u64 = 1 << 11;
    if PSI_GROUP.get() == 0 {
        return 0;
    }
    // SAFETY: `cgroup` is a `struct cgroup` by this function's contract. `group` is cast to a `struct psi_group`, with
    // the fields at these offsets; loads through a cast pointer that is invalid give 0.
    unsafe {
        let group = call::<CAST>(follow(cgroup, CGROUP_PSI.get()) as u64, PSI_GROUP.get()) as *const u8;
        let is_enabled = load::<u8>(group, PSI_GROUP_ENABLED.get()) != 0;
        let is_waiting = load::<u64>(group, PSI_GROUP_WORK.get()) & 1 != 0;
        // The averages of each state over 10, 60 and 300 seconds.
        let average = |state: u64| load::<u64>(group, PSI_GROUP_AVERAGES.get() + state * 24);
        let most = average(PSI_CPU_SOME.get())
            .max(average(PSI_MEM_SOME.get()))
            .max(average(PSI_MEM_FULL.get()))
            .max(average(PSI_IO_SOME.get()));
        u64::from(is_enabled && !is_waiting && most * 100 < ONE)
    }
}

/// Reads the quota, the periods in which it was enforced, and those in which the group was throttled.
///
/// # Safety
/// The verifier must know `cgroup` as a `struct cgroup`; `found` must point to a map value.
#[inline(always)]
unsafe fn cpu(cgroup: *const u8, found: *mut Controllers) {
    // SAFETY: `cgroup` and `found` are as this function's contract demands; `group` is a `struct task_group` with the
    // fields at these offsets.
    unsafe {
        let group = state(cgroup, &CGROUP_CPU, &TASK_GROUP);
        let count = |offset: &Constant<u64>| group.map_or(UNKNOWN, |group| u64::from(load::<u32>(group, offset.get())));
        (*found).periods = count(&TASK_GROUP_PERIODS);
        (*found).throttled = count(&TASK_GROUP_THROTTLED);
        let time = |offset: &Constant<u64>| group.map_or(UNKNOWN, |group| load(group, offset.get()));
        (*found).throttled_time = time(&TASK_GROUP_THROTTLED_TIME);
        (*found).quota = time(&TASK_GROUP_QUOTA);
        (*found).period = time(&TASK_GROUP_PERIOD);
    }
}

/// Reads the charged memory, and the change token of the statistics.
///
/// # Safety
/// The verifier must know `cgroup` as a `struct cgroup`; `found` must point to a map value.
#[inline(always)]
unsafe fn memory(cgroup: *const u8, found: *mut Controllers) {
    // SAFETY: `cgroup` and `found` are as this function's contract demands; `group` is a `struct mem_cgroup` with the
    // fields at these offsets, and the pointer to its statistics is cast to their structure.
    unsafe {
        let group = state(cgroup, &CGROUP_MEMORY, &MEM_CGROUP);
        let count = |offset: u64| group.map_or(UNKNOWN, |group| load(group, offset));
        (*found).pages = count(MEM_CGROUP_USAGE.get());
        (*found).pages_limit = count(MEM_CGROUP_LIMIT.get());
        (*found).peak_pages = count(MEM_CGROUP_PEAK.get());
        (*found).swapped_pages = count(MEM_CGROUP_SWAP.get());
        (*found).oom_kills = count(MEM_CGROUP_EVENTS.get() + OOM_KILL.get() * 8);
        (*found).statistics = match group {
            Some(_) if STATS.get() != 0 => {
                statistics(call::<CAST>(count(MEM_CGROUP_STATS.get()), STATS.get()) as *const u8)
            }
            _ => UNKNOWN,
        };
    }
}

/// Returns a hash of all statistics, used as a change token.
///
/// # Safety
/// The verifier must know `stats` as the structure whose id is [`STATS`].
#[inline(always)]
unsafe fn statistics(stats: *const u8) -> u64 {
    // SAFETY: `stats` is of that structure by this function's contract; `at` stays within the arrays' lengths.
    unsafe {
        let mut mixed = u64::from(load::<u32>(stats, STATS_UPDATES.get()));
        let mut mix = |from: &Constant<u64>, length: &Constant<u64>| {
            let mut at = 0;
            while at < length.get() && at < MOST {
                mixed = (mixed.rotate_left(23) ^ load::<u64>(stats, from.get() + at * 8))
                    .wrapping_mul(0x9e37_79b9_7f4a_7c15);
                at += 1;
            }
        };
        mix(&STATS_STATE, &STATS_STATE_LENGTH);
        mix(&STATS_EVENTS, &STATS_EVENTS_LENGTH);
        mixed
    }
}

/// Returns 1 if the v1 freezer has frozen the group, 0 if not; while it is freezing, only its file tells.
///
/// # Safety
/// The verifier must know `cgroup` as a `struct cgroup`.
#[inline(always)]
unsafe fn frozen_v1(cgroup: *const u8) -> u64 {
    // SAFETY: `cgroup` is a `struct cgroup` by this function's contract; `freezer` is a `struct freezer` with its state
    // at this offset.
    unsafe {
        let Some(freezer) = state(cgroup, &CGROUP_FREEZER, &FREEZER) else { return UNKNOWN };
        let bits = u64::from(load::<u32>(freezer, FREEZER_STATE.get()));
        match (bits & FREEZER_FROZEN.get(), bits & FREEZER_FREEZING.get()) {
            (0, 0) => 0,
            (0, _) => UNKNOWN,
            _ => 1,
        }
    }
}
