//! What a container is called, and what is known of it besides: from the environment of its first process, from the files
//! that its runtime keeps, and from the runtime's own interface.

mod files;
mod namer;
mod socket;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

pub use self::files::{Files, Version};
pub use self::namer::{Namer, Places};
use super::runtime::Marks;
use crate::snapshot::CgroupId;
use crate::sources::proc_text;

/// The variable by which a container names itself, and by which the agents that ran inside were told the name.
const VARIABLE: &str = "CONTAINER_NAME=";

/// In the environment of runc's own first process.
const RUNC: &str = "_LIBCONTAINER_INITPIPE=";

/// A container whose name is to be looked for.
#[derive(Clone, Debug)]
pub struct Question {
    /// Its cgroup.
    pub id: CgroupId,
    /// What its path says of it.
    pub marks: Marks,
    /// Its directories in all trees.
    pub dirs: Vec<PathBuf>,
}

/// What is known of a container besides its path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Its name.
    pub name: Option<String>,
    /// Whether no better name will come, but by a change of `source`.
    pub is_final: bool,
    /// Its image.
    pub image: Option<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The file that gave the name, and its version: it changes with the name.
    pub source: Option<(PathBuf, Version)>,
}

impl Known {
    /// What the labels of Kubernetes say is the name, whoever runs the container.
    fn with_kubernetes_name(mut self) -> Self {
        let label = |names: [&str; 2]| names.iter().find_map(|name| self.labels.get(*name)).filter(|v| !v.is_empty());
        let pod = label(["io.kubernetes.pod.name", "io.kubernetes.cri.sandbox-name"]);
        let namespace = label(["io.kubernetes.pod.namespace", "io.kubernetes.cri.sandbox-namespace"]);
        let container = label(["io.kubernetes.container.name", "io.kubernetes.cri.container-name"]);
        if let (Some(pod), Some(namespace)) = (pod, namespace) {
            // The container that holds a pod's namespaces has no name of its own.
            let own = container.map(|container| format!("/{container}")).unwrap_or_default();
            self.name = Some(format!("{namespace}/{pod}{own}"));
        }
        self
    }

    /// What the container says itself comes first.
    fn with_environment<'a>(mut self, environment: impl IntoIterator<Item = &'a str>) -> Self {
        let name = environment.into_iter().find_map(|pair| pair.strip_prefix(VARIABLE)).filter(|name| !name.is_empty());
        if let Some(name) = name {
            self.name = Some(name.to_owned());
        }
        self.is_final = true;
        self
    }
}

/// `CONTAINER_NAME` in the environment of the first process of a cgroup: the one with the lowest number, which in a young
/// container is the first one. While that is still the runtime's own, its environment says nothing of the container.
fn from_first_process(proc: &Path, dirs: &[PathBuf]) -> Option<String> {
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
    let name = value(VARIABLE).filter(|name| !name.is_empty() && value(RUNC).is_none())?;
    Some(String::from_utf8_lossy(name).into_owned())
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
    }

    #[test]
    fn while_it_is_the_runtimes_own_it_does_not() {
        assert_eq!(named("CONTAINER_NAME=other", PF_FORKNOEXEC), None);
        assert_eq!(named("CONTAINER_NAME=other _LIBCONTAINER_INITPIPE=3", 0), None);
    }

    const PF_FORKNOEXEC: u64 = 0x40;
}
