//! Iterator that reads the memory of all cgroups through kernel functions (Linux 7.0 and later).
#![no_std]
#![no_main]

use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::macros::map;
use aya_ebpf::maps::Array;
use monitor_common::kernel::{MEMORY_EVENTS, MEMORY_FLUSH, MEMORY_GET, MEMORY_PUT, MEMORY_STATE, MEMORY_USAGE};
use monitor_common::{Memory, Pass};
use monitor_ebpf::Constant;
use monitor_ebpf::iterator::{Visit, entry};
use monitor_ebpf::kernel::{call, id};

monitor_ebpf::object!();

/// The records of the run, in its order.
#[map]
static MEMORY: Array<Memory> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// The run that wrote the records.
#[map]
static PASS: Array<Pass> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// `offsetof(struct cgroup, self)`.
#[unsafe(no_mangle)]
static CGROUP_SELF: Constant<u64> = Constant::new(0);

/// `NR_ANON_MAPPED`, `NR_FILE_PAGES` and `NR_INACTIVE_FILE` of `enum node_stat_item`, `MEMCG_OOM_KILL` of
/// `enum memcg_memory_event`.
#[unsafe(no_mangle)]
static ANON: Constant<u64> = Constant::new(0);
#[unsafe(no_mangle)]
static FILE: Constant<u64> = Constant::new(0);
#[unsafe(no_mangle)]
static INACTIVE_FILE: Constant<u64> = Constant::new(0);
#[unsafe(no_mangle)]
static OOM_KILL: Constant<u64> = Constant::new(0);

/// Reads the cgroup's values behind `memory.current`, `memory.stat` and `memory.events` (`mm/bpf_memcontrol.c`).
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter.s/cgroup")]
fn cgroup_memory(visit: *const Visit) -> i32 {
    // SAFETY: `visit` is the context that the kernel passes to the program, and `cgroup` the live cgroup in it; `found`
    // points to a map value. `memory` is used only while its reference is held, and the reference is released.
    unsafe {
        let Some((meta, cgroup)) = Visit::of(visit) else { return 0 };
        let Some(found) = entry(&MEMORY, &PASS, meta) else { return 0 };
        (*found).cgroup = id(cgroup);
        let memory = call::<MEMORY_GET>(cgroup.add(CGROUP_SELF.get() as usize) as u64, 0);
        (*found).has_memory = u64::from(memory != 0);
        if memory == 0 {
            return 0;
        }
        call::<MEMORY_FLUSH>(memory, 0);
        (*found).usage = call::<MEMORY_USAGE>(memory, 0);
        (*found).anon = call::<MEMORY_STATE>(memory, ANON.get());
        (*found).file = call::<MEMORY_STATE>(memory, FILE.get());
        (*found).inactive_file = call::<MEMORY_STATE>(memory, INACTIVE_FILE.get());
        (*found).oom_kills = call::<MEMORY_EVENTS>(memory, OOM_KILL.get());
        call::<MEMORY_PUT>(memory, 0);
    }
    0
}
