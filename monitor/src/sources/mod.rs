//! Where numbers come from. Each source reads one kind of thing and fills the cells that the table says it feeds.

pub mod bpf;
pub mod cgroup;
pub mod disk;
pub mod parse;
pub mod proc_text;
mod processes;
pub mod procfs;
mod scarce;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::Notify;

use self::bpf::pins::Pins;
use self::bpf::{Bpf, Part, ProgramState, Room};
use self::cgroup::CgroupFiles;
use self::disk::{Disk, DiskPlan};
use self::procfs::Procfs;
use crate::config::Config;
use crate::containers;
use crate::containers::host::HostContainers;
use crate::containers::names::Places;
use crate::containers::own::{self, OwnContainer};
use crate::sinks::http;
use crate::snapshot::{Extent, Scope, Snapshot, Stamp};

/// Descriptors that are not for cgroup files: for eBPF, sockets, and what is opened and closed again.
const RESERVED: usize = 64;

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
    /// Told when a container has ended, or lost its last process.
    pub ended: Arc<Notify>,
}

/// Opens what the configuration asks for. What the host refuses is left out, with its cause. `pins` are for what shall go
/// on counting afterwards.
///
/// # Errors
/// When this process may not have the threads that it needs.
pub fn open(config: &Config, pins: Option<&Pins>, clock: fn() -> Stamp) -> std::io::Result<Opened> {
    let roots = &config.roots;
    let descriptors = raise_descriptor_limit();
    let reserved = RESERVED + if config.listen.is_some() { http::CONNECTIONS } else { 0 };
    let room = if descriptors < RESERVED { Room::None(descriptors) } else { Room::Enough };
    let ended = Arc::<Notify>::default();
    let (first, bpf, programs) = match config.scope {
        Scope::Own => own_container(config, room, pins, clock),
        Scope::Host => every_container(config, room, pins, clock, &ended)?,
    };
    let plan = DiskPlan {
        exclude: config.disk.exclude.clone(),
        interval: config.disk.interval,
        machine: config.scope == Scope::Host,
    };
    let sources: Vec<Box<dyn Source>> = vec![
        first,
        Box::new(bpf),
        Box::new(CgroupFiles::new(descriptors.saturating_sub(reserved))),
        Box::new(Procfs::new(roots)),
        Box::new(Disk::new(plan, roots, clock)),
    ];
    Ok(Opened { sources, programs, ended })
}

/// What says which cgroups there are, and what counts in them.
type Watched = (Box<dyn Source>, Bpf, Vec<ProgramState>);

fn own_container(config: &Config, room: Room, pins: Option<&Pins>, clock: fn() -> Stamp) -> Watched {
    let own = own::find(&config.roots, &config.container_name);
    let (bpf, programs) = bpf::open(config.ebpf, &Part::of(&own), &config.roots, room, pins, clock);
    (Box::new(OwnContainer::new(own, &config.roots)), bpf, programs)
}

fn every_container(
    config: &Config,
    room: Room,
    pins: Option<&Pins>,
    clock: fn() -> Stamp,
    ended: &Arc<Notify>,
) -> std::io::Result<Watched> {
    let host = containers::host_root(&config.roots);
    let sockets = config.runtime_sockets.iter().map(|path| host.join(path.strip_prefix("/").unwrap_or(path))).collect();
    let places = Places { host, proc: config.roots.proc.clone(), sockets };
    let mut containers = HostContainers::new(&config.roots, config.rules.clone(), &places, clock)?;
    let part = Part { scope: Scope::Host, top: containers.root(), id: None, lives: true };
    let (mut bpf, programs) = bpf::open(config.ebpf, &part, &config.roots, room, pins, clock);
    if let Err(error) = containers.follow(bpf.take_lives(), Arc::clone(ended)) {
        tracing::warn!("the cgroup tree cannot be followed, and is walked at each reading: {error}");
    }
    Ok((Box::new(containers), bpf, programs))
}

/// Takes all descriptors that this process may have; how many that are.
fn raise_descriptor_limit() -> usize {
    let limit = getrlimit(Resource::Nofile);
    // What is refused leaves the limit as it was.
    _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    getrlimit(Resource::Nofile).current.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX))
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
