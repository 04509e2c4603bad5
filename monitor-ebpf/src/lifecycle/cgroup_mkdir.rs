//! Reports cgroups that are created.

use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use monitor_common::CgroupEventKind;

use crate::send;

/// `cgroup_mkdir(struct cgroup *cgrp, const char *path)`.
#[btf_tracepoint(function = "cgroup_mkdir")]
fn cgroup_mkdir(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: argument 0 of this tracepoint is its `struct cgroup *`.
    unsafe { send(ctx.arg(0), CgroupEventKind::Created) }
}
