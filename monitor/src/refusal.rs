//! Decisions about privileged features, and the host's refusals with their remedies. Pure: facts in, words out.

use std::error::Error;
use std::io;
use std::path::Path;

use rustix::thread::CapabilitySet;

/// Longest text of a cause: a verifier's log would fill pages.
const LONGEST_TEXT: usize = 300;

/// The reason why a program or pin is not used, and the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The cause, with the kernel's error.
    pub cause: String,
    /// The remedy.
    pub remedy: Option<String>,
}

impl Refusal {
    /// A refusal with a remedy.
    pub(crate) fn new(cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { cause: cause.into(), remedy: Some(remedy.into()) }
    }
}

/// The decision about a privileged feature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Known facts allow it: it is attempted.
    Take,
    /// It is switched off, with the reason.
    Off(String),
    /// The host refuses it.
    Refused(Refusal),
}

impl Decision {
    /// True if it is attempted.
    pub fn is_take(&self) -> bool {
        *self == Self::Take
    }
}

/// The refusal of every eBPF program where no cgroup v2 tree is mounted.
pub(crate) fn without_tree() -> Refusal {
    Refusal::new(
        "no cgroup v2 tree can be seen, and eBPF needs one",
        "on the host: mount -t cgroup2 none /sys/fs/cgroup/unified; for a container: docker run --cgroupns host -v /sys/fs/cgroup:/sys/fs/cgroup:ro",
    )
}

/// The refusal of pins in a directory that is not in a BPF file system.
pub(crate) fn without_bpf_fs(dir: &Path) -> Refusal {
    let parent = dir.parent().unwrap_or(dir);
    Refusal::new(
        format!("{} lies in no BPF file system", dir.display()),
        format!("mount -t bpf bpf {}", parent.display()),
    )
}

/// Remedy for missing capabilities.
pub(crate) const CAPABILITIES: &str = "start the agent with CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN (docker run --cap-add BPF --cap-add PERFMON --cap-add NET_ADMIN; before Docker 20.10.12 SYS_ADMIN in place of the first two)";

/// Remedy for missing kernel features.
pub(crate) const KNOWN_KERNELS: &str =
    "run Linux 6.1 or later, where every program is known to load; uname -r says which this is";

/// The step that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// To create the maps.
    Maps,
    /// To load a program that counts packets.
    LoadNetwork,
    /// To load a program that traces.
    LoadTracing,
    /// To load a program that traces a function.
    LoadFunction,
    /// To attach a program to a cgroup.
    AttachCgroup,
    /// To attach a program to a tracepoint or a function.
    AttachTracing,
    /// To replace an attached program.
    Exchange,
    /// To pin a link.
    Pin,
    /// To attach an iterator to its target.
    AttachIterator,
}

impl Step {
    fn what(self) -> &'static str {
        match self {
            Self::Maps => "creating the maps",
            Self::LoadNetwork | Self::LoadTracing | Self::LoadFunction => "loading the program",
            Self::AttachCgroup => "attaching the program to the cgroup",
            Self::AttachTracing => "attaching the program to its tracepoint or function",
            Self::Exchange => "replacing the attached program",
            Self::Pin => "pinning the program's link",
            Self::AttachIterator => "attaching the iterator",
        }
    }

    fn takes(self) -> &'static [Capability] {
        match self {
            Self::Maps | Self::LoadNetwork | Self::Exchange | Self::Pin => &[BPF],
            Self::LoadTracing | Self::LoadFunction | Self::AttachTracing | Self::AttachIterator => &[BPF, PERFMON],
            Self::AttachCgroup => &[NET_ADMIN],
        }
    }
}

/// A capability and its name.
pub(crate) type Capability = (CapabilitySet, &'static str);
pub(crate) const BPF: Capability = (CapabilitySet::BPF, "CAP_BPF");
pub(crate) const PERFMON: Capability = (CapabilitySet::PERFMON, "CAP_PERFMON");
pub(crate) const NET_ADMIN: Capability = (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN");

/// Names the missing capabilities; `CAP_SYS_ADMIN` replaces each of them (`include/uapi/linux/capability.h`, Linux
/// 5.8).
pub(crate) fn lacking(takes: &[Capability], has: CapabilitySet) -> Option<String> {
    let lacks = |(needed, _): &&Capability| !has.intersects(*needed | CapabilitySet::SYS_ADMIN);
    let names: Vec<&str> = takes.iter().filter(lacks).map(|(_, name)| *name).collect();
    let verb = if names.len() > 1 { "are" } else { "is" };
    (!names.is_empty()).then(|| format!("{} {verb} missing", names.join(" and ")))
}

/// Turns an error into a refusal with a remedy.
pub(crate) fn explain(step: Step, error: &(dyn Error + 'static), capabilities: CapabilitySet) -> Refusal {
    let errno = errno(error);
    let said = message(error);
    let cause = |why: &str| format!("{}: {said}: {why}", step.what());
    let lacking = lacking(step.takes(), capabilities);
    match errno {
        Some(libc::EPERM | libc::EACCES) if lacking.is_some() => {
            Refusal::new(cause(&lacking.unwrap_or_default()), CAPABILITIES)
        }
        Some(libc::EPERM) if step == Step::AttachCgroup => Refusal::new(
            cause("another program holds this cgroup exclusively"),
            "run bpftool cgroup tree to find it, and attach it with the flag multi",
        ),
        Some(libc::EPERM) if step == Step::Maps => Refusal::new(
            cause(
                "a seccomp filter or the kernel's lockdown forbids it, or (before Linux 5.11) the limit of locked memory is reached",
            ),
            "check the container's seccomp profile, /sys/kernel/security/lockdown and ulimit -l (docker run --ulimit memlock=-1)",
        ),
        Some(libc::EPERM) if step == Step::LoadFunction => Refusal::new(
            cause("this kernel does not let programs trace its functions (fentry)"),
            "if other programs are attached here, run a kernel that does; else check /sys/kernel/security/lockdown, and the container's seccomp profile",
        ),
        Some(libc::EPERM) => Refusal::new(
            cause("a seccomp filter or the kernel's lockdown forbids it"),
            "check /sys/kernel/security/lockdown, and the container's seccomp profile (docker run --security-opt seccomp=…)",
        ),
        Some(libc::EINVAL | libc::EOPNOTSUPP) => {
            Refusal::new(cause("this kernel does not know what it takes"), KNOWN_KERNELS)
        }
        Some(libc::ENOSYS) => Refusal::new(cause("this kernel has no eBPF"), "run a kernel with CONFIG_BPF_SYSCALL"),
        Some(libc::EROFS) => Refusal::new(
            cause("the cgroup tree is mounted read-only"),
            "remount it read-write; the programs themselves do not write to it",
        ),
        _ => Refusal { cause: format!("{}: {said}", step.what()), remedy: None },
    }
}

/// Returns the kernel's error number, from anywhere in the chain of causes.
fn errno(error: &(dyn Error + 'static)) -> Option<i32> {
    let mut link = Some(error);
    while let Some(error) = link {
        if let Some(errno) = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
            return Some(errno);
        }
        link = error.source();
    }
    None
}

/// Joins the chain of causes in one line, without repetitions.
fn message(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    let mut link = Some(error);
    while let Some(error) = link {
        let said = error.to_string();
        let line = line(&said);
        if !text.contains(&line) {
            text = if text.is_empty() { line } else { format!("{text}: {line}") };
        }
        link = error.source();
    }
    text.chars().take(LONGEST_TEXT).collect()
}

/// Shortens an error to one line; of a verifier's log, the line with its reason, which precedes the statistics.
fn line(said: &str) -> String {
    const VERIFIER: &str = "Verifier output: ";
    const STATISTICS: [&str; 3] = ["verification time ", "stack depth ", "processed "];
    let is_reason = |line: &&str| !line.is_empty() && !STATISTICS.iter().any(|start| line.starts_with(start));
    match said.split_once(VERIFIER) {
        Some((before, log)) => format!("{before}{VERIFIER}{}", log.lines().rfind(is_reason).unwrap_or_default()),
        None => said.lines().next().unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(step: Step, errno: i32, capabilities: CapabilitySet) -> String {
        let refusal = explain(step, &io::Error::from_raw_os_error(errno), capabilities);
        format!("{} | {}", refusal.cause, refusal.remedy.unwrap_or_default())
    }

    #[test]
    fn a_missing_capability_is_named_by_the_step_that_takes_it() {
        let none = CapabilitySet::empty();
        assert!(told(Step::Maps, libc::EPERM, none).contains("CAP_BPF is missing"));
        assert!(told(Step::LoadTracing, libc::EPERM, CapabilitySet::BPF).contains(": CAP_PERFMON is missing"));
        assert!(told(Step::AttachCgroup, libc::EPERM, CapabilitySet::BPF).contains("CAP_NET_ADMIN is missing"));
        assert!(told(Step::LoadTracing, libc::EPERM, none).contains("--cap-add PERFMON"));
    }

    #[test]
    fn with_every_capability_something_else_forbids_it() {
        let all = CapabilitySet::all();
        assert!(told(Step::AttachCgroup, libc::EPERM, all).contains("bpftool cgroup tree"));
        assert!(told(Step::LoadTracing, libc::EPERM, all).contains("lockdown"));
        assert!(told(Step::LoadFunction, libc::EPERM, all).contains("trace its functions (fentry)"));
        assert!(told(Step::Maps, libc::EPERM, CapabilitySet::SYS_ADMIN).contains("seccomp"));
    }

    #[test]
    fn of_a_verifiers_log_the_line_counts_in_which_it_gives_up() {
        let log = "Verifier output: arg#0 type is not a struct\n5: (b7) r1 = 0\nunknown func some_helper#123\n\
                   verification time 972 usec\nstack depth 0\nprocessed 6 insns (limit 1000000)\n\n";
        assert_eq!(
            line(&format!("the call failed. {log}")),
            "the call failed. Verifier output: unknown func some_helper#123"
        );
        assert_eq!(line("one\ntwo"), "one");
    }

    #[test]
    fn an_old_kernel_is_told_from_one_without_ebpf() {
        let all = CapabilitySet::all();
        assert!(told(Step::Maps, libc::EINVAL, all).contains("uname -r"));
        assert!(told(Step::Maps, libc::ENOSYS, all).contains("CONFIG_BPF_SYSCALL"));
        assert!(told(Step::Maps, libc::ENOMEM, all).contains("Cannot allocate memory"));
    }
}
