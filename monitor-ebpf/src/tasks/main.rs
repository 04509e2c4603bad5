//! Iterator that reads the processes of all cgroups, with their threads and descriptors.
#![no_std]
#![no_main]

use aya_ebpf::helpers::generated::bpf_seq_write;
use monitor_common::Process;
use monitor_ebpf::iterator::Visit;
use monitor_ebpf::kernel::{follow, id, load};
use monitor_ebpf::{Constant, files};

monitor_ebpf::object!();

/// The cgroup whose processes are read, with its descendants; 0 for all.
#[unsafe(no_mangle)]
static SCOPE: Constant<u64> = Constant::new(0);

/// Offsets in `struct task_struct`.
#[unsafe(no_mangle)]
static TASK_PID: Constant<u64> = Constant::new(0);
#[unsafe(no_mangle)]
static TASK_TGID: Constant<u64> = Constant::new(0);
#[unsafe(no_mangle)]
static TASK_GROUP_LEADER: Constant<u64> = Constant::new(0);
#[unsafe(no_mangle)]
static TASK_EXIT_STATE: Constant<u64> = Constant::new(0);
#[unsafe(no_mangle)]
static TASK_FILES: Constant<u64> = Constant::new(0);
#[unsafe(no_mangle)]
static TASK_SIGNAL: Constant<u64> = Constant::new(0);
#[unsafe(no_mangle)]
static TASK_CGROUPS: Constant<u64> = Constant::new(0);
#[unsafe(no_mangle)]
static TASK_START_BOOTTIME: Constant<u64> = Constant::new(0);

/// `offsetof(struct css_set, dfl_cgrp)`: the cgroup in the v2 tree.
#[unsafe(no_mangle)]
static CSS_SET_DFL_CGRP: Constant<u64> = Constant::new(0);

/// `offsetof(struct cgroup, self.parent)` and `offsetof(struct cgroup_subsys_state, cgroup)`.
#[unsafe(no_mangle)]
static CGROUP_PARENT: Constant<u64> = Constant::new(0);
#[unsafe(no_mangle)]
static STATE_CGROUP: Constant<u64> = Constant::new(0);

/// Offsets in `struct signal_struct`: of `nr_threads`, and of `rlim`.
#[unsafe(no_mangle)]
static SIGNAL_THREADS: Constant<u64> = Constant::new(0);
#[unsafe(no_mangle)]
static SIGNAL_LIMITS: Constant<u64> = Constant::new(0);

/// Offset of the descriptor limit in `rlim`: `RLIMIT_NOFILE` is 7 (`include/uapi/asm-generic/resource.h`).
const NOFILE: u64 = 7 * 16;

/// Depth down to which a cgroup's ancestors are searched for the scope.
const DEEPEST: u32 = 256;

/// Writes one record per process, at its first thread, like `/proc/PID`. If that thread has ended while others go on,
/// each of them writes one, and the agent takes one. A table of descriptors shared by several processes counts for each
/// of them; threads share one.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
fn task(visit: *const Visit) -> i32 {
    // SAFETY: `visit` is the context that the kernel passes to the program, and `task` the live task in it. The
    // pointers that follow from it are of the types that the verifier reads from BTF. `record` outlives the call.
    unsafe {
        let Some((meta, task)) = Visit::of(visit) else { return 0 };
        let process: u32 = load(task, TASK_TGID.get());
        let has_ended = |task: *const u8| load::<u32>(task, TASK_EXIT_STATE.get()) != 0;
        let first = follow(task, TASK_GROUP_LEADER.get());
        let is_first = process == load::<u32>(task, TASK_PID.get());
        if has_ended(task) || !is_first && !has_ended(first) {
            return 0;
        }
        let cgroup = follow(follow(task, TASK_CGROUPS.get()), CSS_SET_DFL_CGRP.get());
        if SCOPE.get() != 0 && !is_below(cgroup, SCOPE.get()) {
            return 0;
        }
        let signal = follow(task, TASK_SIGNAL.get());
        let table = follow(task, TASK_FILES.get());
        let output = core::ptr::read_volatile(&raw const (*meta).output);
        let record = Process {
            cgroup: id(cgroup),
            started: load(first, TASK_START_BOOTTIME.get()),
            descriptors: if table.is_null() { 0 } else { files::open(table) },
            limit: load(signal, SIGNAL_LIMITS.get() + NOFILE),
            pid: process,
            threads: load::<u32>(signal, SIGNAL_THREADS.get()) - u32::from(!is_first),
        };
        bpf_seq_write(output, (&raw const record).cast(), size_of::<Process>() as u32);
    }
    0
}

/// True if a cgroup is the scope or a descendant of it.
///
/// # Safety
/// The verifier must know `cgroup` as a `struct cgroup`.
#[inline(always)]
unsafe fn is_below(mut cgroup: *const u8, scope: u64) -> bool {
    let mut level = 0;
    while level < DEEPEST {
        // SAFETY: `cgroup` is a `struct cgroup`: the first by this function's contract, each later one because the
        // state of a parent belongs to one. A load through an invalid pointer of these types gives 0.
        unsafe {
            if id(cgroup) == scope {
                return true;
            }
            let parent = follow(cgroup, CGROUP_PARENT.get());
            if parent.is_null() {
                return false;
            }
            cgroup = follow(parent, STATE_CGROUP.get());
        }
        level += 1;
    }
    false
}
