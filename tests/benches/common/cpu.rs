//! CPU time and memory of an agent.

use std::fs;
use std::time::Duration;

use tests::agent::Agent;

/// CPU time with a resolution of nanoseconds: `schedstat` of every thread (`Documentation/scheduler/sched-stats.rst`).
pub fn cpu(agent: &Agent) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{}/task", agent.pid())).unwrap().flatten();
    let nanos = tasks.filter_map(|task| {
        fs::read_to_string(task.path().join("schedstat")).ok()?.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}

/// Bytes as MiB.
pub fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
