//! Reports cgroups that, with their descendants, get the first process or lose the last one.

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use monitor_common::CgroupEventKind;

use crate::send;

/// `cgroup_notify_populated(struct cgroup *cgrp, const char *path, int val)`.
#[btf_tracepoint(function = "cgroup_notify_populated")]
fn cgroup_notify_populated(ctx: BtfTracePointContext) -> i32 {
    let populated: i32 = ctx.arg(2);
    let kind = if populated == 0 { CgroupEventKind::Emptied } else { CgroupEventKind::Populated };
    // SAFETY: argument 0 of this tracepoint is its `struct cgroup *`.
    unsafe { send(ctx.arg(0), kind) }
}
