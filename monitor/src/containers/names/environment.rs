//! Name in the environment of a container's first process.

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use crate::containers::info::{NAME_VARIABLE, is_chosen_freely};
use crate::foreign::{self, text};
use crate::proc_text;

/// A variable in the environment of runc's own init process.
const RUNC: &str = "_LIBCONTAINER_INITPIPE=";
/// Bytes of an environment that are searched; a process can say that its own has gibibytes (`PR_SET_MM` of `prctl(2)`).
const LONGEST: u64 = 2 << 20;
/// Bytes of a list of processes: the most that can exist.
const PROCESSES: u64 = 32 << 20;

/// The first process of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FirstProcess {
    /// False if the cgroup is there and has no process.
    pub(super) may_exist: bool,
    /// True while it is the runtime's own, which has not yet become the container's.
    pub(super) is_runtimes: bool,
    /// `CONTAINER_NAME` in its environment.
    pub(super) name: Option<String>,
}

impl FirstProcess {
    /// That of a container which is known to have, or have had, processes.
    pub(super) const UNREAD: Self = Self { may_exist: true, is_runtimes: false, name: None };

    /// Reads the first process of a cgroup: the one with the lowest pid, which in a young container is the init
    /// process. The pages of its environment can be those of a file that is never read: this may not return.
    pub(super) fn read(proc: &Path, dirs: &[PathBuf]) -> Self {
        let lists: Vec<Option<u32>> =
            dirs.iter().filter_map(|dir| lowest_pid(&dir.join("cgroup.procs")).ok()).collect();
        let first = lists.iter().find_map(|lowest| *lowest);
        let may_exist = first.is_some() || lists.is_empty();
        let (is_runtimes, name) = first.map_or((false, None), |pid| name(&proc.join(pid.to_string())));
        Self { may_exist, is_runtimes, name }
    }
}

/// Returns whether a process is still the runtime's own, whose environment is not the container's, and else
/// `CONTAINER_NAME` in its environment.
fn name(process: &Path) -> (bool, Option<String>) {
    let stat = foreign::read(&process.join("stat"), 4096).ok().and_then(|stat| proc_text::stat(&stat));
    match stat {
        None => return (false, None),
        Some(stat) if !stat.has_executed => return (true, None),
        Some(_) => {}
    }
    let (mut name, mut is_runc) = (None, false);
    // What stands within the bound counts.
    _ = foreign::records(&process.join("environ"), 0, LONGEST, |variable| {
        is_runc |= variable.starts_with(RUNC.as_bytes());
        if let (None, Some(value)) = (&name, variable.strip_prefix(NAME_VARIABLE.as_bytes())) {
            let value = String::from_utf8_lossy(&value[..value.len().min(text::NAME + 3)]);
            name = Some(text::cut(&value, text::NAME).to_owned());
        }
        if is_runc { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    (is_runc, name.filter(|name| is_chosen_freely(name) && !is_runc))
}

fn lowest_pid(list: &Path) -> io::Result<Option<u32>> {
    let mut lowest: Option<u32> = None;
    foreign::records(list, b'\n', PROCESSES, |line| {
        let pid = std::str::from_utf8(line).ok().and_then(|line| line.parse().ok());
        lowest = lowest.into_iter().chain(pid.filter(|pid| *pid > 0)).min();
        ControlFlow::Continue(())
    })?;
    Ok(lowest)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn named(environment: &str, flags: u64) -> Option<String> {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("7")).unwrap();
        fs::write(dir.path().join("cgroup.procs"), "9\n7\n").unwrap();
        fs::write(dir.path().join("7/environ"), environment.replace(' ', "\0")).unwrap();
        let stat = format!("7 (a) S 1 1 1 0 -1 {flags} 0 0 0 0 0 0 0 0 20 0 1 0 5 0 0");
        fs::write(dir.path().join("7/stat"), stat).unwrap();
        FirstProcess::read(dir.path(), &[dir.path().to_owned()]).name
    }

    #[test]
    fn a_directory_without_a_process_is_told_from_one_that_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let may_exist = || FirstProcess::read(dir.path(), &[dir.path().to_owned()]).may_exist;
        assert!(may_exist(), "it may have had one");
        fs::write(dir.path().join("cgroup.procs"), "").unwrap();
        assert!(!may_exist());
        fs::write(dir.path().join("cgroup.procs"), "7\n").unwrap();
        assert!(may_exist());
    }

    #[test]
    fn the_first_process_names_its_container() {
        assert_eq!(named("PATH=/bin CONTAINER_NAME=api HOME=/", 0x40_0000).as_deref(), Some("api"));
        assert_eq!(named("PATH=/bin CONTAINER_NAME= HOME=/", 0), None);
        assert_eq!(named("CONTAINER_NAME=prod/pod-1/app", 0), None, "the form of Kubernetes' names");
        assert_eq!(named("CONTAINER_NAME=prod/pod-1", 0), None, "that of a pod");
        assert_eq!(named("CONTAINER_NAME=Team/web", 0).as_deref(), Some("Team/web"));
    }

    #[test]
    fn an_endless_environment_is_searched_up_to_its_bound_and_a_long_name_is_cut() {
        let huge = "x".repeat(3 << 20);
        assert_eq!(named(&format!("CONTAINER_NAME=api {huge}"), 0).as_deref(), Some("api"));
        assert_eq!(named(&format!("{huge} CONTAINER_NAME=api"), 0), None);
        assert_eq!(named(&format!("CONTAINER_NAME={}", "é".repeat(70_000)), 0).map(|name| name.len()), Some(252));
    }

    #[test]
    fn while_it_is_the_runtimes_own_it_does_not() {
        assert_eq!(named("CONTAINER_NAME=other", PF_FORKNOEXEC), None);
        assert_eq!(named("CONTAINER_NAME=other _LIBCONTAINER_INITPIPE=3", 0), None);
    }

    const PF_FORKNOEXEC: u64 = 0x40;
}
