//! Name in the environment of a container's first process.

use std::fs;
use std::path::{Path, PathBuf};

use crate::containers::info::{NAME_VARIABLE, is_chosen_freely};
use crate::proc_text;

/// A variable in the environment of runc's own init process.
const RUNC: &str = "_LIBCONTAINER_INITPIPE=";

/// Reads `CONTAINER_NAME` from the environment of the first process of a cgroup: the one with the lowest pid, which in
/// a young container is the init process. While that is still the runtime's own, its environment is not the
/// container's.
pub(super) fn from_first_process(proc: &Path, dirs: &[PathBuf]) -> Option<String> {
    let first = dirs
        .iter()
        .filter_map(|dir| fs::read_to_string(dir.join("cgroup.procs")).ok())
        .find_map(|text| text.lines().filter_map(|line| line.parse::<u32>().ok()).filter(|pid| *pid > 0).min())?;
    let process = proc.join(first.to_string());
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
        from_first_process(dir.path(), &[dir.path().to_owned()])
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
