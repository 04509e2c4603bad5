//! Name in the environment of a container's first process.

use std::fs;
use std::path::{Path, PathBuf};

use crate::containers::info::{NAME_VARIABLE, is_chosen_freely};
use crate::proc_text;

/// A variable in the environment of runc's own init process.
const RUNC: &str = "_LIBCONTAINER_INITPIPE=";

/// The first process of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FirstProcess {
    /// False if the cgroup is there and has no process.
    pub(super) may_exist: bool,
    /// `CONTAINER_NAME` in its environment.
    pub(super) name: Option<String>,
}

impl FirstProcess {
    /// That of a container which is known to have, or have had, processes.
    pub(super) const UNREAD: Self = Self { may_exist: true, name: None };

    /// Reads the first process of a cgroup: the one with the lowest pid, which in a young container is the init process.
    pub(super) fn read(proc: &Path, dirs: &[PathBuf]) -> Self {
        let lists: Vec<String> =
            dirs.iter().filter_map(|dir| fs::read_to_string(dir.join("cgroup.procs")).ok()).collect();
        let pids =
            |text: &String| text.lines().filter_map(|line| line.parse::<u32>().ok()).filter(|pid| *pid > 0).min();
        let first = lists.iter().find_map(pids);
        let may_exist = first.is_some() || lists.is_empty();
        Self { may_exist, name: first.and_then(|pid| name(&proc.join(pid.to_string()))) }
    }
}

/// Reads `CONTAINER_NAME` from the environment of a process; `None` while it is the runtime's own, whose environment is
/// not the container's.
fn name(process: &Path) -> Option<String> {
    if !proc_text::stat(&fs::read(process.join("stat")).ok()?)?.has_executed {
        return None;
    }
    let text = fs::read(process.join("environ")).ok()?;
    let value = |name: &str| text.split(|&byte| byte == 0).find_map(|pair| pair.strip_prefix(name.as_bytes()));
    let name = String::from_utf8_lossy(value(NAME_VARIABLE)?);
    (is_chosen_freely(&name) && value(RUNC).is_none()).then(|| name.into_owned())
}

#[cfg(test)]
mod tests {
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
    }

    #[test]
    fn while_it_is_the_runtimes_own_it_does_not() {
        assert_eq!(named("CONTAINER_NAME=other", PF_FORKNOEXEC), None);
        assert_eq!(named("CONTAINER_NAME=other _LIBCONTAINER_INITPIPE=3", 0), None);
    }

    const PF_FORKNOEXEC: u64 = 0x40;
}
