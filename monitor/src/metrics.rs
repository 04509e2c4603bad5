//! The table: every number the agent reports, one row each.
//!
//! Reading, JSON, the terminal tables and `docs/metrics.md` are loops over it. A number that a kernel file already
//! has is added by adding its row; one that eBPF counts needs the field and the increment as well.

use std::time::Duration;

use monitor_common::{Memory, Network, Processes};

use crate::cause::Cause;
use crate::readings::{Controllers, CpuTime, Disk, Filesystem, Interfaces, Machine, Read, Tasks};

/// The value of a limit that is not set (`max` in a cgroup file).
pub const NO_LIMIT: u64 = u64::MAX;

/// Whether a number only ever grows within a container's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Cumulative: differences mean something.
    Counter,
    /// A level.
    Gauge,
}

/// What a number counts, and so how its raw integer is scaled when shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Things.
    Count,
    /// Bytes.
    Bytes,
    /// Nanoseconds.
    Nanoseconds,
    /// Whole seconds.
    Seconds,
    /// Percent; raw values are hundredths of a percent.
    Percent,
    /// CPUs; raw values are millionths.
    Cores,
    /// A load average; raw values are hundredths.
    Load,
    /// Things per second.
    PerSecond,
    /// Bytes per second.
    BytesPerSecond,
}

impl Unit {
    /// What the raw integer is divided by, where that makes it a real number.
    pub fn divisor(self) -> Option<f64> {
        match self {
            Self::Percent | Self::Load => Some(100.0),
            Self::Cores => Some(1e6),
            _ => None,
        }
    }

    /// The word for documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Bytes => "bytes",
            Self::Nanoseconds => "nanoseconds",
            Self::Seconds => "seconds",
            Self::Percent => "percent",
            Self::Cores => "cores",
            Self::Load => "load",
            Self::PerSecond => "per second",
            Self::BytesPerSecond => "bytes per second",
        }
    }
}

/// How the kernel writes a number into a file (`Documentation/admin-guide/cgroup-v2.rst`, "Format").
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
    /// `0-3,7`: how many.
    List,
    /// `MAJ:MIN OPERATION value` lines of the v1 blkio controller, summed over devices.
    Operation(&'static str),
    /// One word: 1 if it is this one, else 0.
    Word(&'static str),
}

/// A file in a cgroup's directory, and where in it the number stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct File {
    /// Its name.
    pub name: &'static str,
    /// A second file whose text is put behind the first's before parsing (v1 quota and period).
    pub companion: Option<&'static str>,
    /// How it is written.
    pub format: Format,
    /// What the number is multiplied by to be in the row's unit.
    pub scale: u64,
    /// Whether the smallest value on the way to the root counts.
    pub smallest_upwards: bool,
    /// What it was called before, where a kernel has it under that name alone.
    pub older: Option<&'static str>,
    /// How long what was read holds: for so long the kernel, or who sets it, says nothing new.
    pub holds: Duration,
    /// What stays the same as long as its text does.
    pub token: Option<ChangeToken>,
}

/// Limits change rarely: a shorter interval than the usual one reads them no more often than this.
const LIMITS: Duration = Duration::from_secs(4);

/// The kernel averages pressure each two seconds (`PSI_FREQ`, `kernel/sched/psi.c`); a reading in between would say the same,
/// and one a little early must not skip one.
const AVERAGES: Duration = Duration::from_millis(1_500);

impl File {
    const fn new(name: &'static str, format: Format) -> Self {
        let (companion, older, holds, token) = (None, None, Duration::ZERO, None);
        Self { name, companion, format, scale: 1, smallest_upwards: false, older, holds, token }
    }

    /// A pressure file.
    const fn average(name: &'static str, line: &'static str) -> Self {
        Self::new(name, Format::Nested(line, "avg10")).holding(AVERAGES)
    }

    /// A file of statistics on memory.
    const fn memory(key: &'static str) -> Self {
        Self::new("memory.stat", Format::Flat(key)).unchanged_with(ChangeToken::Memory)
    }

    const fn holding(mut self, time: Duration) -> Self {
        self.holds = time;
        self
    }

    const fn unchanged_with(mut self, token: ChangeToken) -> Self {
        self.token = Some(token);
        self
    }

    const fn or_older(mut self, name: &'static str) -> Self {
        self.older = Some(name);
        self
    }

    const fn times(mut self, scale: u64) -> Self {
        self.scale = scale;
        self
    }

    const fn upwards(mut self) -> Self {
        self.smallest_upwards = true;
        self.holding(LIMITS)
    }

    const fn with(mut self, companion: &'static str) -> Self {
        self.companion = Some(companion);
        self
    }
}

/// Where a number can come from.
#[derive(Clone, Copy, Debug)]
pub enum Origin {
    /// A file of the cgroup v2 directory.
    V2(File),
    /// A file of the cgroup's directory in the hierarchy of one v1 controller.
    V1(&'static str, File),
    /// eBPF: the programs that must be attached, and the field of what `cgroup_skb` counts.
    Network(&'static [&'static str], fn(&Network) -> u64),
    /// eBPF: the programs that must be attached, and the field of what is counted of processes.
    Processes(&'static [&'static str], fn(&Processes) -> u64),
    /// eBPF: a pass over all cgroups that takes their CPU time.
    CpuPass(fn(&CpuTime) -> u64),
    /// eBPF: a pass over all cgroups that takes what the controllers know of them.
    ControllerPass(fn(&Controllers) -> Option<u64>),
    /// eBPF: a pass over all cgroups that takes their memory.
    MemoryPass(fn(&Memory) -> u64),
    /// eBPF: a pass over all tasks.
    TaskPass(fn(&Tasks) -> Read),
    /// The processes of the cgroup.
    Tasks(fn(&Tasks) -> Read),
    /// The interfaces of the container's network namespace.
    Interfaces(fn(&Interfaces) -> u64),
    /// The machine; shared by all cgroups.
    Machine(fn(&Machine) -> Read),
    /// The machine, for the root cgroup alone, which has no files for it.
    Root(fn(&Machine) -> Read),
    /// The filesystem under the container's root.
    Filesystem(fn(&Filesystem) -> u64),
    /// A walk of the container's root filesystem.
    Disk(fn(&Disk) -> Read),
}

/// The programs that the passes run once per cgroup and per task.
pub const CPU_PASS: &str = "cgroup_cpu";
/// See [`CPU_PASS`].
pub const CONTROLLER_PASS: &str = "cgroup_controllers";
/// See [`CPU_PASS`].
pub const MEMORY_PASS: &str = "cgroup_memory";
/// See [`CPU_PASS`].
pub const TASK_PASS: &str = "task";

impl Origin {
    /// The eBPF programs that it takes.
    pub fn programs(&self) -> &'static [&'static str] {
        match self {
            Self::Network(programs, _) | Self::Processes(programs, _) => programs,
            Self::CpuPass(_) => &[CPU_PASS],
            Self::ControllerPass(_) => &[CONTROLLER_PASS],
            Self::MemoryPass(_) => &[MEMORY_PASS],
            Self::TaskPass(_) => &[TASK_PASS],
            _ => &[],
        }
    }

    /// The word that readers see in `sources`.
    pub fn backend(&self) -> &'static str {
        match self {
            Self::V2(_) => "cgroup2",
            Self::V1(..) => "cgroup1",
            Self::Network(..)
            | Self::Processes(..)
            | Self::CpuPass(_)
            | Self::ControllerPass(_)
            | Self::MemoryPass(_)
            | Self::TaskPass(_) => "ebpf",
            Self::Tasks(_) | Self::Interfaces(_) | Self::Machine(_) | Self::Root(_) => "procfs",
            Self::Filesystem(_) | Self::Disk(_) => "statfs",
        }
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::V2(file) => write!(f, "{} (cgroup v2)", file.name),
            Self::V1(_, file) => write!(f, "{} (cgroup v1)", file.name),
            Self::Network(programs, _) | Self::Processes(programs, _) => write!(f, "eBPF {}", programs.join(", ")),
            Self::CpuPass(_) => write!(f, "eBPF {CPU_PASS}"),
            Self::ControllerPass(_) => write!(f, "eBPF {CONTROLLER_PASS}"),
            Self::MemoryPass(_) => write!(f, "eBPF {MEMORY_PASS}"),
            Self::TaskPass(_) => write!(f, "eBPF {TASK_PASS}"),
            Self::Tasks(_) => f.write_str("/proc/PID"),
            Self::Interfaces(_) => f.write_str("/proc/PID/net/dev"),
            Self::Machine(_) => f.write_str("/proc"),
            Self::Root(_) => f.write_str("/proc/meminfo (root cgroup)"),
            Self::Filesystem(_) => f.write_str("statfs"),
            Self::Disk(_) => f.write_str("walk of the root filesystem"),
        }
    }
}

/// A value from the kernel that changes whenever the text of a cgroup's file does: as long as it is the same, the file need not
/// be read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeToken {
    /// Of the statistics of memory.
    Memory,
    /// Of what was done on block devices.
    Io,
    /// Of the limit of memory.
    MemoryLimit,
    /// Of the limit of tasks.
    TasksLimit,
    /// Of the CPU quota.
    Quota,
}

/// A derived number, or why there is none.
pub type Derived = Result<f64, Cause>;

/// What a derived row may look at: this reading, the machine, and the reading before.
pub trait View {
    /// A row's raw value.
    ///
    /// # Errors
    /// Why it is absent.
    fn raw(&self, metric: Metric) -> Result<u64, Cause>;

    /// A row's value as a real number: raw for read rows, computed for derived ones.
    ///
    /// # Errors
    /// Why it is absent.
    fn real(&self, metric: Metric) -> Derived;

    /// A row's value, which must not be 0 because something is divided by it.
    ///
    /// # Errors
    /// Why it is absent, or that it is 0.
    fn nonzero(&self, metric: Metric) -> Derived;

    /// The growth of a counter per second.
    ///
    /// # Errors
    /// That there is no earlier reading, that the counter went back, or why it is absent.
    fn rate(&self, metric: Metric) -> Derived;

    /// The growth of `part` in percent of the growth of `whole`; 0 while the whole stands still.
    ///
    /// # Errors
    /// As [`View::rate`].
    fn share(&self, part: Metric, whole: Metric) -> Derived;

    /// CPUs that the container may use: the tightest quota, the cpuset or the machine, whichever is least.
    ///
    /// # Errors
    /// When none of them can be read, or a quota may exist and cannot be read.
    fn cpu_allowance(&self) -> Derived;

    /// Bytes that the container may use: the smallest limit, else the machine's memory.
    ///
    /// # Errors
    /// When neither can be read.
    fn memory_allowance(&self) -> Derived;
}

/// How a row gets its number.
#[derive(Clone, Copy, Debug)]
pub enum How {
    /// Read from the first origin that has it.
    Read(&'static [Origin]),
    /// Computed from other rows of this reading and the one before.
    Derived(fn(&dyn View) -> Derived),
}

/// Where a number is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// A field of the report: `field` or `group.field`.
    Field(&'static str),
    /// Only an ingredient of others.
    Ingredient(&'static str),
}

/// A row.
#[derive(Debug)]
pub struct Spec {
    /// Name and place.
    pub shown: Shown,
    /// Counter or gauge.
    pub kind: Kind,
    /// What it counts.
    pub unit: Unit,
    /// Where it comes from.
    pub how: How,
    /// One sentence.
    pub help: &'static str,
}

impl Spec {
    /// The row's name: the path of its field in the report, where it has one.
    pub fn name(&self) -> &'static str {
        match self.shown {
            Shown::Field(name) | Shown::Ingredient(name) => name,
        }
    }

    /// Its origins, in order of preference; none for derived rows.
    pub fn origins(&self) -> &'static [Origin] {
        match self.how {
            How::Read(origins) => origins,
            How::Derived(_) => &[],
        }
    }
}

/// Makes `enum Metric`, `Metric::ALL` and `Metric::spec()` out of the rows. A row
///
/// ```text
/// /// Processes.
/// ProcessCount = Field("process_count"), Gauge, Count, Read(&[Tasks(|t| t.processes.clone())]);
/// ```
///
/// becomes the variant `Metric::ProcessCount` and a `Spec` whose help is the doc line.
macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $id:ident = $shown:expr, $kind:ident, $unit:ident, $how:expr;)+) => {
        /// The rows of the table, in the order of the report's fields.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Metric { $($(#[doc = $help])+ $id),+ }

        impl Metric {
            /// Every row.
            pub const ALL: &'static [Self] = &[$(Self::$id),+];
            /// How many rows there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The row.
            pub fn spec(self) -> &'static Spec {
                use {Format::*, How::*, Origin::*, Shown::*};
                match self {
                    $(Self::$id => const {
                        &Spec { shown: $shown, kind: Kind::$kind, unit: Unit::$unit, how: $how, help: concat!($($help),+).trim_ascii() }
                    }),+
                }
            }
        }
    };
}

/// The program pair behind each direction of network traffic.
const INGRESS: &[&str] = &["ingress"];
const EGRESS: &[&str] = &["egress"];

metrics! {
    /// Share of the CPU allowance in use, 100 being all of it: the tightest quota on the way to the root, else the
    /// CPUs of the cpuset, else the machine's.
    CpuPercent = Field("cpu_percent"), Gauge, Percent, Derived(|v| Ok((v.real(Metric::CpuUsageCores)? / v.cpu_allowance()? * 100.0).min(100.0)));
    /// Memory charged to the container, page cache included.
    MemoryUsage = Field("memory_usage_bytes"), Gauge, Bytes, Read(&[MemoryPass(|m| m.usage), ControllerPass(|c| c.memory), V2(File::new("memory.current", Single)), V1("memory", File::new("memory.usage_in_bytes", Single)), Root(|m| m.memory_used.clone())]);
    /// Memory in percent of the smallest limit on the way to the root, else of the machine's memory.
    MemoryPercent = Field("memory_percent"), Gauge, Percent, Derived(|v| Ok(v.real(Metric::MemoryUsage)? / v.memory_allowance()? * 100.0));
    /// Bytes received: IP bytes of the container's own sockets, loopback included (eBPF), or all interfaces of its
    /// network namespace but loopback.
    NetworkRxBytes = Field("network_rx_bytes"), Counter, Bytes, Read(&[Network(INGRESS, |n| n.rx_bytes), Interfaces(|i| i.rx_bytes)]);
    /// Bytes sent, likewise.
    NetworkTxBytes = Field("network_tx_bytes"), Counter, Bytes, Read(&[Network(EGRESS, |n| n.tx_bytes), Interfaces(|i| i.tx_bytes)]);
    /// Bytes read from block devices.
    DiskReadBytes = Field("disk_read_bytes"), Counter, Bytes, Read(&[V2(File::new("io.stat", Nested("*", "rbytes")).unchanged_with(ChangeToken::Io)), V1("blkio", File::new("blkio.throttle.io_service_bytes_recursive", Operation("Read")).or_older("blkio.throttle.io_service_bytes").unchanged_with(ChangeToken::Io))]);
    /// Bytes written to block devices.
    DiskWriteBytes = Field("disk_write_bytes"), Counter, Bytes, Read(&[V2(File::new("io.stat", Nested("*", "wbytes")).unchanged_with(ChangeToken::Io)), V1("blkio", File::new("blkio.throttle.io_service_bytes_recursive", Operation("Write")).or_older("blkio.throttle.io_service_bytes").unchanged_with(ChangeToken::Io))]);
    /// What the container's root filesystem holds: allocated blocks, mounts excluded, hard links once.
    DiskUsage = Field("disk_usage_bytes"), Gauge, Bytes, Read(&[Disk(|d| d.used_bytes.clone())]);
    /// Size of the filesystem that the container's root lies on.
    DiskTotal = Field("disk_total_bytes"), Gauge, Bytes, Read(&[Filesystem(|f| f.total_bytes)]);
    /// Disk usage in percent of that size.
    DiskPercent = Field("disk_percent"), Gauge, Percent, Derived(|v| Ok((v.real(Metric::DiskUsage)? / v.nonzero(Metric::DiskTotal)? * 100.0).min(100.0)));
    /// Processes, not threads.
    ProcessCount = Field("process_count"), Gauge, Count, Read(&[TaskPass(|t| t.processes.clone()), Tasks(|t| t.processes.clone())]);
    /// Open descriptors of all processes.
    FileDescriptors = Field("file_descriptors"), Gauge, Count, Read(&[TaskPass(|t| t.descriptors.clone()), Tasks(|t| t.descriptors.clone())]);
    /// The machine's load average over one minute.
    Load1 = Field("load_average_1m"), Gauge, Load, Read(&[Machine(|m| m.load[0].clone())]);
    /// The machine's load average over five minutes.
    Load5 = Field("load_average_5m"), Gauge, Load, Read(&[Machine(|m| m.load[1].clone())]);
    /// The machine's load average over fifteen minutes.
    Load15 = Field("load_average_15m"), Gauge, Load, Read(&[Machine(|m| m.load[2].clone())]);
    /// Seconds since the container's first process started.
    Uptime = Field("uptime_seconds"), Gauge, Seconds, Read(&[TaskPass(|t| t.uptime.clone()), Tasks(|t| t.uptime.clone())]);

    /// CPUs in use, never clamped.
    CpuUsageCores = Field("cpu.usage_cores"), Gauge, Cores, Derived(|v| Ok(v.rate(Metric::CpuUsage)? / 1e9));
    /// The tightest CPU quota on the way to the root.
    CpuLimit = Field("cpu.limit_cores"), Gauge, Cores, Read(&[V2(File::new("cpu.max", Quota).upwards().unchanged_with(ChangeToken::Quota)), V1("cpu", File::new("cpu.cfs_quota_us", Quota).with("cpu.cfs_period_us").upwards().unchanged_with(ChangeToken::Quota))]);
    /// CPU time in user mode, 100 being one CPU.
    CpuUserPercent = Field("cpu.user_percent"), Gauge, Percent, Derived(|v| Ok(v.rate(Metric::CpuUser)? / 1e7));
    /// CPU time in the kernel, 100 being one CPU.
    CpuSystemPercent = Field("cpu.system_percent"), Gauge, Percent, Derived(|v| Ok(v.rate(Metric::CpuSystem)? / 1e7));
    /// Enforcement periods in which the quota ran out, in percent of those in the interval.
    CpuThrottledPercent = Field("cpu.throttled_percent"), Gauge, Percent, Derived(|v| v.share(Metric::CpuThrottled, Metric::CpuPeriods));
    /// Enforcement periods in which the quota ran out.
    CpuThrottled = Field("cpu.throttled_periods"), Counter, Count, Read(&[ControllerPass(|c| c.throttled), V2(File::new("cpu.stat", Flat("nr_throttled"))), V1("cpu", File::new("cpu.stat", Flat("nr_throttled")))]);
    /// Time in which some task waited for a CPU, percent of the last ten seconds.
    CpuPressure = Field("cpu.pressure_some_avg10"), Gauge, Percent, Read(&[ControllerPass(|c| c.pressure), V2(File::average("cpu.pressure", "some"))]);

    /// Memory that reclaim cannot take back easily: usage less inactive page cache.
    MemoryWorkingSet = Field("memory.working_set_bytes"), Gauge, Bytes, Derived(|v| Ok((v.real(Metric::MemoryUsage)? - v.real(Metric::MemoryInactiveFile)?).max(0.0)));
    /// The smallest memory limit on the way to the root.
    MemoryLimit = Field("memory.limit_bytes"), Gauge, Bytes, Read(&[V2(File::new("memory.max", Single).upwards().unchanged_with(ChangeToken::MemoryLimit)), V1("memory", File::new("memory.limit_in_bytes", Single).upwards().unchanged_with(ChangeToken::MemoryLimit))]);
    /// Anonymous memory.
    MemoryAnon = Field("memory.anon_bytes"), Gauge, Bytes, Read(&[MemoryPass(|m| m.anon), V2(File::memory("anon")), V1("memory", File::memory("total_rss"))]);
    /// Page cache.
    MemoryFile = Field("memory.file_bytes"), Gauge, Bytes, Read(&[MemoryPass(|m| m.file), V2(File::memory("file")), V1("memory", File::memory("total_cache"))]);
    /// Swap in use.
    MemorySwap = Field("memory.swap_bytes"), Gauge, Bytes, Read(&[ControllerPass(|c| c.swap), V2(File::new("memory.swap.current", Single)), V1("memory", File::memory("total_swap"))]);
    /// The most memory ever charged.
    MemoryPeak = Field("memory.peak_bytes"), Gauge, Bytes, Read(&[ControllerPass(|c| c.memory_peak), V2(File::new("memory.peak", Single)), V1("memory", File::new("memory.max_usage_in_bytes", Single))]);
    /// Processes killed for want of memory.
    OomKills = Field("memory.oom_kills"), Counter, Count, Read(&[MemoryPass(|m| m.oom_kills), ControllerPass(|c| c.oom_kills), V2(File::new("memory.events", Flat("oom_kill"))), V1("memory", File::new("memory.oom_control", Flat("oom_kill"))), Processes(&["sched_process_exit"], |p| p.oom_kills)]);
    /// Time in which some task waited for memory, percent of the last ten seconds.
    MemoryPressureSome = Field("memory.pressure_some_avg10"), Gauge, Percent, Read(&[ControllerPass(|c| c.pressure), V2(File::average("memory.pressure", "some"))]);
    /// Time in which all tasks waited for memory, percent of the last ten seconds.
    MemoryPressureFull = Field("memory.pressure_full_avg10"), Gauge, Percent, Read(&[ControllerPass(|c| c.pressure), V2(File::average("memory.pressure", "full"))]);

    /// Packets received, a datagram that comes in fragments being one.
    NetworkRxPackets = Field("network.rx_packets"), Counter, Count, Read(&[Network(INGRESS, |n| n.rx_packets), Interfaces(|i| i.rx_packets)]);
    /// Packets sent, likewise.
    NetworkTxPackets = Field("network.tx_packets"), Counter, Count, Read(&[Network(EGRESS, |n| n.tx_packets), Interfaces(|i| i.tx_packets)]);
    /// Bytes received per second.
    NetworkRxRate = Field("network.rx_bytes_per_second"), Gauge, BytesPerSecond, Derived(|v| v.rate(Metric::NetworkRxBytes));
    /// Bytes sent per second.
    NetworkTxRate = Field("network.tx_bytes_per_second"), Gauge, BytesPerSecond, Derived(|v| v.rate(Metric::NetworkTxBytes));

    /// Read operations on block devices.
    IoReads = Field("io.read_operations"), Counter, Count, Read(&[V2(File::new("io.stat", Nested("*", "rios")).unchanged_with(ChangeToken::Io)), V1("blkio", File::new("blkio.throttle.io_serviced_recursive", Operation("Read")).or_older("blkio.throttle.io_serviced").unchanged_with(ChangeToken::Io))]);
    /// Write operations on block devices.
    IoWrites = Field("io.write_operations"), Counter, Count, Read(&[V2(File::new("io.stat", Nested("*", "wios")).unchanged_with(ChangeToken::Io)), V1("blkio", File::new("blkio.throttle.io_serviced_recursive", Operation("Write")).or_older("blkio.throttle.io_serviced").unchanged_with(ChangeToken::Io))]);
    /// Bytes read per second.
    IoReadRate = Field("io.read_bytes_per_second"), Gauge, BytesPerSecond, Derived(|v| v.rate(Metric::DiskReadBytes));
    /// Bytes written per second.
    IoWriteRate = Field("io.write_bytes_per_second"), Gauge, BytesPerSecond, Derived(|v| v.rate(Metric::DiskWriteBytes));
    /// Time in which some task waited for a block device, percent of the last ten seconds.
    IoPressure = Field("io.pressure_some_avg10"), Gauge, Percent, Read(&[ControllerPass(|c| c.pressure), V2(File::average("io.pressure", "some"))]);

    /// Tasks: every thread of every process.
    Threads = Field("processes.threads"), Gauge, Count, Read(&[ControllerPass(|c| c.tasks), V2(File::new("pids.current", Single)), V1("pids", File::new("pids.current", Single)), TaskPass(|t| t.threads.clone()), Tasks(|t| t.threads.clone())]);
    /// The smallest limit of tasks on the way to the root.
    PidsLimit = Field("processes.limit"), Gauge, Count, Read(&[V2(File::new("pids.max", Single).upwards().unchanged_with(ChangeToken::TasksLimit)), V1("pids", File::new("pids.max", Single).upwards().unchanged_with(ChangeToken::TasksLimit))]);
    /// Processes created, since counting began.
    Forks = Field("processes.forks"), Counter, Count, Read(&[Processes(&["task_newtask"], |p| p.forks)]);
    /// Threads created, since counting began.
    ThreadStarts = Field("processes.thread_starts"), Counter, Count, Read(&[Processes(&["task_newtask"], |p| p.threads)]);
    /// Programs started, since counting began.
    Execs = Field("processes.execs"), Counter, Count, Read(&[Processes(&["sched_process_exec"], |p| p.execs)]);
    /// Processes ended, since counting began.
    Exits = Field("processes.exits"), Counter, Count, Read(&[Processes(&["sched_process_exit"], |p| p.exits)]);
    /// Processes created per second.
    ForkRate = Field("processes.forks_per_second"), Gauge, PerSecond, Derived(|v| v.rate(Metric::Forks));
    /// Programs started per second.
    ExecRate = Field("processes.execs_per_second"), Gauge, PerSecond, Derived(|v| v.rate(Metric::Execs));
    /// Processes ended per second.
    ExitRate = Field("processes.exits_per_second"), Gauge, PerSecond, Derived(|v| v.rate(Metric::Exits));

    /// Descriptors opened, since counting began, with those that a new process inherits; counted only with
    /// `--ebpf-fd-events`.
    DescriptorsOpened = Field("descriptors.opened"), Counter, Count, Read(&[Processes(&["fd_install", "do_dup2", "dup_fd"], |p| p.opened)]);
    /// Descriptors closed, since counting began, with those that go when a process ends; likewise.
    DescriptorsClosed = Field("descriptors.closed"), Counter, Count, Read(&[Processes(&["filp_close"], |p| p.closed)]);
    /// Descriptors of the process nearest its own limit, in percent of that limit.
    DescriptorsNearest = Field("descriptors.limit_highest_percent"), Gauge, Percent, Read(&[TaskPass(|t| t.nearest_limit.clone()), Tasks(|t| t.nearest_limit.clone())]);

    /// What the container itself wrote over its image.
    DiskWritable = Field("disk.writable_bytes"), Gauge, Bytes, Read(&[Disk(|d| d.writable_bytes.clone())]);
    /// Inodes in use on the filesystem of the container's root.
    InodesUsed = Field("disk.inodes_used"), Gauge, Count, Read(&[Filesystem(|f| f.inodes_used)]);
    /// Inodes which that filesystem can hold.
    InodesTotal = Field("disk.inodes_total"), Gauge, Count, Read(&[Filesystem(|f| f.inodes_total)]);

    /// CPU time used.
    CpuUsage = Ingredient("cpu.usage"), Counter, Nanoseconds, Read(&[CpuPass(|c| c.total), V2(File::new("cpu.stat", Flat("usage_usec")).times(1_000)), V1("cpuacct", File::new("cpuacct.usage", Single))]);
    /// CPU time used in user mode.
    CpuUser = Ingredient("cpu.user"), Counter, Nanoseconds, Read(&[CpuPass(|c| c.user), V2(File::new("cpu.stat", Flat("user_usec")).times(1_000)), V1("cpuacct", File::new("cpuacct.usage_user", Single)), V1("cpuacct", File::new("cpuacct.stat", Flat("user")).times(10_000_000))]);
    /// CPU time used in the kernel.
    CpuSystem = Ingredient("cpu.system"), Counter, Nanoseconds, Read(&[CpuPass(|c| c.system), V2(File::new("cpu.stat", Flat("system_usec")).times(1_000)), V1("cpuacct", File::new("cpuacct.usage_sys", Single)), V1("cpuacct", File::new("cpuacct.stat", Flat("system")).times(10_000_000))]);
    /// Enforcement periods that had runnable tasks.
    CpuPeriods = Ingredient("cpu.periods"), Counter, Count, Read(&[ControllerPass(|c| c.periods), V2(File::new("cpu.stat", Flat("nr_periods"))), V1("cpu", File::new("cpu.stat", Flat("nr_periods")))]);
    /// CPUs that the cpuset allows.
    CpusetCount = Ingredient("cpu.cpuset"), Gauge, Count, Read(&[V2(File::new("cpuset.cpus.effective", List).holding(LIMITS)), V1("cpuset", File::new("cpuset.effective_cpus", List).holding(LIMITS)), V1("cpuset", File::new("cpuset.cpus", List).holding(LIMITS))]);
    /// Page cache not used of late.
    MemoryInactiveFile = Ingredient("memory.inactive_file"), Gauge, Bytes, Read(&[MemoryPass(|m| m.inactive_file), V2(File::memory("inactive_file")), V1("memory", File::memory("total_inactive_file"))]);
    /// Whether the container is frozen by its v2 group.
    Frozen = Ingredient("frozen"), Gauge, Count, Read(&[ControllerPass(|c| c.frozen), V2(File::new("cgroup.events", Flat("frozen")))]);
    /// Whether the container is frozen by its group of the v1 freezer, which a hybrid host has beside the v2 one.
    FrozenV1 = Ingredient("frozen.v1"), Gauge, Count, Read(&[ControllerPass(|c| c.frozen_v1), V1("freezer", File::new("freezer.state", Word("FROZEN")))]);
    /// Whether the container has a process.
    Populated = Ingredient("populated"), Gauge, Count, Read(&[ControllerPass(|c| c.populated), V2(File::new("cgroup.events", Flat("populated")))]);
    /// CPUs of the machine.
    MachineCpus = Ingredient("machine.cpus"), Gauge, Count, Read(&[Machine(|m| m.cpus.clone())]);
    /// Memory of the machine.
    MachineMemory = Ingredient("machine.memory"), Gauge, Bytes, Read(&[Machine(|m| m.memory_total.clone())]);
}

impl Metric {
    /// Its position in the table.
    pub fn index(self) -> usize {
        self as usize
    }

    /// Whether every cgroup shares the machine's value.
    pub fn is_shared(self) -> bool {
        matches!(self.spec().origins(), [Origin::Machine(_)])
    }

    /// Every origin of every row, with its rank in the row.
    pub fn origins() -> impl Iterator<Item = (Self, u8, &'static Origin)> {
        Self::ALL
            .iter()
            .flat_map(|&metric| (0u8..).zip(metric.spec().origins()).map(move |(rank, origin)| (metric, rank, origin)))
    }

    /// The rows that have an origin of one kind, with its rank, and what `kind` takes out of it.
    pub fn fed_by<P>(kind: impl Fn(&'static Origin) -> Option<P>) -> Rows<P> {
        Self::origins().filter_map(|(metric, rank, origin)| Some((metric, rank, kind(origin)?))).collect()
    }
}

/// The rows that have an origin of one kind, with its rank and what it takes: a handful, which are found once and not for
/// each cgroup.
pub type Rows<P> = Vec<(Metric, u8, P)>;

/// The groups of `sources` in the report, each with the row that speaks for it.
pub const GROUPS: &[(&str, Metric)] = &[
    ("cpu", Metric::CpuUsage),
    ("memory", Metric::MemoryUsage),
    ("network", Metric::NetworkRxBytes),
    ("disk_io", Metric::DiskReadBytes),
    ("disk_usage", Metric::DiskUsage),
    ("processes", Metric::ProcessCount),
    ("file_descriptors", Metric::FileDescriptors),
];
