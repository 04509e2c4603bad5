//! Files of a cgroup's directory, and their formats.

use std::time::Duration;

/// The value of a limit that is not set (`max` in a cgroup file).
pub const NO_LIMIT: u64 = u64::MAX;

/// Limits change rarely: an interval shorter than the usual one reads them no more often than this.
pub(super) const LIMITS: Duration = Duration::from_secs(4);

/// The kernel averages pressure every two seconds (`PSI_FREQ`, `kernel/sched/psi.c`). A reading in between would find the same
/// values, and one that is a little early must not skip one.
pub(super) const AVERAGES: Duration = Duration::from_millis(1_500);

/// Formats of kernel files (`Documentation/admin-guide/cgroup-v2.rst`, "Format").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One number, or `max`.
    Single,
    /// `KEY value` lines.
    Flat(&'static str),
    /// `WORD KEY=value …` lines; the word `*` sums the key over all lines.
    Nested(&'static str, &'static str),
    /// `QUOTA PERIOD`, the quota possibly `max` or -1: millionths of a CPU.
    Quota,
    /// A list such as `0-3,7`: the number of its elements.
    List,
    /// `MAJ:MIN OPERATION value` lines of the v1 blkio controller, summed over devices.
    Operation(&'static str),
    /// One word: 1 if it is this one, else 0.
    Word(&'static str),
}

/// A value from the kernel that changes whenever the text of a cgroup's file does: as long as it is the same, the file need not
/// be read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeToken {
    /// The token of memory statistics.
    Memory,
    /// The token of I/O on block devices.
    Io,
    /// The token of the memory limit.
    MemoryLimit,
    /// The token of the task limit.
    TasksLimit,
    /// The token of the CPU quota.
    Quota,
}

/// A file in a cgroup's directory, and the place of a number in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct File {
    /// Its name.
    pub name: &'static str,
    /// A second file whose text is appended to the first's before parsing (v1 quota and period).
    pub companion: Option<&'static str>,
    /// Its format.
    pub format: Format,
    /// The factor that brings the number into the row's unit.
    pub scale: u64,
    /// True if the smallest value on the way to the root counts.
    pub smallest_upwards: bool,
    /// Its name in older kernels, which have it under that name alone.
    pub older: Option<&'static str>,
    /// The time for which a value that was read is still valid.
    pub holds: Duration,
    /// The token that stays the same as long as the text does.
    pub token: Option<ChangeToken>,
    /// True if this row makes the agent read the file for each container although every eBPF program runs.
    pub costs_read: bool,
}

impl File {
    pub(super) const fn new(name: &'static str, format: Format) -> Self {
        Self {
            name,
            companion: None,
            format,
            scale: 1,
            smallest_upwards: false,
            older: None,
            holds: Duration::ZERO,
            token: None,
            costs_read: false,
        }
    }
}
