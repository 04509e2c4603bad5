//! Kernel functions that the programs call (`Documentation/bpf/kfuncs.rst`). An object holds a placeholder for each, which
//! the agent replaces by the id that the function has in the running kernel.

/// Brings a cgroup's CPU time up to date.
pub const FLUSH: u32 = 0x7eed_0001;
/// Lets a program look at memory as a structure of a kind that it names.
pub const CAST: u32 = 0x7eed_0002;
/// The memory controller's state of a cgroup.
pub const MEMORY_GET: u32 = 0x7eed_0003;
/// Lets go of that state.
pub const MEMORY_PUT: u32 = 0x7eed_0004;
/// Brings memory statistics up to date.
pub const MEMORY_FLUSH: u32 = 0x7eed_0005;
/// Memory in use, in bytes.
pub const MEMORY_USAGE: u32 = 0x7eed_0006;
/// One of the memory statistics, in bytes.
pub const MEMORY_STATE: u32 = 0x7eed_0007;
/// How often a memory event happened.
pub const MEMORY_EVENTS: u32 = 0x7eed_0008;

/// Each placeholder, and the names that its function has or had.
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
