//! Facts about the host.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::process::{Resource, getrlimit};
use rustix::thread::CapabilitySet;

use crate::containers::Roots;
use crate::containers::mounts::{self, Mount};
use crate::foreign;

/// The inode of the first user namespace (`PROC_USER_INIT_INO` in `include/linux/proc_ns.h`).
const FIRST_USER_NAMESPACE: u64 = 0xEFFF_FFFD;

/// The files of the resolver, read anew for each connection.
pub(super) const RESOLVER_FILES: [&str; 2] = ["/etc/hosts", "/etc/resolv.conf"];

/// The host as it is at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostFacts {
    /// The kernel's version.
    pub kernel: (u32, u32),
    /// Effective capabilities of this process.
    pub capabilities: CapabilitySet,
    /// True in the initial user namespace: elsewhere capabilities do not extend to the whole kernel.
    pub in_first_user_namespace: bool,
    /// `Ok` if the kernel's BTF can be read, else the error.
    pub types: Result<(), String>,
    /// True if a cgroup v2 hierarchy is mounted.
    pub has_v2: bool,
    /// The limit of file descriptors of this process.
    pub descriptors: usize,
    /// True if `bpf(2)` takes privileges (`kernel.unprivileged_bpf_disabled`).
    pub bpf_is_restricted: bool,
    /// Mount points of BPF file systems.
    pub bpf_mounts: Vec<PathBuf>,
    /// Mount points of cgroup hierarchies.
    pub cgroup_mounts: Vec<PathBuf>,
    /// True if the resolver's files are mounts, as in a container, and so are not replaced while the agent runs.
    pub names_are_mounts: bool,
    /// True if the size of `/proc/PID/fd` is the number of open descriptors (Linux 6.2).
    pub counts_descriptors: bool,
    /// True if this binary contains the eBPF objects.
    pub has_objects: bool,
}

/// Reads the facts. A fact that cannot be read counts as missing. `has_objects` is true if this binary contains the
/// eBPF objects.
pub fn probe(roots: &Roots, has_objects: bool) -> HostFacts {
    let proc = |path: &str| roots.proc.join(path);
    let text = |path: &str| String::from_utf8(foreign::read(&proc(path), 4096).unwrap_or_default()).unwrap_or_default();
    let is_fact = |mount: &Mount| {
        let is_resolvers = RESOLVER_FILES.iter().any(|file| mount.point == Path::new(file));
        is_resolvers || mount.kind == "bpf" || mount.kind.starts_with("cgroup")
    };
    let trees = mounts::read(&proc("self/mountinfo"), is_fact);
    let points = |is: &dyn Fn(&str) -> bool| -> Vec<PathBuf> {
        trees.iter().filter(|mount| is(&mount.kind)).map(|mount| mount.point.clone()).collect()
    };
    let types = roots.sys.join("kernel/btf/vmlinux");
    let open = foreign::open(&types).map(drop).map_err(|error| format!("{}: {error}", types.display()));
    HostFacts {
        kernel: version(&text("sys/kernel/osrelease")),
        capabilities: rustix::thread::capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective),
        in_first_user_namespace: fs::metadata(proc("self/ns/user")).is_ok_and(|it| it.ino() == FIRST_USER_NAMESPACE),
        types: open,
        has_v2: roots.cgroup.is_some() || trees.iter().any(Mount::is_v2),
        descriptors: getrlimit(Resource::Nofile)
            .current
            .map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX)),
        bpf_is_restricted: text("sys/kernel/unprivileged_bpf_disabled").trim() != "0",
        bpf_mounts: points(&|kind| kind == "bpf"),
        cgroup_mounts: points(&|kind| kind.starts_with("cgroup")),
        names_are_mounts: RESOLVER_FILES.iter().all(|file| trees.iter().any(|mount| mount.point == Path::new(file))),
        counts_descriptors: fs::metadata(proc("self/fd")).is_ok_and(|fds| fds.len() > 0),
        has_objects,
    }
}

fn version(release: &str) -> (u32, u32) {
    let mut parts = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or_default());
    (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_version_is_in_its_release() {
        assert_eq!(version("6.12.95+deb12-cloud-amd64\n"), (6, 12));
        assert_eq!(version("5.4"), (5, 4));
        assert_eq!(version(""), (0, 0));
    }
}
