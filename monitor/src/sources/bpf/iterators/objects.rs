//! Iterator objects, and the kernel facts that they need.

use monitor_common::kernel::{
    CAST, FLUSH, MEMORY_EVENTS, MEMORY_FLUSH, MEMORY_GET, MEMORY_PUT, MEMORY_STATE, MEMORY_USAGE,
};
use monitor_common::objects;

use crate::metrics::{CONTROLLER_ITERATOR, CPU_ITERATOR, MEMORY_ITERATOR, TASK_ITERATOR};
use crate::sources::bpf::facts::{Constant, Fact};

/// An ELF object with one program.
#[derive(Debug)]
pub(super) struct IteratorObject {
    /// Its name.
    pub(super) name: &'static str,
    /// Its program.
    pub(super) program: &'static str,
    /// The iterator's target: `cgroup` or `task`.
    pub(super) over: &'static str,
    /// The map that a run fills, if any.
    pub(super) table: &'static str,
    /// The constants that the agent sets at load time.
    pub(super) constants: &'static [Constant],
    /// The kernel functions that it requires.
    pub(super) functions: &'static [u32],
    /// The remedy where the kernel lacks something.
    pub(super) remedy: &'static str,
}

/// Reads CPU time.
pub(super) const CPU: IteratorObject = IteratorObject {
    name: objects::CPU,
    program: CPU_ITERATOR,
    over: "cgroup",
    table: "CPU",
    constants: &[
        ("CGROUP_KN", Fact::Field("cgroup", "kn")),
        ("KERNFS_ID", Fact::Field("kernfs_node", "id")),
        ("FLUSHED", Fact::Flushed),
        ("CGROUP_TOTAL", Fact::Field("cgroup", "bstat.cputime.sum_exec_runtime")),
        ("CGROUP_USER", Fact::Field("cgroup", "bstat.cputime.utime")),
        ("CGROUP_SYSTEM", Fact::Field("cgroup", "bstat.cputime.stime")),
        ("CGROUP_SHOWN_USER", Fact::Field("cgroup", "prev_cputime.utime")),
        ("CGROUP_SHOWN_SYSTEM", Fact::Field("cgroup", "prev_cputime.stime")),
    ],
    functions: &[FLUSH],
    remedy: "run Linux 6.1 or later; until then cpu.stat is read, which costs more",
};

/// Reads the state of the controllers.
pub(super) const CONTROLLERS: IteratorObject = IteratorObject {
    name: objects::CONTROLLERS,
    program: CONTROLLER_ITERATOR,
    over: "cgroup",
    table: "CONTROLLERS",
    constants: &[
        ("CGROUP_KN", Fact::Field("cgroup", "kn")),
        ("KERNFS_ID", Fact::Field("kernfs_node", "id")),
        // Since Linux 7.2 the count of populated css_sets is in each controller's state.
        ("CGROUP_TASKS", Fact::FirstOf("cgroup", &["nr_populated_csets", "self.nr_populated_csets"])),
        ("CGROUP_CHILDREN", Fact::Field("cgroup", "nr_populated_domain_children")),
        ("CGROUP_THREADED", Fact::Field("cgroup", "nr_populated_threaded_children")),
        ("CGROUP_FLAGS", Fact::Field("cgroup", "flags")),
        ("FROZEN_BIT", Fact::Value("", "CGRP_FROZEN")),
        ("CGROUP_CPU", Fact::Controller("cpu_cgrp_id")),
        ("CGROUP_MEMORY", Fact::Controller("memory_cgrp_id")),
        ("CGROUP_PIDS", Fact::Controller("pids_cgrp_id")),
        ("CGROUP_FREEZER", Fact::Controller("freezer_cgrp_id")),
        ("CGROUP_IO", Fact::Controller("io_cgrp_id")),
        ("TASK_GROUP", Fact::Castable("task_group", "cfs_bandwidth.nr_throttled")),
        ("TASK_GROUP_QUOTA", Fact::IfAny("task_group", "cfs_bandwidth.quota")),
        ("TASK_GROUP_PERIOD", Fact::IfAny("task_group", "cfs_bandwidth.period")),
        ("TASK_GROUP_PERIODS", Fact::IfAny("task_group", "cfs_bandwidth.nr_periods")),
        ("TASK_GROUP_THROTTLED", Fact::IfAny("task_group", "cfs_bandwidth.nr_throttled")),
        ("TASK_GROUP_THROTTLED_TIME", Fact::IfAny("task_group", "cfs_bandwidth.throttled_time")),
        ("MEM_CGROUP", Fact::Castable("mem_cgroup", "memory.usage")),
        ("MEM_CGROUP_USAGE", Fact::IfAny("mem_cgroup", "memory.usage")),
        ("MEM_CGROUP_LIMIT", Fact::IfAny("mem_cgroup", "memory.max")),
        ("MEM_CGROUP_PEAK", Fact::IfAny("mem_cgroup", "memory.watermark")),
        ("MEM_CGROUP_SWAP", Fact::IfAny("mem_cgroup", "swap.usage")),
        ("MEM_CGROUP_EVENTS", Fact::IfAny("mem_cgroup", "memory_events")),
        ("OOM_KILL", Fact::ValueIfAny("memcg_memory_event", "MEMCG_OOM_KILL")),
        ("MEM_CGROUP_STATS", Fact::IfAny("mem_cgroup", "vmstats")),
        ("STATS", Fact::Castable("memcg_vmstats", "stats_updates")),
        ("STATS_STATE", Fact::IfAny("memcg_vmstats", "state")),
        ("STATS_STATE_LENGTH", Fact::LengthIfAny("memcg_vmstats", "state")),
        ("STATS_EVENTS", Fact::IfAny("memcg_vmstats", "events")),
        ("STATS_EVENTS_LENGTH", Fact::LengthIfAny("memcg_vmstats", "events")),
        ("STATS_UPDATES", Fact::IfAny("memcg_vmstats", "stats_updates")),
        ("PIDS_CGROUP", Fact::Castable("pids_cgroup", "counter")),
        ("PIDS_CGROUP_COUNT", Fact::IfAny("pids_cgroup", "counter")),
        ("PIDS_CGROUP_LIMIT", Fact::IfAny("pids_cgroup", "limit")),
        ("FREEZER", Fact::Castable("freezer", "state")),
        ("FREEZER_STATE", Fact::IfAny("freezer", "state")),
        ("FREEZER_FREEZING", Fact::ValueIfAny("freezer_state_flags", "CGROUP_FREEZING")),
        ("FREEZER_FROZEN", Fact::ValueIfAny("freezer_state_flags", "CGROUP_FROZEN")),
        ("BLKCG", Fact::Castable("blkcg", "blkg_list.first")),
        ("BLKCG_FIRST", Fact::IfAny("blkcg", "blkg_list.first")),
        ("CGROUP_PSI", Fact::IfAny("cgroup", "psi")),
        ("PSI_GROUP", Fact::Castable("psi_group", "enabled")),
        ("PSI_GROUP_ENABLED", Fact::IfAny("psi_group", "enabled")),
        ("PSI_GROUP_WORK", Fact::IfAny("psi_group", "avgs_work.work.data")),
        ("PSI_GROUP_AVERAGES", Fact::IfAny("psi_group", "avg")),
        ("PSI_CPU_SOME", Fact::ValueIfAny("psi_states", "PSI_CPU_SOME")),
        ("PSI_MEM_SOME", Fact::ValueIfAny("psi_states", "PSI_MEM_SOME")),
        ("PSI_MEM_FULL", Fact::ValueIfAny("psi_states", "PSI_MEM_FULL")),
        ("PSI_IO_SOME", Fact::ValueIfAny("psi_states", "PSI_IO_SOME")),
    ],
    functions: &[CAST],
    remedy: "run Linux 6.2 or later; until then the files of each controller are read, which costs more",
};

/// Reads memory.
pub(super) const MEMORY: IteratorObject = IteratorObject {
    name: objects::MEMORY,
    program: MEMORY_ITERATOR,
    over: "cgroup",
    table: "MEMORY",
    constants: &[
        ("CGROUP_KN", Fact::Field("cgroup", "kn")),
        ("KERNFS_ID", Fact::Field("kernfs_node", "id")),
        ("CGROUP_SELF", Fact::Field("cgroup", "self")),
        ("ANON", Fact::Value("node_stat_item", "NR_ANON_MAPPED")),
        ("FILE", Fact::Value("node_stat_item", "NR_FILE_PAGES")),
        ("INACTIVE_FILE", Fact::Value("node_stat_item", "NR_INACTIVE_FILE")),
        ("OOM_KILL", Fact::Value("memcg_memory_event", "MEMCG_OOM_KILL")),
    ],
    functions: &[MEMORY_GET, MEMORY_PUT, MEMORY_FLUSH, MEMORY_USAGE, MEMORY_STATE, MEMORY_EVENTS],
    remedy: "run Linux 7.0 or later; until then memory.stat and others are read, which costs more",
};

/// Reads processes with their threads and descriptors.
pub(super) const TASKS: IteratorObject = IteratorObject {
    name: objects::TASKS,
    program: TASK_ITERATOR,
    over: "task",
    table: "",
    constants: &[
        ("CGROUP_KN", Fact::Field("cgroup", "kn")),
        ("KERNFS_ID", Fact::Field("kernfs_node", "id")),
        ("TASK_PID", Fact::Field("task_struct", "pid")),
        ("TASK_TGID", Fact::Field("task_struct", "tgid")),
        ("TASK_GROUP_LEADER", Fact::Field("task_struct", "group_leader")),
        ("TASK_EXIT_STATE", Fact::Field("task_struct", "exit_state")),
        ("TASK_FILES", Fact::Field("task_struct", "files")),
        ("TASK_SIGNAL", Fact::Field("task_struct", "signal")),
        ("TASK_CGROUPS", Fact::Field("task_struct", "cgroups")),
        ("TASK_START_BOOTTIME", Fact::Field("task_struct", "start_boottime")),
        ("CSS_SET_DFL_CGRP", Fact::Field("css_set", "dfl_cgrp")),
        ("CGROUP_PARENT", Fact::Field("cgroup", "self.parent")),
        ("STATE_CGROUP", Fact::Field("cgroup_subsys_state", "cgroup")),
        ("SIGNAL_THREADS", Fact::Field("signal_struct", "nr_threads")),
        ("SIGNAL_LIMITS", Fact::Field("signal_struct", "rlim")),
        ("FILES_FDT", Fact::Field("files_struct", "fdt")),
        ("FDTABLE_MAX", Fact::Field("fdtable", "max_fds")),
        ("FDTABLE_OPEN", Fact::Field("fdtable", "open_fds")),
        ("LONG", Fact::Castable("cpumask", "bits")),
    ],
    functions: &[],
    remedy: "run Linux 5.17 or later; until then the files of /proc are read, which costs more",
};

/// Returns all constants that the objects need.
pub(in crate::sources::bpf) fn constants() -> impl Iterator<Item = Constant> {
    [&CPU, &CONTROLLERS, &MEMORY, &TASKS].into_iter().flat_map(|object| object.constants).copied()
}
