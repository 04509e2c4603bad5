//! What this machine allows, and what follows from it: facts, and a decision about each thing that takes a right. Pure but
//! for [`probe`].

pub(crate) mod refusal;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::process::{Resource, getrlimit};
use rustix::thread::CapabilitySet;

pub use self::refusal::Refusal;
use self::refusal::{BPF, CAPABILITIES, Capability, lacking};
use crate::config::{Config, Ebpf, Layer};
use crate::containers::mounts;
use crate::containers::{Roots, host_root};
use crate::sandbox::Reach;
use crate::sinks::http::Address as Listening;
use crate::sinks::valkey::{Address, Topology, ValkeyOptions};
use crate::snapshot::Scope;
use crate::sources::bpf::pins::PinsError;
use crate::sources::bpf::{self, Needs};

/// Descriptors that programs, maps and links take, with sockets and what is opened and closed again.
pub const DESCRIPTORS: usize = 64;

/// The inode of the first user namespace (`PROC_USER_INIT_INO` in `include/linux/proc_ns.h`).
const FIRST_USER_NAMESPACE: u64 = 0xEFFF_FFFD;

/// Where DNS is asked.
const DNS: u16 = 53;

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
        bpf_mounts: trees.into_iter().filter(|mount| mount.kind == "bpf").map(|mount| mount.point).collect(),
        counts_descriptors: fs::metadata(proc("self/fd")).is_ok_and(|fds| fds.len() > 0),
        has_objects: bpf::is_built(),
    }
}

fn version(release: &str) -> (u32, u32) {
    let mut parts = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or_default());
    (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
}

/// What becomes of something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is tried: nothing that is known speaks against it.
    Take,
    /// Nobody wants it, for this reason.
    Off(String),
    /// The machine does not allow it.
    Refused(Refusal),
}

impl Decision {
    /// Whether it is tried.
    pub fn is_take(&self) -> bool {
        *self == Self::Take
    }
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
    /// What it leaves within reach.
    pub reach: Reach,
    /// The filter of system calls.
    pub seccomp: Decision,
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
        programs: programs(host, config.ebpf, config.scope),
        pins: pins(host, config),
        drop: if config.drop_privileges { Decision::Take } else { Decision::Off("--drop-privileges false".to_owned()) },
        kept: kept(host, config),
        landlock: landlock(host, config),
        reach: reach(config),
        seccomp: sandbox(config, Layer::Seccomp).unwrap_or(Decision::Take),
    }
}

/// What becomes of each program.
pub fn programs(host: &Host, mode: Ebpf, scope: Scope) -> Vec<(&'static str, Decision)> {
    bpf::programs().map(|needs| (needs.name, program(host, mode, scope, &needs))).collect()
}

fn program(host: &Host, mode: Ebpf, scope: Scope, needs: &Needs) -> Decision {
    if mode == Ebpf::Off {
        return Decision::Off("switched off by --ebpf off".to_owned());
    }
    if needs.of_a_machine && scope == Scope::Own {
        return Decision::Off("for --scope host alone".to_owned());
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

pub(crate) fn without_tree() -> Refusal {
    Refusal::new(
        "no cgroup v2 tree can be seen, and eBPF knows only that one",
        "on the host: mount -t cgroup2 none /sys/fs/cgroup/unified; for a container: docker run --cgroupns host -v /sys/fs/cgroup:/sys/fs/cgroup:ro",
    )
}

fn without_room(host: &Host) -> Option<Refusal> {
    let cause = || format!("this process may have only {} descriptors", host.descriptors);
    (host.descriptors < DESCRIPTORS)
        .then(|| Refusal::new(cause(), "ulimit -n 1024, or docker run --ulimit nofile=1024"))
}

fn without_rights(host: &Host, capabilities: &[Capability]) -> Option<Refusal> {
    if let Some(lacking) = lacking(capabilities, host.capabilities) {
        return Some(Refusal::new(lacking, CAPABILITIES));
    }
    let refusal = || {
        Refusal::new(
            "this is a user namespace, whose capabilities are worth nothing to eBPF",
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
    let walks = config.disk.interval.is_some();
    let reads_all = host.capabilities.contains(CapabilitySet::DAC_READ_SEARCH);
    let writes = config
        .valkey
        .as_ref()
        .is_some_and(|valkey| valkey.buffer_dir.is_some() || matches!(valkey.target.address, Address::Unix(_)));
    let rows = [
        (
            CapabilitySet::SYS_PTRACE,
            of_machine || !host.counts_descriptors,
            "the environment, root directory and (before Linux 6.2) descriptors of containers' processes",
        ),
        (CapabilitySet::DAC_READ_SEARCH, of_machine || walks, "directories of other users"),
        (
            CapabilitySet::DAC_OVERRIDE,
            walks && !reads_all,
            "directories of other users, where CAP_DAC_READ_SEARCH is missing",
        ),
        (CapabilitySet::DAC_OVERRIDE, writes, "Valkey's socket or the buffer directory of another user"),
        (
            CapabilitySet::BPF,
            host.bpf_is_restricted && host.kernel < (5, 19),
            "reading maps, which Linux before 5.19 allows only to the privileged",
        ),
    ];
    let wanted = rows.into_iter().filter(|(capability, wanted, _)| *wanted && host.capabilities.contains(*capability));
    wanted.map(|(capability, _, why)| Kept { capability, why }).collect()
}

/// Why a layer of the sandbox is off, if it is.
fn sandbox(config: &Config, layer: Layer) -> Option<Decision> {
    let asked = config.sandbox.as_ref();
    (asked.is_some_and(|layers| !layers.contains(&layer)))
        .then(|| Decision::Off("not among what --sandbox names".to_owned()))
}

/// Landlock hides other processes as if one wanted to debug them, so it is taken where nothing needs to be seen of them.
fn landlock(host: &Host, config: &Config) -> Decision {
    if let Some(off) = sandbox(config, Layer::Landlock) {
        return off;
    }
    match (config.sandbox.is_some(), config.scope, host.counts_descriptors) {
        (true, ..) | (false, Scope::Own, true) => Decision::Take,
        (false, Scope::Host, _) => Decision::Off(
            "it would hide the filesystems of containers; --sandbox landlock,seccomp takes it nevertheless".to_owned(),
        ),
        (false, Scope::Own, false) => Decision::Off(
            "on this kernel it would hide descriptors; --sandbox landlock,seccomp takes it nevertheless".to_owned(),
        ),
    }
}

/// What is read, written and talked to once everything runs. Directories of files that are exchanged while it runs, so
/// that the new ones are within reach too.
fn reach(config: &Config) -> Reach {
    let roots = &config.roots;
    let mut reach = Reach { connect: Some(Vec::new()), ..Reach::default() };
    reach.read.extend([roots.proc.clone(), roots.sys.clone()]);
    reach.read.extend(roots.cgroup.clone());
    let names = ["/etc/hosts", "/etc/resolv.conf", "/run/systemd/resolve", "/run/resolvconf", "/etc/nsswitch.conf"];
    let authorities = [
        "/etc/ssl",
        "/etc/pki",
        "/etc/ca-certificates",
        "/usr/share/ca-certificates",
        "/usr/share/pki",
        "/usr/local/share/ca-certificates",
        "/var/lib/ca-certificates",
    ];
    reach.read.extend(names.into_iter().chain(authorities).map(PathBuf::from));
    if let Some(valkey) = &config.valkey {
        reach_valkey(valkey, &mut reach);
    }
    if let Some(listen) = &config.listen {
        reach.read.extend(listen.token_file.as_deref().map(exchanged));
        match &listen.address {
            Listening::Tcp(address) => reach.bind.push(address.port()),
            Listening::Unix(path) => reach.write.extend(path.parent().map(Path::to_owned)),
        }
    }
    if config.scope == Scope::Host {
        reach.read.push(host_root(roots));
    }
    reach
}

fn reach_valkey(valkey: &ValkeyOptions, reach: &mut Reach) {
    let files = [&valkey.password_file, &valkey.tls.ca, &valkey.tls.cert, &valkey.tls.key];
    reach.read.extend(files.into_iter().flatten().map(|file| exchanged(file)));
    reach.write.extend(valkey.buffer_dir.clone());
    reach.connect = match &valkey.target.address {
        Address::Tcp { hosts, topology: Topology::Any, .. } => {
            Some(hosts.iter().map(|(_, port)| *port).chain([DNS]).collect())
        }
        // Nodes say themselves at which ports the others are.
        Address::Tcp { .. } => None,
        Address::Unix(path) => {
            reach.read.push(path.clone());
            Some(Vec::new())
        }
        Address::None => Some(Vec::new()),
    };
}

/// The directory of a file, unless that holds the secrets of others.
fn exchanged(file: &Path) -> PathBuf {
    let common = ["/", "/etc", "/root", "/home", "/run", "/tmp", "/var"].map(Path::new);
    match file.parent() {
        Some(dir) if !common.contains(&dir) => dir.to_owned(),
        _ => file.to_owned(),
    }
}

#[cfg(test)]
mod tests;
