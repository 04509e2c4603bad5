//! Capabilities that stay after the others are dropped.

use rustix::thread::CapabilitySet;

use super::facts::HostFacts;
use super::request::{EbpfMode, Request};
use crate::snapshot::Scope;

/// Ports below this one take a capability (`net.ipv4.ip_unprivileged_port_start`, unless it was changed).
const FIRST_FREE_PORT: u16 = 1024;

/// A capability that stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetainedCapability {
    /// The capability.
    pub capability: CapabilitySet,
    /// True if the threads of the server and the sinks need it, false if only those that sample do.
    pub for_network: bool,
    /// The access that would be lost without it.
    pub why: &'static str,
}

/// The capabilities that are needed later on, as far as this process has them.
pub(super) fn retained(host: &HostFacts, request: &Request) -> Vec<RetainedCapability> {
    let of_machine = request.scope == Scope::Host;
    let reads_all = host.capabilities.contains(CapabilitySet::DAC_READ_SEARCH);
    // Runtimes and kernels that do not know CAP_BPF grant CAP_SYS_ADMIN.
    let has_bpf = host.capabilities.contains(CapabilitySet::BPF);
    let bpf = if has_bpf { CapabilitySet::BPF } else { CapabilitySet::SYS_ADMIN };
    let reads_files = request.walks_disk || request.reads_secrets;
    let rows = [
        (
            CapabilitySet::SYS_PTRACE,
            of_machine || !host.counts_descriptors,
            false,
            "the environment, root directory and (before Linux 6.2) descriptors of containers' processes",
        ),
        (
            CapabilitySet::DAC_READ_SEARCH,
            of_machine || reads_files,
            request.reads_secrets,
            "directories and files of other users",
        ),
        (
            CapabilitySet::DAC_OVERRIDE,
            (of_machine || reads_files) && !reads_all,
            request.reads_secrets,
            "directories and files of other users, where CAP_DAC_READ_SEARCH is missing",
        ),
        (CapabilitySet::DAC_OVERRIDE, request.writes_files, true, "sockets and the buffer directory of another user"),
        (
            CapabilitySet::NET_BIND_SERVICE,
            request.access.bind.iter().any(|port| *port < FIRST_FREE_PORT),
            true,
            "listening at a port below 1024",
        ),
        (
            bpf,
            request.ebpf != EbpfMode::Off && host.bpf_is_restricted && (of_machine || host.kernel < (5, 19)),
            false,
            "larger maps in scope host; and reading maps, which takes a capability before Linux 5.19",
        ),
    ];
    let needed = rows.into_iter().filter(|(capability, needed, ..)| *needed && host.capabilities.contains(*capability));
    needed.map(|(capability, _, for_network, why)| RetainedCapability { capability, for_network, why }).collect()
}
