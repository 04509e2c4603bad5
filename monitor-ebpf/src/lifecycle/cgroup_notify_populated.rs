//! Cgroups that get their first process or lose their last one, those below them included.

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use monitor_common::Turn;

use crate::tell;

/// `cgroup_notify_populated(struct cgroup *cgrp, const char *path, int val)`.
#[btf_tracepoint(function = "cgroup_notify_populated")]
fn cgroup_notify_populated(ctx: BtfTracePointContext) -> i32 {
    let populated: i32 = ctx.arg(2);
    let turn = if populated == 0 { Turn::Emptied } else { Turn::Filled };
    // SAFETY: the first argument is the cgroup.
    unsafe { tell(ctx.arg(0), turn) }
}
