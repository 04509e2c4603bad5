//! Traffic of network namespaces, from `/proc/PID/net` (`Documentation/networking/snmp_counter.rst`).
//!
//! The namespace counts IP packets whatever interface they use: a bridge, bond or VLAN and the interface below it are
//! one traffic, and no counter goes with an interface. Where these counters are missing, the interfaces are counted,
//! each by its growth.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;

use crate::cause::{Cause, CauseKind};
use crate::foreign;
use crate::proc_text;
use crate::readings::{Interface, Interfaces};
use crate::snapshot::CgroupId;
use crate::sources::network_namespace;

/// A sysctl that the kernel shows in its first network namespace alone (`net/core/sysctl_net_core.c`).
const FIRST_NAMESPACE: &str = "sys/net/core/netdev_max_backlog";

/// The part that is the whole namespace. No interface has a slash in its name.
const NAMESPACE: &str = "/";
/// Longest table: a namespace may have thousands of interfaces.
const LONGEST: usize = 4 << 20;

/// Counters of the traffic of one namespace, by their parts.
type Parts = BTreeMap<String, Interfaces>;

/// The traffic of each container so far.
#[derive(Debug, Default)]
pub(super) struct Traffic(HashMap<CgroupId, Sum>);

#[derive(Debug, Default)]
struct Sum {
    namespace: Option<u64>,
    last: Parts,
    total: Interfaces,
}

impl Traffic {
    /// Forgets the containers that are not kept.
    pub(super) fn retain(&mut self, keep: impl Fn(&CgroupId) -> bool) {
        self.0.retain(|id, _| keep(id));
    }

    /// Reads the traffic of the network namespace of a process. The sum never falls.
    pub(super) fn read(&mut self, id: CgroupId, process: &Path, namespace: Option<u64>) -> Result<Interfaces, Cause> {
        let parts = parts(&process.join("net"))?;
        let sum = self.0.entry(id).or_default();
        if std::mem::replace(&mut sum.namespace, namespace) != namespace {
            sum.last.clear();
        }
        Ok(sum.add(parts))
    }
}

impl Sum {
    fn add(&mut self, mut parts: Parts) -> Interfaces {
        for (name, now) in &mut parts {
            let before = self.last.get(name).copied().unwrap_or_default();
            // An interface that comes back counts anew. The namespace's counters only seem to fall: loopback is read at
            // another moment than they are.
            if name == NAMESPACE {
                *now = now.at_least(&before);
            }
            self.total.grow(&before, now);
        }
        self.last = parts;
        self.total
    }
}

fn parts(net: &Path) -> Result<Parts, Cause> {
    let path = net.join("dev");
    let devices = foreign::read(&path, LONGEST).map_err(|error| Cause::io(path.display(), &error))?;
    let invalid = || Cause::new(CauseKind::Invalid, format!("{} is not a table of interfaces", path.display()));
    // Each namespace has at least loopback.
    let devices = proc_text::interfaces(&devices).filter(|devices| !devices.is_empty()).ok_or_else(invalid)?;
    let (loopback, others): (Vec<Interface>, Vec<Interface>) =
        devices.into_iter().partition(|interface| interface.name == proc_text::LOOPBACK);
    Ok(match protocols(net)? {
        Some(all) => {
            let loopback = loopback.first().map(Interfaces::from).unwrap_or_default();
            [(NAMESPACE.to_owned(), all.without(&loopback))].into()
        }
        None => others.iter().map(|interface| (interface.name.clone(), Interfaces::from(interface))).collect(),
    })
}

/// Returns all IP traffic of a namespace, loopback included; `None` if the kernel does not count it.
///
/// # Errors
/// If a file that exists cannot be read: its traffic is unknown, and not zero.
fn protocols(net: &Path) -> Result<Option<Interfaces>, Cause> {
    let read = |name: &str| match foreign::read(&net.join(name), LONGEST) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Cause::io(net.join(name).display(), &error)),
    };
    let (Some(netstat), Some(snmp)) = (read("netstat")?, read("snmp")?) else { return Ok(None) };
    // A kernel without IPv6 does not have the file.
    Ok(all_traffic(&netstat, &snmp, &read("snmp6")?.unwrap_or_default()))
}

/// Adds up the IP traffic of both versions; `None` if IPv4 is not counted.
fn all_traffic(netstat: &[u8], snmp: &[u8], snmp6: &[u8]) -> Option<Interfaces> {
    let bytes = |key| proc_text::snmp(netstat, "IpExt", key);
    let packets = |key| proc_text::snmp(snmp, "Ip", key);
    let v6 = |key| proc_text::snmp6(snmp6, key);
    let of_v6 = |key| v6(key).unwrap_or(0);
    Some(Interfaces {
        rx_bytes: bytes("InOctets")?.saturating_add(of_v6("Ip6InOctets")),
        tx_bytes: bytes("OutOctets")?.saturating_add(of_v6("Ip6OutOctets")),
        rx_packets: packets("InReceives")?.saturating_add(of_v6("Ip6InReceives")),
        // Since Linux 6.7 requests of the namespace's own are counted apart from what is sent.
        tx_packets: packets("OutTransmits")
            .or_else(|| packets("OutRequests"))?
            .saturating_add(v6("Ip6OutTransmits").unwrap_or_else(|| of_v6("Ip6OutRequests"))),
    })
}

/// Returns the network namespace of the machine: that of its first process or, where that may not be looked into, the
/// agent's own if it is the kernel's first.
pub(super) fn of_machine(proc: &Path) -> Result<u64, Cause> {
    of_process(proc, "1").or_else(|cause| {
        let is_first = proc.join(FIRST_NAMESPACE).exists();
        is_first.then(|| of_process(proc, "self").ok()).flatten().ok_or(cause)
    })
}

/// Returns the network namespace of a process.
pub(super) fn of_process(proc: &Path, process: &str) -> Result<u64, Cause> {
    let remedy = "the network of the machine cannot be told from others: run with CAP_SYS_PTRACE, or use eBPF";
    network_namespace::number(proc, process).map_err(|error| {
        let path = proc.join(process).join("ns/net");
        Cause::new(CauseKind::of_error(&error), format!("{}: {error}; {remedy}", path.display()))
    })
}
