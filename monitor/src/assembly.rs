//! The composition root: the one module that knows every source and every sink.

use std::path::Path;
use std::sync::Arc;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::Notify;

use crate::config::Config;
use crate::containers;
use crate::containers::host::HostContainers;
use crate::containers::names::Places;
use crate::containers::own::{self, Own, OwnContainer};
use crate::containers::trees::Trees;
use crate::http;
use crate::preflight::{self, Plan};
use crate::snapshot::{Scope, Stamp};
use crate::sources::Source;
use crate::sources::bpf::pins::Pins;
use crate::sources::bpf::{self, Lives, Part, ProgramState};
use crate::sources::cgroup::CgroupFiles;
use crate::sources::disk::{Disk, DiskPlan};
use crate::sources::procfs::Procfs;

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
