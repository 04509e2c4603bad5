//! Decisions about the eBPF programs.

use super::facts::HostFacts;
use super::request::EbpfMode;
use crate::programs::Needs;
use crate::refusal::{CAPABILITIES, Capability, Decision, Refusal, lacking, without_tree};
use crate::snapshot::Scope;

/// File descriptors that programs, maps and links take, with sockets and files that are opened only for a moment.
pub const DESCRIPTORS: usize = 160;

/// Decides about each program of the catalogue.
pub fn programs(
    catalogue: impl Iterator<Item = Needs>,
    host: &HostFacts,
    mode: EbpfMode,
    fd_events: bool,
    scope: Scope,
) -> Vec<(&'static str, Decision)> {
    catalogue.map(|needs| (needs.name, program(host, mode, fd_events, scope, &needs))).collect()
}

fn program(host: &HostFacts, mode: EbpfMode, fd_events: bool, scope: Scope, needs: &Needs) -> Decision {
    if mode == EbpfMode::Off {
        return Decision::Off("switched off by --ebpf off".to_owned());
    }
    if needs.of_a_machine && scope == Scope::SelfContainer {
        return Decision::Off("for --scope host alone".to_owned());
    }
    if needs.of_descriptors && !fd_events {
        return Decision::Off("--ebpf-fd-events is off".to_owned());
    }
    let obstacle = unbuilt(host)
        .or_else(|| (!host.has_v2).then(without_tree))
        .or_else(|| without_room(host))
        .or_else(|| without_rights(host, needs.capabilities))
        .or_else(|| host.types.as_ref().err().filter(|_| needs.types).map(|error| without_types(error)));
    obstacle.map_or(Decision::Take, Decision::Refused)
}

fn unbuilt(host: &HostFacts) -> Option<Refusal> {
    let refusal =
        || Refusal::new("this binary was built without the eBPF objects", "build it with cargo xtask build-ebpf");
    (!host.has_objects).then(refusal)
}

fn without_room(host: &HostFacts) -> Option<Refusal> {
    let cause = || format!("this process may have only {} descriptors (EMFILE)", host.descriptors);
    (host.descriptors < DESCRIPTORS)
        .then(|| Refusal::new(cause(), "ulimit -n 1024, or docker run --ulimit nofile=1024"))
}

pub(super) fn without_rights(host: &HostFacts, capabilities: &[Capability]) -> Option<Refusal> {
    if let Some(lacking) = lacking(capabilities, host.capabilities) {
        return Some(Refusal::new(format!("{lacking} (EPERM)"), CAPABILITIES));
    }
    let refusal = || {
        Refusal::new(
            "this is a user namespace, whose capabilities are worth nothing to eBPF (EPERM)",
            "start the agent outside of it: as root of the machine, or in a rootful container",
        )
    };
    (!host.in_first_user_namespace).then(refusal)
}

fn without_types(error: &str) -> Refusal {
    Refusal::new(error, "run a kernel with CONFIG_DEBUG_INFO_BTF=y and keep /sys readable for the agent")
}
