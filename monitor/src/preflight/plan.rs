//! The plan for a request on a host.

use rustix::thread::CapabilitySet;

use super::access::access;
use super::facts::HostFacts;
use super::programs::{programs, without_rights};
use super::request::{EbpfMode, Layer, Request};
use super::retained::{RetainedCapability, retained};
use crate::hardening::landlock::AllowedAccess;
use crate::programs::Needs;
use crate::refusal::{BPF, Decision, without_bpf_fs};
use crate::snapshot::Scope;

/// The decisions for a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Each eBPF program.
    pub programs: Vec<(&'static str, Decision)>,
    /// Pinning maps and links in the BPF file system.
    pub pins: Decision,
    /// Dropping capabilities after the programs are attached.
    pub drop: Decision,
    /// The capabilities that stay.
    pub retained: Vec<RetainedCapability>,
    /// Landlock.
    pub landlock: Decision,
    /// True if Landlock confines the sampler thread too, and not only the threads that use the network.
    pub confines_sampler: bool,
    /// The files and ports that stay accessible.
    pub access: AllowedAccess,
    /// The seccomp filter.
    pub seccomp: Decision,
    /// True if eBPF maps may be created and pinned later: on a machine more cgroups may appear than fit into the first
    /// ones.
    pub maps_grow: bool,
}

impl Plan {
    /// The capabilities that stay, as a set.
    pub fn retained_set(&self) -> CapabilitySet {
        self.retained.iter().map(|retained| retained.capability).collect()
    }

    /// Those that the threads of the server and the sinks keep.
    pub fn network_set(&self) -> CapabilitySet {
        self.retained.iter().filter(|retained| retained.for_network).map(|retained| retained.capability).collect()
    }
}

/// Makes the decisions. The kernel may still refuse what is allowed here.
pub fn plan(catalogue: impl Iterator<Item = Needs>, host: &HostFacts, request: &Request) -> Plan {
    let off = |why: &str| Decision::Off(why.to_owned());
    Plan {
        programs: programs(catalogue, host, request.ebpf, request.fd_events, request.scope),
        pins: pins(host, request),
        drop: if request.drop_privileges { Decision::Take } else { off("--drop-privileges false") },
        retained: retained(host, request),
        landlock: sandbox(request, Layer::Landlock),
        // Landlock hides other processes as it does from a debugger.
        confines_sampler: request.scope == Scope::SelfContainer && host.counts_descriptors,
        access: access(host, request),
        seccomp: sandbox(request, Layer::Seccomp),
        maps_grow: request.scope == Scope::Host,
    }
}

fn pins(host: &HostFacts, request: &Request) -> Decision {
    let Some(dir) = &request.pin else {
        return Decision::Off("--pin off: eBPF counters will not survive a restart".to_owned());
    };
    if request.ebpf == EbpfMode::Off {
        return Decision::Off("--ebpf off: there is nothing to pin".to_owned());
    }
    if !host.bpf_mounts.iter().any(|mount| dir.starts_with(mount)) {
        return Decision::Refused(without_bpf_fs(dir));
    }
    without_rights(host, &[BPF]).map_or(Decision::Take, Decision::Refused)
}

fn sandbox(request: &Request, layer: Layer) -> Decision {
    let is_asked = request.sandbox.contains(&layer);
    if is_asked { Decision::Take } else { Decision::Off("not listed in --sandbox".to_owned()) }
}
