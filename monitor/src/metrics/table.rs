//! The rows of the table.

use std::sync::LazyLock;

use super::file::ChangeToken;
use super::file::Format::{Flat, List, Quota, Single, Sum, Word};
use super::file::LIMITS;
use super::origin::Origin::{
    BindingLevel, ControllerIterator, CpuIterator, Disk, Filesystem, Interfaces, Machine, MemoryIterator, Namespace,
    Network, Processes, Root, TaskIterator, Tasks,
};
use super::origin::{Origin, TreeVersion, blkio, io_stat, memory_stat_v1, memory_stat_v2, pressure, v1, v2};
use super::unit::Kind;
use super::unit::Unit::{self, Bytes, BytesPerSecond, Cores, Count, Load, Nanoseconds, PerSecond, Percent, Seconds};
use crate::cause::{Cause, CauseKind};

/// The level that binds, in the trees of both versions.
const BINDING_LEVEL: &[Origin] = &[BindingLevel(TreeVersion::V2), BindingLevel(TreeVersion::V1)];

/// A derived number, or why there is none.
pub type Derived = Result<f64, Cause>;

/// The values that a derived row may look at: this reading, the machine, and the reading before.
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
    /// Why it is absent, or an error that it is 0.
    fn nonzero(&self, metric: Metric) -> Derived;

    /// The growth of a counter per second.
    ///
    /// # Errors
    /// When there is no earlier reading, the counter went back, or the number is absent.
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

    /// A limit that is set and not 0.
    ///
    /// # Errors
    /// When none is set, or it cannot be read.
    fn limit(&self, metric: Metric) -> Derived;

    /// CPUs that a quota or a cpuset smaller than the machine allows.
    ///
    /// # Errors
    /// When neither limits the container, or one of them cannot be read.
    fn cpu_limit(&self) -> Derived;

    /// Bytes that the container may use: the smallest limit, else the machine's memory.
    ///
    /// # Errors
    /// When neither can be read.
    fn memory_allowance(&self) -> Derived;
}

/// The way in which a row gets its number.
#[derive(Clone, Copy, Debug)]
pub enum How {
    /// Read from the first origin that has it.
    Read(&'static [Origin]),
    /// Computed from other rows of this reading and the one before.
    Derived(fn(&dyn View) -> Derived),
}

/// The place where a number is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// A field of the report: `field` or `group.field`.
    Field(&'static str),
    /// Nowhere: only an ingredient of others.
    Ingredient(&'static str),
}

/// A row.
#[derive(Debug)]
pub struct Spec {
    /// Name and place.
    pub shown: Shown,
    /// Counter or gauge.
    pub kind: Kind,
    /// Unit.
    pub unit: Unit,
    /// The way in which it gets its number.
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

    /// The path of its field in the report, if it is shown there.
    pub fn field(&self) -> Option<&'static str> {
        match self.shown {
            Shown::Field(name) => Some(name),
            Shown::Ingredient(_) => None,
        }
    }

    /// Its origins, in order of preference; none for derived rows.
    pub fn origins(&self) -> &'static [Origin] {
        match self.how {
            How::Read(origins) => origins,
            How::Derived(_) => &[],
        }
    }

    const fn new(kind: Kind, name: &'static str, unit: Unit, help: &'static str) -> Self {
        Self { shown: Shown::Field(name), kind, unit, how: How::Read(&[]), help }
    }

    /// No field of the report, only an ingredient of others.
    const fn internal(self) -> Self {
        match self.shown {
            Shown::Field(name) | Shown::Ingredient(name) => Self { shown: Shown::Ingredient(name), ..self },
        }
    }

    const fn computed(self, from: fn(&dyn View) -> Derived) -> Self {
        Self { how: How::Derived(from), ..self }
    }

    /// Reads the number from the first of these origins that has it. A file without an iterator before it is read once
    /// per container and tick, which a row has to say.
    const fn read(self, origins: &'static [Origin]) -> Self {
        let (mut at, mut is_served) = (0, false);
        while at < origins.len() {
            is_served |= origins[at].iterates();
            if let Some(file) = origins[at].file() {
                assert!(is_served || file.costs_read, "no iterator serves this file: say .costs_read()");
            }
            at += 1;
        }
        Self { how: How::Read(origins), ..self }
    }
}

/// A row of a number that only ever grows within a container's life.
const fn counter(name: &'static str, unit: Unit, help: &'static str) -> Spec {
    Spec::new(Kind::Counter, name, unit, help)
}

/// A row of a level.
const fn gauge(name: &'static str, unit: Unit, help: &'static str) -> Spec {
    Spec::new(Kind::Gauge, name, unit, help)
}

/// Makes `enum Metric`, `Metric::ALL` and `Metric::spec()` out of the rows. A row
///
/// ```text
/// Threads = gauge("processes.threads", Count, "Tasks.").read(&[v2("pids.current", Single).costs_read()]),
/// ```
///
/// becomes the variant `Metric::Threads` and a [`Spec`]. Rows are written as expressions, so that rustfmt formats them.
macro_rules! metrics {
    ($(
        $id:ident = $kind:ident($name:literal, $unit:ident, $help:literal) $(.$method:ident($($arg:tt)*))*
    ),+ $(,)?) => {
        /// The rows of the table, in the order of the report's fields.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Metric { $(#[doc = $help] $id),+ }

        static TABLE: [Spec; Metric::COUNT] = [$($kind($name, $unit, $help) $(.$method($($arg)*))*),+];

        impl Metric {
            /// Every row.
            pub const ALL: &'static [Self] = &[$(Self::$id),+];
            /// The number of rows.
            pub const COUNT: usize = Self::ALL.len();

            /// The row.
            pub fn spec(self) -> &'static Spec {
                &TABLE[self as usize]
            }
        }
    };
}

/// The program behind each direction of network traffic.
const INGRESS: &[&str] = &["ingress"];
const EGRESS: &[&str] = &["egress"];

/// Made once and shared by all readings.
static NO_PEAK: LazyLock<Cause> =
    LazyLock::new(|| Cause::new(CauseKind::NotApplicable, "the kernel keeps no peak of the whole machine's memory"));

static NO_HIGH: LazyLock<Cause> =
    LazyLock::new(|| Cause::new(CauseKind::NotApplicable, "the whole machine has no memory.high"));
static NO_SOCKETS: LazyLock<Cause> = LazyLock::new(|| {
    Cause::new(
        CauseKind::NotApplicable,
        "the kernel tells the memory of sockets by cgroup and protocol, not of the whole machine",
    )
});

/// The use of the level that binds: the container's own, or that of a level above with all that it holds.
fn at_level(
    view: &dyn View,
    level: Metric,
    own: impl Fn(&dyn View) -> Derived,
    above: impl Fn(&dyn View) -> Derived,
) -> Derived {
    match view.raw(level)? {
        0 => own(view),
        _ => above(view),
    }
}

/// CPUs in use at the level that binds.
fn cpu_level_usage(view: &dyn View) -> Derived {
    let above = |view: &dyn View| Ok(view.rate(Metric::CpuLevelUsage)? / 1e9);
    at_level(view, Metric::CpuLevel, |view| view.real(Metric::CpuUsageCores), above)
}

fn cpu_limit_used(view: &dyn View) -> Derived {
    let limit = view.cpu_limit()?;
    Ok((cpu_level_usage(view)? / limit * 100.0).min(100.0))
}

fn memory_limit_used(view: &dyn View) -> Derived {
    let limit = view.limit(Metric::MemoryLimit)?;
    let (own, above) = (Metric::MemoryWorkingSet, Metric::MemoryLevelUsage);
    Ok(at_level(view, Metric::MemoryLimitLevel, |view| view.real(own), |view| view.real(above))? / limit * 100.0)
}

fn tasks_limit_used(view: &dyn View) -> Derived {
    let limit = view.limit(Metric::PidsLimit)?;
    let (own, above) = (Metric::Threads, Metric::PidsLevelUsage);
    Ok(at_level(view, Metric::PidsLimitLevel, |view| view.real(own), |view| view.real(above))? / limit * 100.0)
}

/// The kernel adds up the time on each CPU. Tasks that want several CPUs at once lose it on all of them together, so
/// the sum is divided by the CPUs that they wanted while the quota was enforced.
fn throttled(view: &dyn View) -> Derived {
    let lost = view.rate(Metric::CpuThrottledTime)? / 1e9;
    if lost == 0.0 {
        return Ok(0.0);
    }
    let enforced = (view.rate(Metric::CpuPeriods)? * view.nonzero(Metric::CpuPeriod)? / 1e9).min(1.0);
    let wanted = (lost + cpu_level_usage(view)?) / enforced;
    Ok((lost / wanted.max(1.0) * 100.0).min(100.0))
}

fn disk_percent(view: &dyn View) -> Derived {
    Ok((view.real(Metric::DiskUsage)? / view.nonzero(Metric::DiskTotal)? * 100.0).min(100.0))
}

metrics!(
    CpuPercent = gauge(
        "cpu_percent",
        Percent,
        "Share of the CPU allowance in use, 100 being all of it. The allowance is the tightest quota on the way to \
         the root, else the CPUs of the cpuset, else the machine's."
    )
    .computed(|v| Ok((v.real(Metric::CpuUsageCores)? / v.cpu_allowance()? * 100.0).min(100.0))),
    MemoryUsage = gauge(
        "memory_usage_bytes",
        Bytes,
        "Memory charged to the container, page cache included. Of the machine: its memory less what is available."
    )
    .read(&[
        MemoryIterator(|m| m.usage),
        ControllerIterator(|c| c.memory),
        v2("memory.current", Single),
        v1("memory", "memory.usage_in_bytes", Single),
        Root(|m| m.used.clone()),
    ]),
    MemoryPercent = gauge(
        "memory_percent",
        Percent,
        "Memory in percent of the smallest limit on the way to the root, else of the machine's memory."
    )
    .computed(|v| Ok(v.real(Metric::MemoryUsage)? / v.memory_allowance()? * 100.0)),
    NetworkRxBytes = counter(
        "network_rx_bytes",
        Bytes,
        "Bytes received, loopback excluded: IP bytes of the container's own sockets (eBPF), or of all interfaces of its \
         network namespace."
    )
    .read(&[Network(INGRESS, |n| n.rx_bytes), Interfaces(|i| i.rx_bytes)]),
    NetworkTxBytes = counter("network_tx_bytes", Bytes, "Bytes sent, counted in the same way.")
        .read(&[Network(EGRESS, |n| n.tx_bytes), Interfaces(|i| i.tx_bytes)]),
    DiskReadBytes = counter("disk_read_bytes", Bytes, "Bytes read from block devices.").read(&[
        io_stat("rbytes"),
        blkio("blkio.throttle.io_service_bytes_recursive", "Read").formerly("blkio.throttle.io_service_bytes"),
    ]),
    DiskWriteBytes = counter("disk_write_bytes", Bytes, "Bytes written to block devices.").read(&[
        io_stat("wbytes"),
        blkio("blkio.throttle.io_service_bytes_recursive", "Write").formerly("blkio.throttle.io_service_bytes"),
    ]),
    DiskUsage = gauge(
        "disk_usage_bytes",
        Bytes,
        "Bytes allocated in the container's root filesystem: mounts excluded, hard links counted once."
    )
    .read(&[Disk(|d| d.used_bytes.clone())]),
    DiskTotal = gauge("disk_total_bytes", Bytes, "Size of the filesystem that the container's root lies on.")
        .read(&[Filesystem(|f| f.total_bytes.clone())]),
    DiskPercent = gauge("disk_percent", Percent, "Disk usage in percent of that size.").computed(disk_percent),
    ProcessCount = gauge("process_count", Count, "Processes; threads are not counted.")
        .read(&[TaskIterator(|t| t.processes.clone()), Tasks(|t| t.processes.clone())]),
    FileDescriptors = gauge("file_descriptors", Count, "Open descriptors of all processes.")
        .read(&[TaskIterator(|t| t.descriptors.clone()), Tasks(|t| t.descriptors.clone())]),
    Load1 = gauge("load_average_1m", Load, "The machine's load average over one minute.")
        .read(&[Machine(|m| m.load[0].clone())]),
    Load5 = gauge("load_average_5m", Load, "The machine's load average over five minutes.")
        .read(&[Machine(|m| m.load[1].clone())]),
    Load15 = gauge("load_average_15m", Load, "The machine's load average over fifteen minutes.")
        .read(&[Machine(|m| m.load[2].clone())]),
    Uptime = gauge("uptime_seconds", Seconds, "Seconds since the container's first process started.")
        .read(&[TaskIterator(|t| t.uptime.clone()), Tasks(|t| t.uptime.clone())]),
    CpuUsageCores = gauge("cpu.usage_cores", Cores, "CPUs in use; may exceed the limit for a moment.")
        .computed(|v| Ok(v.rate(Metric::CpuUsage)? / 1e9)),
    CpuLimit = gauge("cpu.limit_cores", Cores, "The tightest CPU quota on the way to the root.").read(&[
        v2("cpu.max", Quota).limit(ChangeToken::Quota),
        v1("cpu", "cpu.cfs_quota_us", Quota).followed_by("cpu.cfs_period_us").limit(ChangeToken::Quota),
    ]),
    CpuLimitUsed = gauge(
        "cpu.limit_used_percent",
        Percent,
        "CPU in use at the level of the tree that limits the container, its siblings there included, in percent of what that \
         level may use."
    )
    .computed(cpu_limit_used),
    CpuUserPercent = gauge("cpu.user_percent", Percent, "CPU time in user mode, 100 being one CPU.")
        .computed(|v| Ok(v.rate(Metric::CpuUser)? / 1e7)),
    CpuSystemPercent = gauge("cpu.system_percent", Percent, "CPU time in the kernel, 100 being one CPU.")
        .computed(|v| Ok(v.rate(Metric::CpuSystem)? / 1e7)),
    CpuThrottledPercent = gauge(
        "cpu.throttled_percent",
        Percent,
        "Time for which the quota kept tasks from running, in percent of the interval; at the level whose quota binds."
    )
    .computed(throttled),
    CpuThrottled = counter(
        "cpu.throttled_periods",
        Count,
        "Enforcement periods in which the quota ran out, at the level whose quota binds."
    )
    .read(&[
        BindingLevel(TreeVersion::V2),
        BindingLevel(TreeVersion::V1),
        ControllerIterator(|c| c.throttled),
        v2("cpu.stat", Flat("nr_throttled")),
        v1("cpu", "cpu.stat", Flat("nr_throttled")),
    ]),
    CpuThrottledTime = counter(
        "cpu.throttled_seconds",
        Nanoseconds,
        "Time for which the quota kept tasks from running, summed over the CPUs, at the level whose quota binds."
    )
    .read(&[
        BindingLevel(TreeVersion::V2),
        BindingLevel(TreeVersion::V1),
        ControllerIterator(|c| c.throttled_time),
        v2("cpu.stat", Flat("throttled_usec")).times(1_000),
        v1("cpu", "cpu.stat", Flat("throttled_time")),
    ]),
    CpuPressure = gauge(
        "cpu.pressure_some_avg10",
        Percent,
        "Time in which some task waited for a CPU, percent of the last ten seconds."
    )
    .read(&[ControllerIterator(|c| c.pressure), pressure("cpu.pressure", "some")]),
    MemoryWorkingSet = gauge(
        "memory.working_set_bytes",
        Bytes,
        "Memory that reclaim cannot take back easily: usage less inactive page cache."
    )
    .computed(|v| Ok((v.real(Metric::MemoryUsage)? - v.real(Metric::MemoryInactiveFile)?).max(0.0))),
    MemoryLimit = gauge("memory.limit_bytes", Bytes, "The smallest memory limit on the way to the root.").read(&[
        v2("memory.max", Single).limit(ChangeToken::MemoryLimit),
        v1("memory", "memory.limit_in_bytes", Single).limit(ChangeToken::MemoryLimit),
    ]),
    MemoryLimitUsed = gauge(
        "memory.limit_used_percent",
        Percent,
        "Working set of the level of the tree that limits the container, its siblings there included, in percent of that \
         limit."
    )
    .computed(memory_limit_used),
    MemoryAnon = gauge("memory.anon_bytes", Bytes, "Anonymous memory.").read(&[
        MemoryIterator(|m| m.anon),
        memory_stat_v2(Flat("anon")),
        memory_stat_v1(Flat("total_rss")),
        Root(|m| m.anon.clone()),
    ]),
    MemoryFile = gauge("memory.file_bytes", Bytes, "Page cache.").read(&[
        MemoryIterator(|m| m.file),
        memory_stat_v2(Flat("file")),
        memory_stat_v1(Flat("total_cache")),
        Root(|m| m.file.clone()),
    ]),
    MemorySwap = gauge("memory.swap_bytes", Bytes, "Swap in use.").read(&[
        ControllerIterator(|c| c.swap),
        v2("memory.swap.current", Single),
        memory_stat_v1(Flat("total_swap")),
        Root(|m| m.swap.clone()),
    ]),
    MemoryPeak = gauge("memory.peak_bytes", Bytes, "The most memory ever charged.").read(&[
        ControllerIterator(|c| c.memory_peak),
        v2("memory.peak", Single),
        v1("memory", "memory.max_usage_in_bytes", Single),
        Root(|_| Err(NO_PEAK.clone())),
    ]),
    OomKills = counter("memory.oom_kills", Count, "Processes that the kernel killed because memory ran out (OOM).")
        .read(&[
            MemoryIterator(|m| m.oom_kills),
            ControllerIterator(|c| c.oom_kills),
            v2("memory.events", Flat("oom_kill")),
            v1("memory", "memory.oom_control", Flat("oom_kill")).summed_downwards(),
            Root(|m| m.oom_kills.clone()),
            Processes(&["sched_process_exit"], |p| p.oom_kills),
        ]),
    MemoryPressureSome = gauge(
        "memory.pressure_some_avg10",
        Percent,
        "Time in which some task waited for memory, percent of the last ten seconds."
    )
    .read(&[ControllerIterator(|c| c.pressure), pressure("memory.pressure", "some")]),
    MemoryPressureFull = gauge(
        "memory.pressure_full_avg10",
        Percent,
        "Time in which all tasks waited for memory, percent of the last ten seconds."
    )
    .read(&[ControllerIterator(|c| c.pressure), pressure("memory.pressure", "full")]),
    MemoryMapped = gauge("memory.mapped_file_bytes", Bytes, "Page cache that is mapped by processes.").read(&[
        memory_stat_v2(Flat("file_mapped")).costs_read(),
        memory_stat_v1(Flat("total_mapped_file")).costs_read(),
        Root(|m| m.mapped.clone()),
    ]),
    MemoryActiveFile = gauge(
        "memory.active_file_bytes",
        Bytes,
        "Page cache that was used recently, without shared memory: reclaim takes it after the rest."
    )
    .read(&[
        memory_stat_v2(Flat("active_file")).costs_read(),
        memory_stat_v1(Flat("total_active_file")).costs_read(),
        Root(|m| m.active_file.clone()),
    ]),
    MemorySlabReclaimable = gauge(
        "memory.slab_reclaimable_bytes",
        Bytes,
        "Kernel objects that reclaim can take back, such as cached names and inodes of files. Not in cgroup v1."
    )
    .read(&[memory_stat_v2(Flat("slab_reclaimable")).costs_read(), Root(|m| m.slab_reclaimable.clone())]),
    MemorySlabUnreclaimable = gauge(
        "memory.slab_unreclaimable_bytes",
        Bytes,
        "Kernel objects that reclaim cannot take back, such as those of processes and open files. Not in cgroup v1."
    )
    .read(&[memory_stat_v2(Flat("slab_unreclaimable")).costs_read(), Root(|m| m.slab_unreclaimable.clone())]),
    MemoryShmem = gauge(
        "memory.shmem_bytes",
        Bytes,
        "Shared memory and files in memory (tmpfs, `/dev/shm`): the part of the page cache that can only be swapped out."
    )
    .read(&[
        memory_stat_v2(Flat("shmem")).costs_read(),
        memory_stat_v1(Flat("total_shmem")).costs_read(),
        Root(|m| m.shmem.clone()),
    ]),
    MemorySock = gauge("memory.sock_bytes", Bytes, "Buffers of sockets. Not in cgroup v1, and not of the machine.")
        .read(&[memory_stat_v2(Flat("sock")).costs_read(), Root(|_| Err(NO_SOCKETS.clone()))]),
    MemoryDirty = gauge("memory.dirty_bytes", Bytes, "Page cache that has yet to be written to a disk.").read(&[
        memory_stat_v2(Flat("file_dirty")).costs_read(),
        memory_stat_v1(Flat("total_dirty")).costs_read(),
        Root(|m| m.dirty.clone()),
    ]),
    MemoryWriteback = gauge("memory.writeback_bytes", Bytes, "Page cache that is being written to a disk.").read(&[
        memory_stat_v2(Flat("file_writeback")).costs_read(),
        memory_stat_v1(Flat("total_writeback")).costs_read(),
        Root(|m| m.writeback.clone()),
    ]),
    MemoryFaults = counter("memory.page_faults", Count, "Page faults, minor and major.").read(&[
        memory_stat_v2(Flat("pgfault")).costs_read(),
        memory_stat_v1(Flat("total_pgfault")).costs_read(),
        Root(|m| m.faults.clone()),
    ]),
    MemoryMajorFaults = counter("memory.major_faults", Count, "Page faults that had to wait for a disk.").read(&[
        memory_stat_v2(Flat("pgmajfault")).costs_read(),
        memory_stat_v1(Flat("total_pgmajfault")).costs_read(),
        Root(|m| m.major_faults.clone()),
    ]),
    MemoryRefaults = counter(
        "memory.refaults",
        Count,
        "Pages that were read again soon after reclaim had taken them: the memory is too small for what is in use."
    )
    .read(&[
        memory_stat_v2(Sum(&["workingset_refault_anon", "workingset_refault_file"])).costs_read(),
        memory_stat_v1(Sum(&["total_workingset_refault_anon", "total_workingset_refault_file"])).costs_read(),
        Root(|m| m.refaults.clone()),
    ]),
    MemoryScanned = counter(
        "memory.reclaim_scanned_pages",
        Count,
        "Pages that reclaim looked at, to take back or not. Not in cgroup v1."
    )
    .read(&[memory_stat_v2(Flat("pgscan")).costs_read(), Root(|m| m.scanned.clone())]),
    MemoryLimitHits = counter("memory.limit_hits", Count, "Times that memory use was about to exceed the limit.").read(&[
        v2("memory.events", Flat("max")).unchanged_with(ChangeToken::Memory).costs_read(),
        v1("memory", "memory.failcnt", Single).unchanged_with(ChangeToken::Memory).costs_read(),
    ]),
    MemoryHighHits = counter(
        "memory.high_hits",
        Count,
        "Times that memory use exceeded `memory.high`, and processes were slowed down to reclaim it. Not in cgroup v1."
    )
    .read(&[
        v2("memory.events", Flat("high")).unchanged_with(ChangeToken::Memory).costs_read(),
        Root(|_| Err(NO_HIGH.clone())),
    ]),
    MemorySwapLimit = gauge(
        "memory.swap_limit_bytes",
        Bytes,
        "The container's own limit of swap; on cgroup v1 of memory and swap together."
    )
    .read(&[
        v2("memory.swap.max", Single).valid_for(LIMITS).costs_read(),
        v1("memory", "memory.memsw.limit_in_bytes", Single).valid_for(LIMITS).costs_read(),
    ]),
    NetworkRxPackets =
        counter("network.rx_packets", Count, "Packets received; a datagram that arrives in fragments counts as one.")
            .read(&[Network(INGRESS, |n| n.rx_packets), Interfaces(|i| i.rx_packets)]),
    NetworkTxPackets = counter("network.tx_packets", Count, "Packets sent, counted in the same way.")
        .read(&[Network(EGRESS, |n| n.tx_packets), Interfaces(|i| i.tx_packets)]),
    LoopbackRxBytes = counter(
        "network.loopback_rx_bytes",
        Bytes,
        "Bytes that the container's own sockets received over loopback: from a peer in the same network namespace."
    )
    .read(&[Network(INGRESS, |n| n.loopback_rx_bytes)]),
    LoopbackTxBytes = counter("network.loopback_tx_bytes", Bytes, "Bytes sent over loopback, counted in the same way.")
        .read(&[Network(EGRESS, |n| n.loopback_tx_bytes)]),
    LoopbackRxPackets = counter("network.loopback_rx_packets", Count, "Packets received over loopback.")
        .read(&[Network(INGRESS, |n| n.loopback_rx_packets)]),
    LoopbackTxPackets = counter("network.loopback_tx_packets", Count, "Packets sent over loopback.")
        .read(&[Network(EGRESS, |n| n.loopback_tx_packets)]),
    NetworkRxRate = gauge("network.rx_bytes_per_second", BytesPerSecond, "Bytes received per second.")
        .computed(|v| v.rate(Metric::NetworkRxBytes)),
    NetworkTxRate = gauge("network.tx_bytes_per_second", BytesPerSecond, "Bytes sent per second.")
        .computed(|v| v.rate(Metric::NetworkTxBytes)),
    NetworkSharers = gauge(
        "network.containers",
        Count,
        "Containers that share the network namespace, and so this traffic; 1 if it is the container's own. Only where the \
         traffic is read from files, in scope `host`."
    )
    .read(&[Namespace]),
    IoReads = counter("io.read_operations", Count, "Read operations on block devices.").read(&[
        io_stat("rios"),
        blkio("blkio.throttle.io_serviced_recursive", "Read").formerly("blkio.throttle.io_serviced"),
    ]),
    IoWrites = counter("io.write_operations", Count, "Write operations on block devices.").read(&[
        io_stat("wios"),
        blkio("blkio.throttle.io_serviced_recursive", "Write").formerly("blkio.throttle.io_serviced"),
    ]),
    IoReadRate = gauge("io.read_bytes_per_second", BytesPerSecond, "Bytes read per second.")
        .computed(|v| v.rate(Metric::DiskReadBytes)),
    IoWriteRate = gauge("io.write_bytes_per_second", BytesPerSecond, "Bytes written per second.")
        .computed(|v| v.rate(Metric::DiskWriteBytes)),
    IoPressure = gauge(
        "io.pressure_some_avg10",
        Percent,
        "Time in which some task waited for a block device, percent of the last ten seconds."
    )
    .read(&[ControllerIterator(|c| c.pressure), pressure("io.pressure", "some")]),
    Threads = gauge("processes.threads", Count, "Tasks: every thread of every process.").read(&[
        ControllerIterator(|c| c.tasks),
        v2("pids.current", Single),
        v1("pids", "pids.current", Single),
        TaskIterator(|t| t.threads.clone()),
        Tasks(|t| t.threads.clone()),
    ]),
    PidsLimit = gauge("processes.limit", Count, "The smallest limit of tasks on the way to the root.").read(&[
        v2("pids.max", Single).limit(ChangeToken::TasksLimit),
        v1("pids", "pids.max", Single).limit(ChangeToken::TasksLimit),
    ]),
    PidsLimitUsed = gauge(
        "processes.limit_used_percent",
        Percent,
        "Tasks of the level of the tree that limits the container, its siblings there included, in percent of that limit."
    )
    .computed(tasks_limit_used),
    Forks = counter("processes.forks", Count, "Processes created, since counting began.")
        .read(&[Processes(&["task_newtask"], |p| p.forks)]),
    ThreadStarts = counter("processes.thread_starts", Count, "Threads created, since counting began.")
        .read(&[Processes(&["task_newtask"], |p| p.threads)]),
    Execs = counter("processes.execs", Count, "Programs started, since counting began.")
        .read(&[Processes(&["sched_process_exec"], |p| p.execs)]),
    Exits = counter("processes.exits", Count, "Processes that exited, since counting began.")
        .read(&[Processes(&["sched_process_exit"], |p| p.exits)]),
    ForkRate = gauge("processes.forks_per_second", PerSecond, "Processes created per second.")
        .computed(|v| v.rate(Metric::Forks)),
    ExecRate = gauge("processes.execs_per_second", PerSecond, "Programs started per second.")
        .computed(|v| v.rate(Metric::Execs)),
    ExitRate = gauge("processes.exits_per_second", PerSecond, "Processes that exited per second.")
        .computed(|v| v.rate(Metric::Exits)),
    DescriptorsOpened = counter(
        "descriptors.opened",
        Count,
        "Descriptors opened, since counting began, with those that a new process inherits; counted only with \
         `--ebpf-fd-events`."
    )
    .read(&[Processes(&["fd_install", "do_dup2", "dup_fd"], |p| p.opened)]),
    DescriptorsClosed = counter(
        "descriptors.closed",
        Count,
        "Descriptors closed, since counting began, with those that a process closes when it exits; counted only \
         with `--ebpf-fd-events`."
    )
    .read(&[Processes(&["filp_close"], |p| p.closed)]),
    DescriptorsNearest = gauge(
        "descriptors.limit_highest_percent",
        Percent,
        "Descriptors of the process nearest its own limit, in percent of that limit."
    )
    .read(&[TaskIterator(|t| t.nearest_limit.clone()), Tasks(|t| t.nearest_limit.clone())]),
    DiskWritable = gauge("disk.writable_bytes", Bytes, "Bytes that the container wrote over its image.")
        .read(&[Disk(|d| d.writable_bytes.clone())]),
    DiskAvailable = gauge(
        "disk.available_bytes",
        Bytes,
        "Bytes that processes without privileges can still write to the filesystem of the container's root."
    )
    .read(&[Filesystem(|f| f.available_bytes.clone())]),
    FilesystemUsed = gauge(
        "disk.filesystem_used_percent",
        Percent,
        "How full this filesystem is with what everybody wrote to it, as `df` shows it: used in percent of used and available."
    )
    .read(&[Filesystem(|f| f.used_percent.clone())]),
    InodesUsed = gauge("disk.inodes_used", Count, "Inodes in use on the filesystem of the container's root.")
        .read(&[Filesystem(|f| f.inodes_used.clone())]),
    InodesTotal = gauge("disk.inodes_total", Count, "Inodes that this filesystem can hold.")
        .read(&[Filesystem(|f| f.inodes_total.clone())]),
    CpuUsage = counter("cpu.usage_seconds", Nanoseconds, "CPU time used.").read(&[
        CpuIterator(|c| c.total),
        v2("cpu.stat", Flat("usage_usec")).times(1_000),
        v1("cpuacct", "cpuacct.usage", Single),
    ]),
    CpuUser = counter("cpu.user_seconds", Nanoseconds, "CPU time used in user mode.").read(&[
        CpuIterator(|c| c.user),
        v2("cpu.stat", Flat("user_usec")).times(1_000),
        v1("cpuacct", "cpuacct.usage_user", Single),
        v1("cpuacct", "cpuacct.stat", Flat("user")).times(10_000_000),
    ]),
    CpuSystem = counter("cpu.system_seconds", Nanoseconds, "CPU time used in the kernel.").read(&[
        CpuIterator(|c| c.system),
        v2("cpu.stat", Flat("system_usec")).times(1_000),
        v1("cpuacct", "cpuacct.usage_sys", Single),
        v1("cpuacct", "cpuacct.stat", Flat("system")).times(10_000_000),
    ]),
    CpuPeriods = counter("cpu.periods", Count, "Enforcement periods that had runnable tasks.").read(&[
        BindingLevel(TreeVersion::V2),
        BindingLevel(TreeVersion::V1),
        ControllerIterator(|c| c.periods),
        v2("cpu.stat", Flat("nr_periods")),
        v1("cpu", "cpu.stat", Flat("nr_periods")),
    ]),
    CpusetCount = gauge("cpu.cpuset", Count, "CPUs that the cpuset allows.").internal().read(&[
        v2("cpuset.cpus.effective", List).valid_for(LIMITS).costs_read().nearest(),
        v1("cpuset", "cpuset.effective_cpus", List).valid_for(LIMITS).costs_read().nearest(),
        v1("cpuset", "cpuset.cpus", List).valid_for(LIMITS).costs_read().nearest(),
    ]),
    MemoryInactiveFile =
        gauge("memory.inactive_file", Bytes, "Page cache that was not used recently.").internal().read(&[
            MemoryIterator(|m| m.inactive_file),
            memory_stat_v2(Flat("inactive_file")),
            memory_stat_v1(Flat("total_inactive_file")),
            // What is available has been taken off the machine's usage already.
            Root(|_| Ok(0)),
        ]),
    CpuPeriod = gauge("cpu.period", Nanoseconds, "The length of the quota's enforcement period.")
        .internal()
        .read(BINDING_LEVEL),
    CpuLevel = gauge("cpu.level", Count, "Levels between the container and the one with the tightest quota or cpuset.")
        .internal()
        .read(BINDING_LEVEL),
    CpuLimitLevel = gauge("cpu.limit_level", Count, "The same where it limits: not where it is the whole machine.")
        .internal()
        .computed(|v| v.cpu_limit().and_then(|_| v.real(Metric::CpuLevel))),
    CpuLevelUsage = counter("cpu.level_usage", Nanoseconds, "CPU time used at a level above that binds.")
        .internal()
        .read(BINDING_LEVEL),
    MemoryHierarchicalLimit = gauge("memory.hierarchical_limit", Bytes, "The smallest limit on the way to the root, in v1.")
        .internal()
        .read(&[memory_stat_v1(Flat("hierarchical_memory_limit")).costs_read()]),
    MemoryLimitLevel = gauge("memory.limit_level", Count, "Levels between the container and the one whose limit binds.")
        .internal()
        .read(BINDING_LEVEL),
    MemoryLevelUsage = gauge("memory.level_usage", Bytes, "Working set of a level above that binds.")
        .internal()
        .read(BINDING_LEVEL),
    PidsLimitLevel = gauge("processes.limit_level", Count, "Levels between the container and the one whose limit binds.")
        .internal()
        .read(BINDING_LEVEL),
    PidsLevelUsage = gauge("processes.level_usage", Count, "Tasks of a level above that binds.")
        .internal()
        .read(BINDING_LEVEL),
    Frozen = gauge("frozen", Count, "1 if the container is frozen by its v2 cgroup.")
        .internal()
        .read(&[ControllerIterator(|c| c.frozen), v2("cgroup.events", Flat("frozen"))]),
    FrozenV1 = gauge(
        "frozen.v1",
        Count,
        "1 if the container is frozen by its cgroup of the v1 freezer, which a hybrid host has beside the v2 one."
    )
    .internal()
    .read(&[ControllerIterator(|c| c.frozen_v1), v1("freezer", "freezer.state", Word("FROZEN"))]),
    Populated = gauge("populated", Count, "1 if the container has a process.")
        .internal()
        .read(&[ControllerIterator(|c| c.populated), v2("cgroup.events", Flat("populated"))]),
    MachineCpus = gauge("machine.cpus", Count, "CPUs of the machine.").internal().read(&[Machine(|m| m.cpus.clone())]),
    MachineMemory = gauge("machine.memory", Bytes, "Memory of the machine.")
        .internal()
        .read(&[Machine(|m| m.memory_total.clone())]),
);
