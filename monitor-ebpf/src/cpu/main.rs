//! Iterator that reads the CPU time of all cgroups.
#![no_std]
#![no_main]

use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::macros::map;
use aya_ebpf::maps::Array;
use monitor_common::kernel::FLUSH;
use monitor_common::{Cpu, Pass};
use monitor_ebpf::Constant;
use monitor_ebpf::iterator::{Visit, entry};
use monitor_ebpf::kernel::{call, id, load};

monitor_ebpf::object!();

/// The records of the run, in its order.
#[map]
static CPU: Array<Cpu> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// The run that wrote the records.
#[map]
static PASS: Array<Pass> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// `offsetof(struct cgroup, self)`, or 0 if the kernel's function takes the cgroup itself (before Linux 6.16).
#[unsafe(no_mangle)]
static FLUSHED: Constant<u64> = Constant::new(0);

/// Offsets in `struct cgroup`: of `bstat.cputime.sum_exec_runtime`, `.utime` and `.stime`.
#[unsafe(no_mangle)]
static CGROUP_TOTAL: Constant<u64> = Constant::new(0);
#[unsafe(no_mangle)]
static CGROUP_USER: Constant<u64> = Constant::new(0);
#[unsafe(no_mangle)]
static CGROUP_SYSTEM: Constant<u64> = Constant::new(0);

/// Offsets in `struct cgroup`: of `prev_cputime.utime` and `.stime`.
#[unsafe(no_mangle)]
static CGROUP_SHOWN_USER: Constant<u64> = Constant::new(0);
#[unsafe(no_mangle)]
static CGROUP_SHOWN_SYSTEM: Constant<u64> = Constant::new(0);

/// Reads the cgroup's times behind `cpu.stat` (`kernel/cgroup/rstat.c`).
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter.s/cgroup")]
fn cgroup_cpu(visit: *const Visit) -> i32 {
    // SAFETY: `visit` is the context that the kernel passes to the program, and `cgroup` the live cgroup in it, to
    // which the flush may be applied; `found` points to a map value, which no other run writes.
    unsafe {
        let Some((meta, cgroup)) = Visit::of(visit) else { return 0 };
        let Some(found) = entry(&CPU, &PASS, meta) else { return 0 };
        call::<FLUSH>(cgroup.add(FLUSHED.get() as usize) as u64, 0);
        (*found).cgroup = id(cgroup);
        (*found).total = load(cgroup, CGROUP_TOTAL.get());
        (*found).user = load(cgroup, CGROUP_USER.get());
        (*found).system = load(cgroup, CGROUP_SYSTEM.get());
        (*found).shown_user = load(cgroup, CGROUP_SHOWN_USER.get());
        (*found).shown_system = load(cgroup, CGROUP_SHOWN_SYSTEM.get());
    }
    0
}
