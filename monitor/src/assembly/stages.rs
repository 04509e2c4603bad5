//! The stages of a start.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::Notify;

use super::context::{Clock, ProcessContext};
use super::request::request;
use super::watched::{Watched, WatchedSources};
use crate::config::Config;
use crate::containers::Roots;
use crate::containers::owners::Owners;
use crate::hardening;
use crate::http;
use crate::preflight::{self, EbpfMode, HostFacts, Plan};
use crate::programs::{self, ProgramState};
use crate::refusal::Decision;
use crate::snapshot::Scope;
use crate::sources::bpf::pins::Pins;
use crate::sources::bpf::{self, Bpf};
use crate::sources::cgroup::CgroupFiles;
use crate::sources::disk::{Disk, DiskPlan};
use crate::sources::interfaces::Interfaces;
use crate::sources::procfs::Procfs;
use crate::sources::start_times::StartTimes;
use crate::sources::{SamplerThread, Source};

/// The error when the system grants no thread.
const THREAD: &str = "a thread cannot be started";

/// The host is known and everything is decided; no privilege has been used.
pub struct Prepared<'a> {
    config: &'a Config,
    clock: Clock,
    facts: HostFacts,
    plan: Plan,
    watched: Watched,
}

/// The eBPF programs are attached, with all privileges still held.
pub struct Attached<'a> {
    config: &'a Config,
    clock: Clock,
    facts: HostFacts,
    plan: Plan,
    watched: Watched,
    bpf: Bpf,
    programs: Vec<ProgramState>,
}

/// Only the capabilities that sampling needs are left.
pub struct Unprivileged<'a>(Attached<'a>);

/// The sampler thread runs, with the privileges that it was started with.
pub struct Sampling<'a> {
    pub(super) config: &'a Config,
    plan: Plan,
    pub(super) programs: Vec<ProgramState>,
    pub(super) sampler: SamplerThread,
    pub(super) ended: Arc<Notify>,
    /// The names that the registry asks for and the sink claims.
    pub(super) owners: Option<Owners>,
}

/// Every layer of defence is applied.
pub struct Hardened<'a>(pub(super) Sampling<'a>);

/// The sources, ready to be read by this process.
pub struct OpenedSources {
    /// The sources in the order in which they are read: the first one lists the cgroups.
    pub sources: Vec<Box<dyn Source>>,
    /// Each eBPF program, attached or not.
    pub programs: Vec<ProgramState>,
    /// The plan by which they were opened.
    pub plan: Plan,
    /// Notified when a container has exited or lost its last process.
    pub ended: Arc<Notify>,
}

impl<'a> Prepared<'a> {
    /// Looks at the host and decides what is done on it.
    pub fn new(config: &'a Config, context: &ProcessContext) -> Self {
        raise_descriptor_limit();
        let facts = preflight::probe(&config.roots, programs::are_built());
        let mut request = request(config);
        request.access.extend(context.access());
        let plan = preflight::plan(programs::catalog(), &facts, &request);
        Self { config, clock: context.clock, facts, plan, watched: Watched::find(config) }
    }

    /// Attaches the eBPF programs. `pins` are for counters that survive this process.
    pub fn attach(self, pins: Option<&Pins>) -> Attached<'a> {
        let Self { config, clock, facts, plan, watched } = self;
        let (bpf, programs) = bpf::open(&plan.programs, &watched.part(), &config.roots, pins, clock);
        Attached { config, clock, facts, plan, watched, bpf, programs }
    }
}

impl<'a> Attached<'a> {
    /// Checks that there is a program, if the configuration insists on eBPF.
    ///
    /// # Errors
    /// When no program could be loaded.
    pub fn require_ebpf(self) -> anyhow::Result<Self> {
        if self.config.ebpf == EbpfMode::On && !self.programs.iter().any(|program| program.state.is_attached()) {
            bail!("--ebpf on, but no eBPF program could be loaded; `system-monitor doctor` says why");
        }
        Ok(self)
    }

    /// Opens the sources for a look, without giving anything up, and without claiming names.
    ///
    /// # Errors
    /// When the system grants no thread.
    pub fn open_sources(self) -> anyhow::Result<OpenedSources> {
        self.open(None)
    }

    fn open(self, owners: Option<Owners>) -> anyhow::Result<OpenedSources> {
        let Self { config, clock, facts, plan, watched, mut bpf, programs } = self;
        let ended = Arc::<Notify>::default();
        let WatchedSources { list, lives } =
            watched.into_source(config, owners, bpf.take_change_feed(), clock, &ended).context(THREAD)?;
        let for_clients = if config.listen.is_some() { http::CONNECTIONS } else { 0 };
        let taken = preflight::DESCRIPTORS + for_clients + count_open(&config.roots.proc);
        let disk = DiskPlan {
            exclude: config.disk.exclude.clone(),
            interval: config.disk.interval,
            machine: config.scope == Scope::Host,
        };
        let mut sources: Vec<Box<dyn Source>> = vec![
            list,
            Box::new(bpf),
            Box::new(CgroupFiles::new(file_budget(facts.descriptors, taken), &config.roots.sys)),
            Box::new(Procfs::new(&config.roots)),
        ];
        sources.extend(lives);
        sources
            .extend([Box::new(Disk::new(disk, &config.roots, clock)) as Box<dyn Source>, Box::<StartTimes>::default()]);
        // Only these outputs tell interfaces apart.
        if config.listen.is_some() || config.sinks.iter().any(|sink| sink.tells_interfaces_apart()) {
            sources.push(Box::new(Interfaces::new(config.roots.proc.clone())));
        }
        Ok(OpenedSources { sources, programs, plan, ended })
    }

    /// Drops the capabilities that no thread will need.
    pub fn drop_capabilities(self) -> Unprivileged<'a> {
        if self.plan.drop.is_take() {
            hardening::drop_capabilities(self.plan.retained_set());
        }
        Unprivileged(self)
    }
}

impl<'a> Unprivileged<'a> {
    /// Starts the threads that look into other processes: Landlock would forbid it to them. Where none has to, Landlock
    /// comes first, so that they inherit it.
    ///
    /// # Errors
    /// When the system grants no thread.
    pub fn start_threads(self) -> anyhow::Result<Sampling<'a>> {
        let Self(attached) = self;
        let (config, clock) = (attached.config, attached.clock);
        if attached.plan.confines_sampler {
            apply_landlock(&attached.plan);
        }
        // A container that reports itself has the name that it was given.
        let claims = config.scope == Scope::Host && config.valkey.is_some();
        let owners = claims.then(|| Owners::new(&config.roots));
        let OpenedSources { sources, programs, plan, ended } = attached.open(owners.clone())?;
        let sampler = SamplerThread::start(sources, clock).context(THREAD)?;
        Ok(Sampling { config, plan, programs, sampler, ended, owners })
    }
}

impl<'a> Sampling<'a> {
    /// Confines this thread and those that it starts to the files, ports and capabilities that they need, and all
    /// threads to the system calls that the agent makes.
    pub fn apply_sandbox(self) -> Hardened<'a> {
        if !self.plan.confines_sampler {
            apply_landlock(&self.plan);
        }
        if self.plan.drop.is_take() {
            hardening::drop_capabilities(self.plan.network_set());
        }
        if self.plan.seccomp.is_take() {
            hardening::apply_seccomp(self.plan.maps_grow);
        }
        Hardened(self)
    }
}

/// Returns the decision about each eBPF program, without attaching any.
pub fn program_decisions(
    roots: &Roots,
    mode: EbpfMode,
    fd_events: bool,
    scope: Scope,
) -> Vec<(&'static str, Decision)> {
    let facts = preflight::probe(roots, programs::are_built());
    preflight::programs(programs::catalog(), &facts, mode, fd_events, scope)
}

fn apply_landlock(plan: &Plan) {
    if plan.landlock.is_take() {
        hardening::apply_landlock(&plan.access);
    }
}

/// Raises the limit of file descriptors to what this process may have.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    // A refusal leaves the limit as it was.
    _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// The number of files that may stay open. An eighth of the descriptors stays free, so that no report counts this
/// process among those that run out of them.
fn file_budget(descriptors: usize, taken: usize) -> usize {
    (descriptors - descriptors / 8).saturating_sub(taken)
}

/// The number of descriptors that this process has open, eBPF's among them.
fn count_open(proc: &Path) -> usize {
    std::fs::read_dir(proc.join("self/fd")).map_or(0, Iterator::count)
}
