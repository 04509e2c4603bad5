//! Where numbers come from. Each source reads one kind of thing and fills the cells that the table says it feeds.

pub mod bpf;
pub mod cgroup;
pub mod disk;
pub mod parse;
pub mod proc_text;
mod processes;
pub mod procfs;
mod reader;
mod scarce;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::Notify;

use self::bpf::pins::Pins;
use self::bpf::{Lives, Part, ProgramState};
use self::cgroup::CgroupFiles;
use self::disk::{Disk, DiskPlan};
use self::procfs::Procfs;
pub use self::reader::Reader;
use crate::config::Config;
use crate::containers;
use crate::containers::host::HostContainers;
use crate::containers::names::Places;
use crate::containers::own::{self, Own, OwnContainer};
use crate::containers::trees::Trees;
use crate::preflight::{self, Plan};
use crate::sinks::http;
use crate::snapshot::{Extent, Scope, Snapshot, Stamp};

/// Something that reads the kernel.
pub trait Source: Send {
    /// Its name in messages.
    fn name(&self) -> &'static str;

    /// Fills `into`. Blocking. What cannot be read is recorded as absent, with its cause. In a reading of [`Extent::Ended`]
    /// nothing is known of cgroups that are not in it: they are not to be forgotten.
    ///
    /// # Errors
    /// When the source as a whole has failed; the other sources go on.
    fn sample(&mut self, into: &mut Snapshot) -> Result<(), SourceError>;
}

/// A source gave nothing at all this time.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SourceError(pub String);

/// The sources, ready to be read, and what became of the eBPF programs.
pub struct Opened {
    /// In the order in which they run: the first one says which cgroups there are.
    pub sources: Vec<Box<dyn Source>>,
    /// Each eBPF program, attached or not.
    pub programs: Vec<ProgramState>,
    /// What was decided, and what is still to be done of it.
    pub plan: Plan,
    /// Told when a container has ended, or lost its last process.
    pub ended: Arc<Notify>,
}

/// Opens what the configuration asks for. What the host refuses is left out, with its cause. `pins` are for what shall go
/// on counting afterwards. `attached` is called when all is done that takes privileges, and before any thread is there.
///
/// # Errors
/// When this process may not have the threads that it needs.
pub fn open(
    config: &Config,
    pins: Option<&Pins>,
    clock: fn() -> Stamp,
    attached: impl FnOnce(&Plan),
) -> std::io::Result<Opened> {
    let roots = &config.roots;
    raise_descriptor_limit();
    let machine = preflight::probe(roots);
    let decided = preflight::plan(&machine, config);
    let reserved = preflight::DESCRIPTORS + if config.listen.is_some() { http::CONNECTIONS } else { 0 };
    let ended = Arc::<Notify>::default();
    let watched = match config.scope {
        Scope::Own => Watched::Own(own::find(roots, &config.container_name)),
        Scope::Host => Watched::Machine(Trees::find(roots)),
    };
    let (mut bpf, programs) = bpf::open(&decided.programs, &watched.part(), roots, pins, clock);
    attached(&decided);
    let first: Box<dyn Source> = match watched {
        Watched::Own(own) => Box::new(OwnContainer::new(own, roots)),
        Watched::Machine(trees) => every_container(config, trees, bpf.take_lives(), clock, &ended)?,
    };
    let taken = reserved + count_open(&roots.proc);
    let plan = DiskPlan {
        exclude: config.disk.exclude.clone(),
        interval: config.disk.interval,
        machine: config.scope == Scope::Host,
    };
    let sources: Vec<Box<dyn Source>> = vec![
        first,
        Box::new(bpf),
        Box::new(CgroupFiles::new(room(machine.descriptors, taken))),
        Box::new(Procfs::new(roots)),
        Box::new(Disk::new(plan, roots, clock)),
    ];
    Ok(Opened { sources, programs, plan: decided, ended })
}

/// What is watched, and where its files are.
enum Watched {
    Own(Own),
    Machine(Trees),
}

impl Watched {
    fn part(&self) -> Part {
        match self {
            Self::Own(own) => Part::of(own),
            Self::Machine(trees) => Part::machine(trees.v2.clone(), trees.v1.clone()),
        }
    }
}

fn every_container(
    config: &Config,
    trees: Trees,
    lives: Option<Lives>,
    clock: fn() -> Stamp,
    ended: &Arc<Notify>,
) -> std::io::Result<Box<dyn Source>> {
    let host = containers::host_root(&config.roots);
    let sockets = config.runtime_sockets.iter().map(|path| host.join(path.strip_prefix("/").unwrap_or(path))).collect();
    let places = Places { host, proc: config.roots.proc.clone(), sockets };
    let mut containers = HostContainers::new(trees, config.rules.clone(), &places, clock)?;
    if let Err(error) = containers.follow(lives, Arc::clone(ended)) {
        tracing::warn!("the cgroup tree cannot be followed, and is walked at each reading: {error}");
    }
    Ok(Box::new(containers))
}

/// Takes all descriptors that this process may have.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    // What is refused leaves the limit as it was.
    _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// How many files may stay open. An eighth of the descriptors stays free, so that no report counts this process among
/// those that run out of them.
fn room(descriptors: usize, taken: usize) -> usize {
    (descriptors - descriptors / 8).saturating_sub(taken)
}

/// How many descriptors this process has by now, eBPF's among them.
fn count_open(proc: &Path) -> usize {
    std::fs::read_dir(proc.join("self/fd")).map_or(0, Iterator::count)
}

/// One reading.
#[derive(Debug)]
pub struct Sampled {
    /// What was read.
    pub snapshot: Snapshot,
    /// How long it took.
    pub cost: Duration,
    /// The sources that failed, with what they said.
    pub errors: Vec<(&'static str, String)>,
}

/// Reads all sources once, about all cgroups.
pub fn sample(sources: &mut [Box<dyn Source>], clock: impl Fn() -> Stamp) -> Sampled {
    reading(sources, Extent::Whole, clock)
}

/// Reads all sources once, about the cgroups of an extent. One that fails costs its own numbers alone, and so does one
/// with a bug: where this agent's death would take a container's main service with it, a panic must not end it.
pub fn reading(sources: &mut [Box<dyn Source>], extent: Extent, clock: impl Fn() -> Stamp) -> Sampled {
    let taken = clock();
    let mut snapshot = Snapshot { extent, ..Snapshot::new(taken) };
    let mut errors = Vec::new();
    for source in sources {
        let error = match catch_unwind(AssertUnwindSafe(|| source.sample(&mut snapshot))) {
            Ok(Ok(())) => continue,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "a bug in this source; please report it".to_owned(),
        };
        errors.push((source.name(), error));
    }
    Sampled { snapshot, cost: clock().mono.saturating_sub(taken.mono), errors }
}
