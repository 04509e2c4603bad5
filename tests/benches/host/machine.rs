//! The sources of an agent of the machine, in this process.

use std::path::Path;
use std::sync::Arc;

use monitor::assembly;
use monitor::containers::Roots;
use monitor::containers::hierarchies::Hierarchies;
use monitor::containers::names::RuntimePaths;
use monitor::containers::rules::Rules;
use monitor::preflight::EbpfMode;
use monitor::snapshot::{Scope, Snapshot};
use monitor::sources::bpf::{self, Part};
use monitor::sources::cgroup::CgroupFiles;
use monitor::sources::host_containers::HostContainers;
use monitor::sources::procfs::Procfs;
use monitor::sources::{self, Source};

use crate::clock::stamp;

/// The sources of an agent of the machine.
pub struct Machine {
    sources: Vec<Box<dyn Source>>,
    _ended: Arc<tokio::sync::Notify>,
}

/// Opens the containers of the machine, and eBPF.
pub fn containers(ended: &Arc<tokio::sync::Notify>, mode: EbpfMode) -> (HostContainers, bpf::Bpf) {
    let roots = Roots::default();
    let places = RuntimePaths { host: "/".into(), proc: "/proc".into(), sockets: Vec::new() };
    let mut containers =
        HostContainers::new(Hierarchies::find(&roots), Rules::default(), None, &places, stamp).unwrap();
    let trees = Hierarchies::find(&roots);
    let part = Part::machine(containers.root(), trees.v1);
    let decisions = assembly::program_decisions(&roots, mode, false, Scope::Host);
    let (mut bpf, _) = bpf::open(&decisions, &part, &roots, None, stamp);
    containers.follow(bpf.take_change_feed(), Arc::clone(ended)).unwrap();
    (containers, bpf)
}

/// The number of descriptors that this process may have, less a reserve.
pub fn descriptors() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` outlives both calls.
    unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
    }
    usize::try_from(limit.rlim_max).unwrap_or(usize::MAX).saturating_sub(200)
}

impl Machine {
    pub fn new(mode: EbpfMode, descriptors: usize) -> Self {
        let ended = Arc::default();
        let (containers, bpf) = containers(&ended, mode);
        let sources: Vec<Box<dyn Source>> = vec![
            Box::new(containers),
            Box::new(bpf),
            Box::new(CgroupFiles::new(descriptors, Path::new("/sys"))),
            Box::new(Procfs::new(&Roots::default())),
        ];
        Self { sources, _ended: ended }
    }

    pub fn read(&mut self) -> Snapshot {
        sources::sample(&mut self.sources, stamp).snapshot
    }
}
