//! What this machine allows, and what follows from it: facts, and a decision about each thing that takes a right. Pure but
//! for [`probe`].

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::process::{Resource, getrlimit};
use rustix::thread::CapabilitySet;

use crate::config::{Config, Ebpf, Layer};
use crate::containers::Roots;
use crate::containers::mounts;
use crate::http::Address as Listening;
use crate::refusal::{BPF, CAPABILITIES, Capability, Decision, Refusal, lacking, without_tree};
use crate::sandbox::Reach;
use crate::snapshot::Scope;
use crate::sources::bpf::pins::PinsError;
use crate::sources::bpf::{self, Needs};
use crate::valkey::{Address, Topology, ValkeyOptions};

/// Descriptors that programs, maps and links take, with sockets and what is opened and closed again.
pub const DESCRIPTORS: usize = 160;

/// The inode of the first user namespace (`PROC_USER_INIT_INO` in `include/linux/proc_ns.h`).
const FIRST_USER_NAMESPACE: u64 = 0xEFFF_FFFD;

/// Where DNS is asked.
const DNS: u16 = 53;

/// What tells the resolver names and servers, read anew for each connection.
const NAMES: [&str; 2] = ["/etc/hosts", "/etc/resolv.conf"];

/// Where systems have the authorities that certificates are judged by.
const AUTHORITIES: &[&str] = &[
    "/etc/ssl",
    "/etc/pki",
    "/etc/ca-certificates",
    "/usr/share/ca-certificates",
    "/usr/share/pki",
    "/usr/local/share/ca-certificates",
    "/var/lib/ca-certificates",
];

/// Without them the resolver fails.
const RANDOM: &[&str] = &["/dev/random", "/dev/urandom"];

/// Ports below this one are for the privileged (`net.ipv4.ip_unprivileged_port_start`, unless somebody has changed it).
const FIRST_FREE_PORT: u16 = 1024;

/// What is so here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The kernel's version.
    pub kernel: (u32, u32),
    /// This process' capabilities.
    pub capabilities: CapabilitySet,
    /// Whether they are worth anything to the kernel as a whole.
    pub in_first_user_namespace: bool,
    /// Whether the kernel describes its types, or what reading the description said.
    pub types: Result<(), String>,
    /// Whether a v2 tree can be seen.
    pub has_v2: bool,
    /// How many descriptors this process may have.
    pub descriptors: usize,
    /// Whether `bpf(2)` is for the privileged (`kernel.unprivileged_bpf_disabled`).
    pub bpf_is_restricted: bool,
    /// Where BPF file systems are mounted.
    pub bpf_mounts: Vec<PathBuf>,
    /// Where cgroup trees are mounted.
    pub cgroup_mounts: Vec<PathBuf>,
    /// Whether the resolver's files are mounts, as a container's are, and not exchanged while the agent runs.
    pub names_are_mounts: bool,
    /// Whether the kernel tells how many descriptors a process has open without a look at them (Linux 6.2).
    pub counts_descriptors: bool,
    /// Whether this binary has eBPF objects inside.
    pub has_objects: bool,
}

/// Looks at this machine. What cannot be read counts as not there.
pub fn probe(roots: &Roots) -> Host {
    let proc = |path: &str| roots.proc.join(path);
    let text = |path: &str| fs::read_to_string(proc(path)).unwrap_or_default();
    let trees = mounts::parse(&fs::read(proc("self/mountinfo")).unwrap_or_default());
    let points = |is: &dyn Fn(&str) -> bool| -> Vec<PathBuf> {
        trees.iter().filter(|mount| is(&mount.kind)).map(|mount| mount.point.clone()).collect()
    };
    let types = roots.sys.join("kernel/btf/vmlinux");
    let open = fs::File::open(&types).map(drop).map_err(|error| format!("{}: {error}", types.display()));
    Host {
        kernel: version(&text("sys/kernel/osrelease")),
        capabilities: rustix::thread::capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective),
        in_first_user_namespace: fs::metadata(proc("self/ns/user")).is_ok_and(|it| it.ino() == FIRST_USER_NAMESPACE),
        types: open,
        has_v2: roots.cgroup.is_some() || trees.iter().any(mounts::Mount::is_v2),
        descriptors: getrlimit(Resource::Nofile)
            .current
            .map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX)),
        bpf_is_restricted: text("sys/kernel/unprivileged_bpf_disabled").trim() != "0",
        bpf_mounts: points(&|kind| kind == "bpf"),
        cgroup_mounts: points(&|kind| kind.starts_with("cgroup")),
        names_are_mounts: NAMES.iter().all(|file| trees.iter().any(|mount| mount.point == Path::new(file))),
        counts_descriptors: fs::metadata(proc("self/fd")).is_ok_and(|fds| fds.len() > 0),
        has_objects: bpf::is_built(),
    }
}

fn version(release: &str) -> (u32, u32) {
    let mut parts = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or_default());
    (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
}

/// A capability that is kept, and what for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The capability.
    pub capability: CapabilitySet,
    /// What would be lost without it.
    pub why: &'static str,
}

/// What is done here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Each program.
    pub programs: Vec<(&'static str, Decision)>,
    /// Maps and links in the BPF file system.
    pub pins: Decision,
    /// Dropping capabilities, once all programs are attached.
    pub drop: Decision,
    /// Which of the capabilities stay.
    pub kept: Vec<Kept>,
    /// Landlock.
    pub landlock: Decision,
    /// Whether it holds the threads too that read the kernel's files, and not only those that talk.
    pub readers_are_held: bool,
    /// What it leaves within reach.
    pub reach: Reach,
    /// The filter of system calls.
    pub seccomp: Decision,
    /// Whether that leaves maps to be made and pinned: on a machine more cgroups may come than there is room for.
    pub grows: bool,
}

impl Plan {
    /// The capabilities that stay.
    pub fn keep(&self) -> CapabilitySet {
        self.kept.iter().map(|kept| kept.capability).collect()
    }
}

/// Decides. What is not refused here may still be refused by the kernel.
pub fn plan(host: &Host, config: &Config) -> Plan {
    Plan {
        programs: programs(host, config.ebpf, config.ebpf_fd_events, config.scope),
        pins: pins(host, config),
        drop: if config.drop_privileges { Decision::Take } else { Decision::Off("--drop-privileges false".to_owned()) },
        kept: kept(host, config),
        landlock: sandbox(config, Layer::Landlock),
        // Landlock hides other processes as if one wanted to debug them.
        readers_are_held: config.scope == Scope::Own && host.counts_descriptors,
        reach: reach(host, config),
        seccomp: sandbox(config, Layer::Seccomp),
        grows: config.scope == Scope::Host,
    }
}

/// What becomes of each program.
pub fn programs(host: &Host, mode: Ebpf, fd_events: bool, scope: Scope) -> Vec<(&'static str, Decision)> {
    bpf::programs().map(|needs| (needs.name, program(host, mode, fd_events, scope, &needs))).collect()
}

fn program(host: &Host, mode: Ebpf, fd_events: bool, scope: Scope, needs: &Needs) -> Decision {
    if mode == Ebpf::Off {
        return Decision::Off("switched off by --ebpf off".to_owned());
    }
    if needs.of_a_machine && scope == Scope::Own {
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

fn unbuilt(host: &Host) -> Option<Refusal> {
    let refusal =
        || Refusal::new("this binary was built without the eBPF objects", "build it with cargo xtask build-ebpf");
    (!host.has_objects).then(refusal)
}

fn without_room(host: &Host) -> Option<Refusal> {
    let cause = || format!("this process may have only {} descriptors (EMFILE)", host.descriptors);
    (host.descriptors < DESCRIPTORS)
        .then(|| Refusal::new(cause(), "ulimit -n 1024, or docker run --ulimit nofile=1024"))
}

fn without_rights(host: &Host, capabilities: &[Capability]) -> Option<Refusal> {
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

fn pins(host: &Host, config: &Config) -> Decision {
    let Some(dir) = &config.pin else {
        return Decision::Off("--pin off: what eBPF counts ends with the agent".to_owned());
    };
    if config.ebpf == Ebpf::Off {
        return Decision::Off("there is nothing to pin with --ebpf off".to_owned());
    }
    if host.bpf_mounts.iter().any(|mount| dir.starts_with(mount)) {
        return without_rights(host, &[BPF]).map_or(Decision::Take, Decision::Refused);
    }
    let error = PinsError::NoBpfFs(dir.clone());
    Decision::Refused(Refusal::new(error.to_string(), error.cure()))
}

/// The capabilities that something needs later on, as far as this process has them.
fn kept(host: &Host, config: &Config) -> Vec<Kept> {
    let of_machine = config.scope == Scope::Host;
    let valkey = config.valkey.as_ref();
    let reads = config.disk.interval.is_some() || valkey.is_some_and(|valkey| valkey.files().next().is_some());
    let reads_all = host.capabilities.contains(CapabilitySet::DAC_READ_SEARCH);
    let listens_at = config.listen.as_ref().map(|listen| &listen.address);
    let writes = matches!(listens_at, Some(Listening::Unix(_)))
        || valkey
            .is_some_and(|valkey| valkey.buffer_dir.is_some() || matches!(valkey.target.address, Address::Unix(_)));
    // The older one is what runtimes and kernels give that do not know the other.
    let has_bpf = host.capabilities.contains(CapabilitySet::BPF);
    let bpf = if has_bpf { CapabilitySet::BPF } else { CapabilitySet::SYS_ADMIN };
    let rows = [
        (
            CapabilitySet::SYS_PTRACE,
            of_machine || !host.counts_descriptors,
            "the environment, root directory and (before Linux 6.2) descriptors of containers' processes",
        ),
        (CapabilitySet::DAC_READ_SEARCH, of_machine || reads, "directories and files of other users"),
        (
            CapabilitySet::DAC_OVERRIDE,
            (of_machine || reads) && !reads_all,
            "directories and files of other users, where CAP_DAC_READ_SEARCH is missing",
        ),
        (CapabilitySet::DAC_OVERRIDE, writes, "sockets and the buffer directory of another user"),
        (
            CapabilitySet::NET_BIND_SERVICE,
            matches!(listens_at, Some(Listening::Tcp(address)) if address.port() < FIRST_FREE_PORT),
            "listening at a port below 1024",
        ),
        (
            bpf,
            config.ebpf != Ebpf::Off && host.bpf_is_restricted && (of_machine || host.kernel < (5, 19)),
            "larger maps in scope host; and reading maps, which Linux before 5.19 allows only to the privileged",
        ),
    ];
    let wanted = rows.into_iter().filter(|(capability, wanted, _)| *wanted && host.capabilities.contains(*capability));
    wanted.map(|(capability, _, why)| Kept { capability, why }).collect()
}

fn sandbox(config: &Config, layer: Layer) -> Decision {
    let asked = config.sandbox.contains(&layer);
    if asked { Decision::Take } else { Decision::Off("not among what --sandbox names".to_owned()) }
}

/// What is read, written and talked to once everything runs. Directories of files that are exchanged while it runs, so
/// that the new ones are within reach too.
fn reach(host: &Host, config: &Config) -> Reach {
    let roots = &config.roots;
    let mut reach = Reach::default();
    // Libraries look into these two wherever the roots are.
    reach.read.extend(["/proc", "/sys"].map(PathBuf::from));
    reach.read.extend([roots.proc.clone(), roots.sys.clone()]);
    reach.read.extend(roots.cgroup.iter().chain(&host.cgroup_mounts).cloned());
    let names: &[&str] =
        if host.names_are_mounts { &NAMES } else { &["/etc", "/run/systemd/resolve", "/run/resolvconf"] };
    reach.read.extend(names.iter().chain(AUTHORITIES).chain(RANDOM).map(PathBuf::from));
    reach.connect = config.otlp.as_ref().map(|collector| collector.port()).into_iter().chain([DNS]).collect();
    if let Some(valkey) = &config.valkey {
        reach_valkey(valkey, &mut reach);
    }
    match config.listen.as_ref().map(|listen| &listen.address) {
        Some(Listening::Tcp(address)) => reach.bind.push(address.port()),
        Some(Listening::Unix(path)) => reach.write.extend(path.parent().map(Path::to_owned)),
        None => {}
    }
    if config.disk.interval.is_some() {
        reach.list.push("/".into());
    }
    reach
}

fn reach_valkey(valkey: &ValkeyOptions, reach: &mut Reach) {
    // A link may lead elsewhere.
    reach.read.extend(valkey.files().flat_map(|file| [file.to_owned(), exchanged(file)]));
    reach.write.extend(valkey.buffer_dir.clone());
    match &valkey.target.address {
        Address::Tcp { hosts, topology: Topology::Any, .. } => {
            reach.connect.extend(hosts.iter().map(|(_, port)| *port))
        }
        // Nodes say themselves at which ports the others are.
        Address::Tcp { .. } => reach.connect_anywhere = true,
        Address::Unix(path) => reach.read.push(path.clone()),
        Address::None => {}
    }
}

/// The directory of a file, unless that holds the secrets of others.
fn exchanged(file: &Path) -> PathBuf {
    let common = ["", "/", "/etc", "/root", "/home", "/run", "/tmp", "/var"].map(Path::new);
    match file.parent() {
        Some(dir) if !common.contains(&dir) => dir.to_owned(),
        _ => file.to_owned(),
    }
}

#[cfg(test)]
mod tests;
