//! The configuration's request for privileges.

use std::path::PathBuf;

use crate::containers::Roots;
use crate::hardening::landlock::AllowedAccess;
use crate::snapshot::Scope;

/// The use of eBPF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EbpfMode {
    /// Used if the kernel allows it.
    Auto,
    /// Never used.
    Off,
    /// Required: the agent does not start if no program can be loaded.
    On,
}

/// A sandbox layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// Files and ports that may be accessed.
    Landlock,
    /// System calls that may be made.
    Seccomp,
}

/// Everything that a configuration requests of the host.
#[derive(Clone, Debug)]
pub struct Request {
    /// The scope: the part of the machine that is watched.
    pub scope: Scope,
    /// The use of eBPF.
    pub ebpf: EbpfMode,
    /// True if eBPF counts descriptors opened and closed.
    pub fd_events: bool,
    /// Directory in which maps and links stay between two runs; `None` for none.
    pub pin: Option<PathBuf>,
    /// True if capabilities are dropped after the programs are attached.
    pub drop_privileges: bool,
    /// The sandbox layers.
    pub sandbox: Vec<Layer>,
    /// Mount points of the kernel's file systems.
    pub roots: Roots,
    /// True if root filesystems are walked, whose directories may belong to other users.
    pub walks_disk: bool,
    /// True if passwords, certificates or keys are in files, which may belong to other users.
    pub reads_secrets: bool,
    /// True if sockets or directories are written that may belong to other users.
    pub writes_files: bool,
    /// The files and ports that the sources, the sinks and the server use.
    pub access: AllowedAccess,
}
