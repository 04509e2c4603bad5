//! Files of a cgroup's directory, and their formats.

use std::time::Duration;

/// The value of a limit that is not set (`max` in a cgroup file).
pub const NO_LIMIT: u64 = u64::MAX;

/// The value of a limit that is not set as far as can be seen: levels of the tree above are not visible.
pub const NOT_VISIBLE: u64 = u64::MAX - 1;

/// Limits change rarely: an interval shorter than the usual one reads them no more often than this.
pub(super) const LIMITS: Duration = Duration::from_secs(4);

/// The kernel averages pressure every two seconds (`PSI_FREQ`, `kernel/sched/psi.c`). A reading in between would find
/// the same values, and one that is a little early must not skip one.
pub(super) const AVERAGES: Duration = Duration::from_millis(1_500);

/// Formats of kernel files (`Documentation/admin-guide/cgroup-v2.rst`, "Format").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One number, or `max`.
    Single,
    /// `KEY value` lines.
    Flat(&'static str),
    /// The sum of several keys of such lines.
    Sum(&'static [&'static str]),
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

/// A value from the kernel that changes whenever the text of a cgroup's file does: as long as it is the same, the file
/// need not be read again.
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

/// The level of the tree whose value of a file counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upwards {
    /// The cgroup's own.
    Own,
    /// The smallest one on the way to the root: each level limits those below.
    Smallest,
    /// The first one on the way to the root: a level without the file has what is above it.
    Nearest,
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
    /// The level of the tree whose value counts.
    pub upwards: Upwards,
    /// True if the values of all groups below are added: the kernel counts each group alone.
    pub sums_downwards: bool,
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
            upwards: Upwards::Own,
            sums_downwards: false,
            older: None,
            holds: Duration::ZERO,
            token: None,
            costs_read: false,
        }
    }
}
