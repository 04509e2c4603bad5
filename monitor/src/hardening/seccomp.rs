//! The seccomp filter: which system calls fail once the agent runs.

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

/// System calls that the agent never makes: executing, debugging or signalling programs; changing mounts, the time, the
/// kernel or its own identity and namespaces; and having its system calls made by others (io_uring).
const DENIED: &[libc::c_long] = &[
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

/// The older system calls that create a process.
#[cfg(target_arch = "x86_64")]
const FORKS: &[libc::c_long] = &[libc::SYS_fork, libc::SYS_vfork];
#[cfg(not(target_arch = "x86_64"))]
const FORKS: &[libc::c_long] = &[];

// Of `enum bpf_cmd` (`include/uapi/linux/bpf.h`).
const BPF_MAP_CREATE: u64 = 0;
const BPF_OBJ_PIN: u64 = 6;
/// `BPF_MAP_GET_NEXT_KEY`, the last of the four commands for one element of a map.
const BPF_LAST_FOR_ELEMENTS: u64 = 4;
/// The other commands that read or write existing maps: `BPF_OBJ_GET_INFO_BY_FD`, `BPF_MAP_LOOKUP_AND_DELETE_ELEM`, the
/// first two `BPF_MAP_*_BATCH`, `BPF_ITER_CREATE`.
const BPF_ALLOWED: [u64; 5] = [15, 21, 24, 25, 33];

/// Makes the system calls that the agent never makes fail with `EPERM`, in all threads. Loading eBPF programs is over;
/// reading their maps goes on, and if `maps_grow`, so does creating and pinning them. Threads can be started, processes
/// cannot. This thread, and those that it starts, have no `openat2` either.
///
/// # Errors
/// The kernel's error, or that of the filter's compiler.
pub fn apply(maps_grow: bool) -> Result<(), seccompiler::Error> {
    for filter in [hide_clone3(), deny(maps_grow)] {
        seccompiler::apply_filter_all_threads(&filter?)?;
    }
    seccompiler::apply_filter(&hide_openat2()?)
}

type Rules = Vec<(libc::c_long, Vec<SeccompRule>)>;
type Filter = Result<BpfProgram, seccompiler::BackendError>;

fn filter(rules: Rules, errno: libc::c_int) -> Filter {
    let refused = SeccompAction::Errno(errno.unsigned_abs());
    let rules = rules.into_iter().collect();
    SeccompFilter::new(rules, SeccompAction::Allow, refused, std::env::consts::ARCH.try_into()?)?.try_into()
}

/// Lets `clone3` fail as on a kernel that lacks it, because a filter cannot read its arguments: threads are then
/// started with `clone`.
fn hide_clone3() -> Filter {
    filter(vec![(libc::SYS_clone3, Vec::new())], libc::ENOSYS)
}

/// Lets `openat2` fail as on a kernel that lacks it, because a filter cannot read how it opens a file. The disk walk,
/// which needs it, runs on threads that were started before.
fn hide_openat2() -> Filter {
    filter(vec![(libc::SYS_openat2, Vec::new())], libc::ENOSYS)
}

fn deny(maps_grow: bool) -> Filter {
    let first = |operator, value| SeccompCondition::new(0, SeccompCmpArgLen::Dword, operator, value);
    let mut loading = vec![first(SeccompCmpOp::Gt, BPF_LAST_FOR_ELEMENTS)?];
    for allowed in BPF_ALLOWED.into_iter().chain(maps_grow.then_some(BPF_OBJ_PIN)) {
        loading.push(first(SeccompCmpOp::Ne, allowed)?);
    }
    let mut of_bpf = vec![SeccompRule::new(loading)?];
    if !maps_grow {
        of_bpf.push(SeccompRule::new(vec![first(SeccompCmpOp::Eq, BPF_MAP_CREATE)?])?);
    }
    let thread = u64::from(libc::CLONE_THREAD.unsigned_abs());
    let no_thread = SeccompRule::new(vec![first(SeccompCmpOp::MaskedEq(thread), 0)?])?;
    let to_others = SeccompRule::new(vec![first(SeccompCmpOp::Ne, u64::from(std::process::id()))?])?;
    let mut rules: Rules = DENIED.iter().chain(FORKS).map(|call| (*call, Vec::new())).collect();
    rules.push((libc::SYS_bpf, of_bpf));
    rules.push((libc::SYS_clone, vec![no_thread]));
    rules.push((libc::SYS_tgkill, vec![to_others]));
    filter(rules, libc::EPERM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_compiles_and_lists_no_call_twice() {
        assert!([false, true].iter().all(|grows| deny(*grows).unwrap().len() > DENIED.len()));
        assert!(!hide_clone3().unwrap().is_empty() && !hide_openat2().unwrap().is_empty());
        let mut calls = DENIED.to_vec();
        calls.sort_unstable();
        calls.dedup();
        assert_eq!(calls.len(), DENIED.len());
    }
}
