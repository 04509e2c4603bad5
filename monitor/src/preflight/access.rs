//! Files and ports that stay accessible.

use std::path::PathBuf;

use super::facts::{HostFacts, RESOLVER_FILES};
use super::request::Request;
use crate::hardening::landlock::AllowedAccess;

/// The port of DNS servers.
const DNS: u16 = 53;

/// Directories in which the resolver's files are replaced while the agent runs.
const RESOLVER_DIRECTORIES: [&str; 3] = ["/etc", "/run/systemd/resolve", "/run/resolvconf"];

/// Directories of the system's certificate authorities.
const AUTHORITIES: [&str; 7] = [
    "/etc/ssl",
    "/etc/pki",
    "/etc/ca-certificates",
    "/usr/share/ca-certificates",
    "/usr/share/pki",
    "/usr/local/share/ca-certificates",
    "/var/lib/ca-certificates",
];

/// Sources of random numbers, which the resolver needs.
const RANDOM: [&str; 2] = ["/dev/random", "/dev/urandom"];

/// Everything that is read, written and connected to after start-up. Directories stand for files that are replaced
/// while the agent runs, so that the new ones are accessible too.
pub(super) fn access(host: &HostFacts, request: &Request) -> AllowedAccess {
    let roots = &request.roots;
    let resolver: &[&str] = if host.names_are_mounts { &RESOLVER_FILES } else { &RESOLVER_DIRECTORIES };
    // Libraries read these two, wherever the configured roots are.
    let fixed = ["/proc", "/sys"].iter().chain(resolver).chain(&AUTHORITIES).chain(&RANDOM).map(PathBuf::from);
    let trees = roots.cgroup.iter().chain(&host.cgroup_mounts).cloned();
    let read = fixed.chain([roots.proc.clone(), roots.sys.clone()]).chain(trees).collect();
    let mut access = AllowedAccess { read, connect: vec![DNS], ..AllowedAccess::default() };
    access.extend(request.access.clone());
    access
}
