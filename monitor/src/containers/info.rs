//! Requests for the name of a container, and the facts that its path does not reveal.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::PathBuf;

use super::runtime_path::PathHint;
use crate::foreign::{Directory, FileVersion, ForeignFile};
use crate::snapshot::CgroupId;

/// The variable in which a container is told its own name, also by the agents that ran inside.
pub(super) const NAME_VARIABLE: &str = "CONTAINER_NAME=";

/// The annotations in which containerd's bundles have what the labels of other runtimes have under Kubernetes' own
/// keys.
const KUBERNETES: [(&str, &str); 4] = [
    ("io.kubernetes.cri.container-name", KUBERNETES_CONTAINER),
    ("io.kubernetes.cri.sandbox-name", KUBERNETES_POD),
    ("io.kubernetes.cri.sandbox-namespace", KUBERNETES_NAMESPACE),
    ("io.kubernetes.cri.sandbox-uid", KUBERNETES_POD_UID),
];

/// The label that a pod's containers have, and its sandbox has not.
pub(crate) const KUBERNETES_CONTAINER: &str = "io.kubernetes.container.name";
/// The label that has the pod's name.
pub(crate) const KUBERNETES_POD: &str = "io.kubernetes.pod.name";
/// The label that has the pod's namespace.
pub(crate) const KUBERNETES_NAMESPACE: &str = "io.kubernetes.pod.namespace";
/// The label that has the pod's UID.
pub(crate) const KUBERNETES_POD_UID: &str = "io.kubernetes.pod.uid";

/// A request for the name of a container.
#[derive(Clone, Debug)]
pub struct NameRequest {
    /// Its cgroup.
    pub id: CgroupId,
    /// The runtime and the id that its path reveals.
    pub hint: PathHint,
    /// Its directories in all trees.
    pub dirs: Vec<PathBuf>,
    /// True if it has had a process. Anybody who may create a cgroup creates thousands without one.
    pub had_process: bool,
    /// The user in whose slice it is: the only one whose files may describe it.
    pub user: Option<u32>,
}

impl NameRequest {
    /// True if Kubernetes has created the container.
    pub(super) fn is_in_pod(&self) -> bool {
        let is_pods = |name: &OsStr| name.to_str().is_some_and(|name| name.starts_with("kubepods"));
        self.dirs.iter().any(|dir| dir.iter().any(is_pods))
    }
}

/// Returns the user of a cgroup below `/user.slice/user-UID.slice`, which systemd gives to that user alone.
pub(super) fn slice_user(path: &str) -> Option<u32> {
    let slice = path.strip_prefix("/user.slice/user-")?.split('/').next()?;
    slice.strip_suffix(".slice")?.parse().ok()
}

/// The origin of a container's name, the most trusted first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum NameOrigin {
    /// It is the machine's own name.
    Machine,
    /// The runtime's configuration: what was given to whoever started the container.
    Runtime,
    /// The path of the cgroup, which everybody chooses who may create one.
    #[default]
    Path,
    /// The environment of the first process, which the container itself chooses.
    Process,
    /// Any of these, of a container without processes.
    Vacant,
}

/// The facts about a container that its path does not reveal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerInfo {
    /// Its name.
    pub name: Option<String>,
    /// The origin of `name`; [`NameOrigin::Path`] without a name.
    pub origin: NameOrigin,
    /// True if only a change of `source` can lead to a better name.
    pub is_final: bool,
    /// The runtime whose files describe it.
    pub runtime: Option<&'static str>,
    /// Its image.
    pub image: Option<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The file that contains the name, and its version, which changes with the name.
    pub source: Option<(StateFile, FileVersion)>,
}

impl ContainerInfo {
    /// Sets the name from Kubernetes' labels, and gives these labels the same keys for each runtime. Anybody can set
    /// the same labels on a container that Kubernetes has not created: there they are left out.
    pub(super) fn with_kubernetes(mut self, is_in_pod: bool) -> Self {
        if !is_in_pod {
            self.labels.retain(|key, _| !key.starts_with("io.kubernetes."));
            return self;
        }
        for (annotation, label) in KUBERNETES {
            if let Some(value) = self.labels.get(annotation).cloned() {
                self.labels.entry(label.to_owned()).or_insert(value);
            }
        }
        let label = |name: &str| self.labels.get(name).filter(|value| !value.is_empty());
        let pod = label(KUBERNETES_POD);
        let namespace = label(KUBERNETES_NAMESPACE);
        let container = label(KUBERNETES_CONTAINER);
        if let (Some(pod), Some(namespace)) = (pod, namespace) {
            // A pod's sandbox container has no name of its own.
            let own = container.map(|container| format!("/{container}")).unwrap_or_default();
            let name = format!("{namespace}/{pod}{own}");
            return self.named(name);
        }
        self
    }

    /// Sets a name that the runtime's configuration contains.
    pub(super) fn named(mut self, name: String) -> Self {
        if !name.is_empty() {
            (self.name, self.origin) = (Some(name), NameOrigin::Runtime);
        }
        self
    }

    /// Sets the name that the configured environment contains, which takes precedence.
    pub(super) fn with_own_name(mut self, name: Option<String>) -> Self {
        if let Some(name) = name.filter(|name| is_chosen_freely(name)) {
            self = self.named(name);
        }
        self.is_final = true;
        self
    }

    /// Sets the name in the environment of the first process, if there is no better one.
    pub(super) fn with_process_name(mut self, name: Option<String>) -> Self {
        if self.name.is_none()
            && let Some(name) = name
        {
            (self.name, self.origin, self.is_final) = (Some(name), NameOrigin::Process, true);
        }
        self
    }
}

/// True for a name that a container may choose for itself: not in the form of Kubernetes' names, `namespace/pod` and
/// `namespace/pod/container`, whose parts are DNS names (RFC 1123).
pub(super) fn is_chosen_freely(name: &str) -> bool {
    let is_dns = |part: &str| {
        let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
        !part.is_empty() && part.bytes().all(is_allowed)
    };
    let is_kubernetes = matches!(name.split('/').count(), 2 | 3) && name.split('/').all(is_dns);
    !name.is_empty() && !is_kubernetes
}

/// A state file: a directory that only root can replace, and the path below it, of which others may write each part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateFile {
    /// The directory.
    pub(super) anchor: PathBuf,
    /// The path below it.
    pub(super) below: PathBuf,
}

impl StateFile {
    /// Reads the file, if it belongs to one of `owners` and has at most `most` bytes.
    pub(super) fn read(&self, owners: &[u32], most: usize) -> Option<ForeignFile> {
        Directory::open(&self.anchor).ok()?.read(&self.below, owners, most).ok()
    }

    /// Returns its current version, if it exists.
    pub(super) fn version(&self) -> Option<FileVersion> {
        Directory::open(&self.anchor).ok()?.version(&self.below).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_the_cgroups_below_his_own_slice_and_no_others() {
        assert_eq!(slice_user("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-a.scope"), Some(1000));
        assert_eq!(slice_user("/user.slice/user-1001.slice/user.slice/user-1000.slice"), Some(1001));
        for path in ["/", "/docker/a/user.slice/user-1000.slice/b", "/user.slice/user-x.slice", "/user.slice"] {
            assert_eq!(slice_user(path), None, "{path}");
        }
    }
}
