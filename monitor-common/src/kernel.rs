//! Kernel functions (kfuncs) that the programs call (`Documentation/bpf/kfuncs.rst`). An object contains a placeholder
//! for each, which the agent replaces by the function's id in the running kernel.

/// Flushes a cgroup's CPU time (rstat).
pub const FLUSH: u32 = 0x7eed_0001;
/// Casts memory to a structure, by its BTF id.
pub const CAST: u32 = 0x7eed_0002;
/// Returns the memory controller's state of a cgroup, with a reference.
pub const MEMORY_GET: u32 = 0x7eed_0003;
/// Releases that reference.
pub const MEMORY_PUT: u32 = 0x7eed_0004;
/// Flushes the memory statistics.
pub const MEMORY_FLUSH: u32 = 0x7eed_0005;
/// Returns the memory in use, in bytes.
pub const MEMORY_USAGE: u32 = 0x7eed_0006;
/// Returns one of the memory statistics, in bytes.
pub const MEMORY_STATE: u32 = 0x7eed_0007;
/// Returns the count of a memory event.
pub const MEMORY_EVENTS: u32 = 0x7eed_0008;

/// The placeholders, with the current and former names of their functions.
pub const FUNCTIONS: &[(u32, &[&str])] = &[
    (FLUSH, &["css_rstat_flush", "cgroup_rstat_flush"]),
    (CAST, &["bpf_rdonly_cast"]),
    (MEMORY_GET, &["bpf_get_mem_cgroup"]),
    (MEMORY_PUT, &["bpf_put_mem_cgroup"]),
    (MEMORY_FLUSH, &["bpf_mem_cgroup_flush_stats"]),
    (MEMORY_USAGE, &["bpf_mem_cgroup_usage"]),
    (MEMORY_STATE, &["bpf_mem_cgroup_page_state"]),
    (MEMORY_EVENTS, &["bpf_mem_cgroup_memory_events"]),
];
