//! Names of the eBPF objects, shared by the build, the agent and the tests.

/// Counts packets.
pub const NETWORK: &str = "network";
/// Counts process events and descriptors.
pub const PROCESS: &str = "process";
/// Reports cgroups that are created and removed.
pub const LIFECYCLE: &str = "lifecycle";
/// Iterates over cgroups for their CPU time.
pub const CPU: &str = "cpu";
/// Iterates over cgroups for the state of their controllers.
pub const CONTROLLERS: &str = "controllers";
/// Iterates over cgroups for their memory.
pub const MEMORY: &str = "memory";
/// Iterates over tasks.
pub const TASKS: &str = "tasks";

/// All objects.
pub const ALL: [&str; 7] = [NETWORK, PROCESS, LIFECYCLE, CPU, CONTROLLERS, MEMORY, TASKS];
