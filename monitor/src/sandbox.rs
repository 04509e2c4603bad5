//! What this process gives up once it has what it needs. Each function takes something away for good, best effort by
//! kernel, from the calling thread and those that it starts; the filter of system calls from all threads.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, NetPort, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use rustix::thread::{CapabilitySet, CapabilitySets};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

/// The newest version of Landlock that is asked for (`Documentation/userspace-api/landlock.rst`, Linux 6.12).
const NEWEST: ABI = ABI::V6;

/// How much of what was asked for the kernel has given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// All of it.
    Fully,
    /// What this kernel knows.
    Partly,
    /// Nothing: the kernel has no such thing.
    NotAtAll,
}

/// What a Landlock ruleset leaves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Files, and directories with all that is below, that may be read.
    pub read: Vec<PathBuf>,
    /// Directories that may be listed, with all that is below.
    pub list: Vec<PathBuf>,
    /// Directories below which everything may be done.
    pub write: Vec<PathBuf>,
    /// TCP ports that may be connected to.
    pub connect: Vec<u16>,
    /// Whether all of them may.
    pub connect_anywhere: bool,
    /// Whether abstract unix sockets of others may be connected to.
    pub abstract_sockets: bool,
    /// TCP ports that may be listened at.
    pub bind: Vec<u16>,
}

/// Why something could not be given up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Of Landlock.
    #[error("Landlock: {0}")]
    Landlock(#[from] RulesetError),
    /// Of the filter of system calls.
    #[error("seccomp: {0}")]
    Seccomp(#[from] seccompiler::Error),
    /// What the system said to a change of privileges.
    #[error("privileges: {0}")]
    Privileges(#[from] io::Error),
}

/// The capabilities that the kernel knows by name.
pub fn names(set: CapabilitySet) -> impl fmt::Display {
    let names: Vec<String> = set.iter_names().map(|(name, _)| format!("CAP_{name}")).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// Drops all capabilities but `keep`, those that a program could gain by being executed too, and with them the ways to new
/// ones. Says which are left.
///
/// # Errors
/// What the system said.
pub fn drop_capabilities(keep: CapabilitySet) -> Result<CapabilitySet, Error> {
    let failed = |error: rustix::io::Errno| io::Error::from(error);
    let has = rustix::thread::capabilities(None).map_err(failed)?;
    // The bounding set takes a capability to shrink. Who lacks it has, without new privileges, no use for the set.
    for capability in CapabilitySet::all().difference(keep).iter() {
        if has.effective.contains(CapabilitySet::SETPCAP) {
            // One that this kernel does not know is not there.
            _ = rustix::thread::remove_capability_from_bounding_set(capability);
        }
    }
    rustix::thread::clear_ambient_capability_set().map_err(failed)?;
    let kept = has.permitted.intersection(keep);
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    rustix::thread::set_capabilities(None, sets).map_err(failed)?;
    rustix::thread::set_no_new_privs(true).map_err(failed)?;
    Ok(kept)
}

/// Leaves within reach only what is listed. Other processes can then not be looked into either, as a debugger could.
///
/// # Errors
/// What Landlock said. A path of the list that is not there is none.
pub fn landlock(reach: &Reach) -> Result<Held, Error> {
    let ports = if reach.connect_anywhere { AccessNet::BindTcp.into() } else { AccessNet::from_all(NEWEST) };
    let scope = if reach.abstract_sockets { Scope::Signal.into() } else { Scope::from_all(NEWEST) };
    let rules = Ruleset::default().set_compatibility(CompatLevel::BestEffort);
    let rules = rules.handle_access(AccessFs::from_all(NEWEST))?.handle_access(ports)?.scope(scope)?;
    let mut rules = rules.create()?;
    let reading = AccessFs::ReadFile | AccessFs::ReadDir;
    let write = reach.write.iter().map(|path| (nearest(path), AccessFs::from_all(NEWEST)));
    let read = reach.read.iter().map(|path| (path.as_path(), reading));
    let list = reach.list.iter().map(|path| (path.as_path(), AccessFs::ReadDir.into()));
    for (path, access) in read.chain(list).chain(write) {
        let Ok(file) = PathFd::new(path) else { continue };
        let access = if path.is_dir() { access } else { access & AccessFs::from_file(NEWEST) };
        rules = rules.add_rule(PathBeneath::new(file, access))?;
    }
    for port in reach.connect.iter().filter(|_| !reach.connect_anywhere) {
        rules = rules.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
    }
    for port in &reach.bind {
        rules = rules.add_rule(NetPort::new(*port, AccessNet::BindTcp))?;
    }
    Ok(match rules.restrict_self()?.ruleset {
        RulesetStatus::FullyEnforced => Held::Fully,
        RulesetStatus::PartiallyEnforced => Held::Partly,
        RulesetStatus::NotEnforced => Held::NotAtAll,
    })
}

/// A directory, or what there is of its path: the rest may be made while the agent runs.
fn nearest(path: &Path) -> &Path {
    path.ancestors().find(|path| path.exists()).unwrap_or(path)
}

/// What an agent that reads and sends never does: to become another program or look into one, to signal one, to change what is mounted,
/// what time it is or what the kernel runs, to go elsewhere, to have its system calls made by others.
const NEVER: &[libc::c_long] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_pidfd_send_signal,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setgroups,
    libc::SYS_mknodat,
    libc::SYS_open_by_handle_at,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_syslog,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_personality,
    libc::SYS_userfaultfd,
    libc::SYS_perf_event_open,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
];

/// The older calls that make a process.
#[cfg(target_arch = "x86_64")]
const FORKS: &[libc::c_long] = &[libc::SYS_fork, libc::SYS_vfork];
#[cfg(not(target_arch = "x86_64"))]
const FORKS: &[libc::c_long] = &[];

// Of `enum bpf_cmd` (`include/uapi/linux/bpf.h`).
const BPF_MAP_CREATE: u64 = 0;
const BPF_OBJ_PIN: u64 = 6;
/// The last of the four commands for one element of a map: `BPF_MAP_GET_NEXT_KEY`.
const BPF_LAST_FOR_ELEMENTS: u64 = 4;
/// What else reads or writes maps that are there: `BPF_OBJ_GET_INFO_BY_FD`, `BPF_MAP_LOOKUP_AND_DELETE_ELEM`, the first two
/// `BPF_MAP_*_BATCH`, `BPF_ITER_CREATE`.
const BPF_ALLOWED: [u64; 5] = [15, 21, 24, 25, 33];

/// Refuses with `EPERM` what this program never does. Loading eBPF is over; reading its maps goes on, and where they grow,
/// making and pinning them. Threads can be started, processes cannot.
///
/// # Errors
/// What the kernel or the compiler of filters said.
pub fn seccomp(grows: bool) -> Result<(), Error> {
    for filter in [newer_clone(), never(grows)] {
        seccompiler::apply_filter_all_threads(&filter.map_err(seccompiler::Error::from)?)?;
    }
    Ok(())
}

type Rules = Vec<(libc::c_long, Vec<SeccompRule>)>;
type Filter = Result<BpfProgram, seccompiler::BackendError>;

fn filter(rules: Rules, errno: libc::c_int) -> Filter {
    let refused = SeccompAction::Errno(errno.unsigned_abs());
    let rules = rules.into_iter().collect();
    SeccompFilter::new(rules, SeccompAction::Allow, refused, std::env::consts::ARCH.try_into()?)?.try_into()
}

/// What a filter cannot see into, as if the kernel were too old for it: threads are then started by the older call.
fn newer_clone() -> Filter {
    filter(vec![(libc::SYS_clone3, Vec::new())], libc::ENOSYS)
}

fn never(grows: bool) -> Filter {
    let first = |operator, value| SeccompCondition::new(0, SeccompCmpArgLen::Dword, operator, value);
    let mut loading = vec![first(SeccompCmpOp::Gt, BPF_LAST_FOR_ELEMENTS)?];
    for allowed in BPF_ALLOWED.into_iter().chain(grows.then_some(BPF_OBJ_PIN)) {
        loading.push(first(SeccompCmpOp::Ne, allowed)?);
    }
    let mut of_bpf = vec![SeccompRule::new(loading)?];
    if !grows {
        of_bpf.push(SeccompRule::new(vec![first(SeccompCmpOp::Eq, BPF_MAP_CREATE)?])?);
    }
    let thread = u64::from(libc::CLONE_THREAD.unsigned_abs());
    let no_thread = SeccompRule::new(vec![first(SeccompCmpOp::MaskedEq(thread), 0)?])?;
    let to_others = SeccompRule::new(vec![first(SeccompCmpOp::Ne, u64::from(std::process::id()))?])?;
    let mut rules: Rules = NEVER.iter().chain(FORKS).map(|call| (*call, Vec::new())).collect();
    rules.push((libc::SYS_bpf, of_bpf));
    rules.push((libc::SYS_clone, vec![no_thread]));
    rules.push((libc::SYS_tgkill, vec![to_others]));
    filter(rules, libc::EPERM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_compiles_and_has_no_call_twice() {
        assert!([false, true].iter().all(|grows| never(*grows).unwrap().len() > NEVER.len()));
        assert!(!newer_clone().unwrap().is_empty());
        let mut calls = NEVER.to_vec();
        calls.sort_unstable();
        calls.dedup();
        assert_eq!(calls.len(), NEVER.len());
    }

    #[test]
    fn capabilities_are_called_what_the_manual_calls_them() {
        assert_eq!(names(CapabilitySet::SYS_PTRACE | CapabilitySet::BPF).to_string(), "CAP_SYS_PTRACE, CAP_BPF");
        assert_eq!(names(CapabilitySet::empty()).to_string(), "none");
    }
}
