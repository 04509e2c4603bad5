//! Exits of a cgroup's processes.

use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::macros::{btf_tracepoint, map};
use aya_ebpf::maps::{LruHashMap, ProgramArray};
use aya_ebpf::programs::BtfTracePointContext;
use monitor_ebpf::{Constant, add, tail_call};

use crate::charge;

/// `offsetof(struct task_struct, signal)`.
#[unsafe(no_mangle)]
static TASK_SIGNAL: Constant<u64> = Constant::new(0);

/// `offsetof(struct task_struct, group_leader)`.
#[unsafe(no_mangle)]
static TASK_GROUP_LEADER: Constant<u64> = Constant::new(0);

/// `offsetof(struct task_struct, start_time)`.
#[unsafe(no_mangle)]
static TASK_START_TIME: Constant<u64> = Constant::new(0);

/// `offsetof(struct signal_struct, live)`: the threads that have not begun to exit.
#[unsafe(no_mangle)]
static SIGNAL_LIVE: Constant<u64> = Constant::new(0);

/// `offsetof(struct signal_struct, nr_threads)`: the threads that have not been released.
#[unsafe(no_mangle)]
static SIGNAL_THREADS: Constant<u64> = Constant::new(0);

/// `offsetof(struct signal_struct, oom_mm)`: the memory of a process that the out-of-memory killer chose.
#[unsafe(no_mangle)]
static SIGNAL_OOM_MM: Constant<u64> = Constant::new(0);

/// Identity of a process, distinct from a later one with the same pid.
#[repr(C)]
#[derive(Clone, Copy)]
struct Process {
    tgid: u64,
    start_time: u64,
}

/// Multi-threaded processes that exited recently.
#[map]
static ENDED: LruHashMap<Process, u8> = LruHashMap::with_max_entries(4096, 0);

/// The counting program.
#[map]
static SCHED_PROCESS_EXIT: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// Trampoline.
#[btf_tracepoint(function = "sched_process_exit")]
fn sched_process_exit(ctx: BtfTracePointContext) -> i32 {
    tail_call(&SCHED_PROCESS_EXIT, &ctx)
}

/// Counts the exit of a process. Runs in each exiting thread, after it was subtracted from the live ones. Threads that
/// exit at the same moment may all see zero live threads: the first one counts.
#[btf_tracepoint(function = "sched_process_exit")]
fn count_sched_process_exit(ctx: BtfTracePointContext) -> i32 {
    let task: *const u8 = ctx.arg(0);
    // SAFETY: argument 0 of this tracepoint is a `struct task_struct *`; `signal` and `leader` are pointers of the
    // types that the verifier reads from BTF, with the fields at these offsets.
    let (live, threads, killed, start_time) = unsafe {
        let signal = pointer(task, TASK_SIGNAL.get());
        let leader = pointer(task, TASK_GROUP_LEADER.get());
        let live = core::ptr::read_volatile(signal.add(SIGNAL_LIVE.get() as usize).cast::<u32>());
        let threads = core::ptr::read_volatile(signal.add(SIGNAL_THREADS.get() as usize).cast::<u32>());
        let killed = !pointer(signal, SIGNAL_OOM_MM.get()).is_null();
        let start = core::ptr::read_volatile(leader.add(TASK_START_TIME.get() as usize).cast::<u64>());
        (live, threads, killed, start)
    };
    let tgid = bpf_get_current_pid_tgid() >> 32;
    if live != 0 || !is_first(Process { tgid, start_time }, threads == 1) {
        return 0;
    }
    charge(&ctx, |processes| {
        // SAFETY: `processes` points to a map value of this type: `charge` passes nothing else.
        unsafe {
            add(&raw mut (*processes).exits, 1);
            if killed {
                add(&raw mut (*processes).oom_kills, 1);
            }
        }
    })
}

/// True if no thread of the process has counted its exit yet. A thread of a multi-threaded process leaves an entry for
/// those after it; for the only or last remaining thread a lookup suffices, which is cheaper.
#[inline(always)]
fn is_first(process: Process, is_alone: bool) -> bool {
    if is_alone {
        // SAFETY: only the presence of the value is used, so that no other CPU can change what is read.
        unsafe { ENDED.get(process) }.is_none()
    } else {
        ENDED.insert(process, 1, u64::from(BPF_NOEXIST)).is_ok()
    }
}

/// Loads a pointer from kernel memory.
///
/// # Safety
/// The verifier must know the type of `base`, with a pointer at `offset` in it.
#[inline(always)]
unsafe fn pointer(base: *const u8, offset: u64) -> *const u8 {
    // SAFETY: there is a pointer at `offset` by this function's contract.
    unsafe { core::ptr::read_volatile(base.add(offset as usize).cast::<*const u8>()) }
}
