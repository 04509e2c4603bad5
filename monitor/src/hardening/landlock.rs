//! The Landlock ruleset: which files, ports and processes stay accessible once the agent runs.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, NetPort, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

/// The newest version of Landlock that is used (`Documentation/userspace-api/landlock.rst`, Linux 6.12).
const NEWEST: ABI = ABI::V6;

/// Everything that a ruleset leaves accessible.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedAccess {
    /// Files, and directories with all that is below, that may be read.
    pub read: Vec<PathBuf>,
    /// Directories that may be listed, with all that is below.
    pub list: Vec<PathBuf>,
    /// Directories below which everything is allowed.
    pub write: Vec<PathBuf>,
    /// TCP ports that may be connected to.
    pub connect: Vec<u16>,
    /// True if every TCP port may be connected to.
    pub connect_anywhere: bool,
    /// True if abstract unix sockets of other processes may be connected to.
    pub abstract_sockets: bool,
    /// TCP ports that may be listened at.
    pub bind: Vec<u16>,
}

impl AllowedAccess {
    /// Adds what `other` allows.
    pub fn extend(&mut self, other: Self) {
        self.read.extend(other.read);
        self.list.extend(other.list);
        self.write.extend(other.write);
        self.connect.extend(other.connect);
        self.connect_anywhere |= other.connect_anywhere;
        self.abstract_sockets |= other.abstract_sockets;
        self.bind.extend(other.bind);
    }
}

/// Confines this thread, and the threads that it starts, to what `allowed` lists. Other processes can then not be
/// inspected either, as a debugger could. Listed paths that do not exist are skipped.
///
/// # Errors
/// The error of Landlock.
pub fn restrict(allowed: &AllowedAccess) -> Result<RulesetStatus, RulesetError> {
    let ports = if allowed.connect_anywhere { AccessNet::BindTcp.into() } else { AccessNet::from_all(NEWEST) };
    let scope = if allowed.abstract_sockets { Scope::Signal.into() } else { Scope::from_all(NEWEST) };
    let rules = Ruleset::default().set_compatibility(CompatLevel::BestEffort);
    let rules = rules.handle_access(AccessFs::from_all(NEWEST))?.handle_access(ports)?.scope(scope)?;
    let mut rules = rules.create()?;
    let reading = AccessFs::ReadFile | AccessFs::ReadDir;
    let write = allowed.write.iter().map(|path| (nearest_existing(path), AccessFs::from_all(NEWEST)));
    let read = allowed.read.iter().map(|path| (path.as_path(), reading));
    let list = allowed.list.iter().map(|path| (path.as_path(), AccessFs::ReadDir.into()));
    for (path, access) in read.chain(list).chain(write) {
        let Ok(file) = PathFd::new(path) else { continue };
        let access = if path.is_dir() { access } else { access & AccessFs::from_file(NEWEST) };
        rules = rules.add_rule(PathBeneath::new(file, access))?;
    }
    for port in allowed.connect.iter().filter(|_| !allowed.connect_anywhere) {
        rules = rules.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
    }
    for port in &allowed.bind {
        rules = rules.add_rule(NetPort::new(*port, AccessNet::BindTcp))?;
    }
    Ok(rules.restrict_self()?.ruleset)
}

/// The path, or the nearest directory above it that exists: the rest may be created while the agent runs.
fn nearest_existing(path: &Path) -> &Path {
    path.ancestors().find(|path| path.exists()).unwrap_or(path)
}
