//! Requests for the name of a container, and the facts that its path does not reveal.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::runtime_path::PathHint;
use crate::snapshot::CgroupId;

/// The variable in which a container is told its own name, also by the agents that ran inside.
pub(super) const NAME_VARIABLE: &str = "CONTAINER_NAME=";

/// The annotations in which containerd's bundles have what the labels of other runtimes have under Kubernetes' own keys.
const KUBERNETES: [(&str, &str); 4] = [
    ("io.kubernetes.cri.container-name", "io.kubernetes.container.name"),
    ("io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name"),
    ("io.kubernetes.cri.sandbox-namespace", "io.kubernetes.pod.namespace"),
    ("io.kubernetes.cri.sandbox-uid", "io.kubernetes.pod.uid"),
];

/// A request for the name of a container.
#[derive(Clone, Debug)]
pub struct NameRequest {
    /// Its cgroup.
    pub id: CgroupId,
    /// The runtime and the id that its path reveals.
    pub hint: PathHint,
    /// Its directories in all trees.
    pub dirs: Vec<PathBuf>,
}

/// The facts about a container that its path does not reveal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerInfo {
    /// Its name.
    pub name: Option<String>,
    /// True if only a change of `source` can lead to a better name.
    pub is_final: bool,
    /// The runtime whose files describe it.
    pub runtime: Option<&'static str>,
    /// Its image.
    pub image: Option<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The file that contains the name, and its version, which changes with the name.
    pub source: Option<(PathBuf, FileVersion)>,
}

impl ContainerInfo {
    /// Sets the name from Kubernetes' labels, whichever runtime runs the container, and gives these labels the same keys.
    pub(super) fn with_kubernetes_name(mut self) -> Self {
        for (annotation, label) in KUBERNETES {
            if let Some(value) = self.labels.get(annotation).cloned() {
                self.labels.entry(label.to_owned()).or_insert(value);
            }
        }
        let label = |name: &str| self.labels.get(name).filter(|value| !value.is_empty());
        let pod = label("io.kubernetes.pod.name");
        let namespace = label("io.kubernetes.pod.namespace");
        let container = label("io.kubernetes.container.name");
        if let (Some(pod), Some(namespace)) = (pod, namespace) {
            // A pod's sandbox container has no name of its own.
            let own = container.map(|container| format!("/{container}")).unwrap_or_default();
            self.name = Some(format!("{namespace}/{pod}{own}"));
        }
        self
    }

    /// Sets the name that the container gives itself, which takes precedence.
    pub(super) fn with_environment<'a>(mut self, environment: impl IntoIterator<Item = &'a str>) -> Self {
        let name =
            environment.into_iter().find_map(|pair| pair.strip_prefix(NAME_VARIABLE)).filter(|name| !name.is_empty());
        if let Some(name) = name {
            self.name = Some(name.to_owned());
        }
        self.is_final = true;
        self
    }
}

/// The version of a file, which any change replaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileVersion {
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl FileVersion {
    /// Returns the current version, if the file exists.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let found = fs::metadata(path).ok()?;
        Some(Self { inode: found.ino(), size: found.size(), changed: (found.ctime(), found.ctime_nsec()) })
    }
}
