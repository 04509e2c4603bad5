//! State files in which runtimes describe their containers.
//!
//! Root's files may describe every container, the files of another user only those in that user's own slice.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::parts::{Element, FirstText, Labels, Listed, OwnName};
use crate::containers::info::{ContainerInfo, KUBERNETES_CONTAINER, KUBERNETES_NAMESPACE, KUBERNETES_POD, StateFile};
use crate::containers::runtime_path::{OCI, PathHint};
use crate::foreign::{Directory, FileVersion};

/// Longest state file that is read.
const LONGEST: usize = 4 << 20;
/// Most names of a directory that are looked at.
const MOST_NAMES: usize = 10_000;
/// Most containers that are remembered out of all lists.
const MOST_LISTED: usize = 20_000;
/// The storage drivers of Podman and CRI-O, after which the directories of their containers are named.
const DRIVERS: [&str; 6] = ["overlay", "vfs", "btrfs", "zfs", "aufs", "devicemapper"];

/// The namespace of containerd in which Kubernetes' containers are.
const KUBERNETES: &str = "k8s.io";

/// The fields used of `config.json` (OCI runtime specification).
#[derive(Default, Deserialize)]
#[serde(default)]
struct Specification {
    process: Process,
    annotations: Labels,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Process {
    env: OwnName,
}

/// A container as the Docker engine describes it, in its file and in its API.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Docker {
    name: String,
    config: DockerConfig,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerConfig {
    image: Option<String>,
    #[serde(default)]
    labels: Labels,
    #[serde(default)]
    env: OwnName,
}

impl Docker {
    /// The facts. Labels name the container only in a pod.
    pub(super) fn into_info(self, is_in_pod: bool) -> ContainerInfo {
        let (image, labels) = (self.config.image, self.config.labels.0);
        let known = ContainerInfo { image, labels, ..ContainerInfo::default() };
        let known = known.named(self.name.trim_start_matches('/').to_owned());
        known.with_kubernetes(is_in_pod).with_own_name(self.config.env.0)
    }
}

/// A container in the list that Podman and CRI-O keep with their images.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "StoredContainer")]
struct Named {
    id: String,
    name: Option<String>,
    image: Option<String>,
}

#[derive(Deserialize)]
struct StoredContainer {
    id: String,
    #[serde(default)]
    names: FirstText,
    /// A string that contains JSON.
    metadata: Option<String>,
}

impl From<StoredContainer> for Named {
    fn from(StoredContainer { id, names, metadata }: StoredContainer) -> Self {
        #[derive(Default, Deserialize)]
        #[serde(default, rename_all = "kebab-case")]
        struct Metadata {
            image_name: Option<String>,
        }
        let metadata: Metadata = metadata.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        Self { id, name: names.0, image: metadata.image_name.filter(|image| !image.is_empty()) }
    }
}

impl Element for Named {
    fn id(&self) -> &str {
        &self.id
    }
}

/// The state files, below the machine's root.
#[derive(Debug)]
pub struct Files {
    host: PathBuf,
    /// Root directories of Docker and Podman outside the default paths.
    roots: Vec<PathBuf>,
    /// Cached lists: one list names many containers.
    lists: HashMap<PathBuf, (FileVersion, HashMap<String, Named>)>,
}

impl Files {
    /// Reads below a root directory.
    pub fn new(host: &Path) -> Self {
        Self { host: host.to_owned(), roots: Vec::new(), lists: HashMap::new() }
    }

    /// Adds a root directory of a runtime; true if it is new.
    pub fn add(&mut self, root: &Path) -> bool {
        let root = self.host.join(root.strip_prefix("/").unwrap_or(root));
        let is_new = !self.roots.contains(&root);
        if is_new {
            self.roots.push(root);
        }
        is_new
    }

    /// Looks up a container, which is in the slice of `user` or of nobody. In a pod, Kubernetes' labels name it.
    pub fn look_up(&mut self, hint: &PathHint, user: Option<u32>, is_in_pod: bool) -> Option<ContainerInfo> {
        let id = hint.id.as_deref()?;
        // Root, and whom this process runs as.
        let own = [0, rustix::process::geteuid().as_raw()];
        let owners: Vec<u32> = own.into_iter().chain(user).collect();
        let runtimes: &[&str] = match hint.runtime {
            "containerd" => &["containerd", "docker"],
            OCI => &["docker", "containerd", "podman"],
            _ => &[hint.runtime],
        };
        let known = runtimes.iter().find_map(|runtime| {
            let known = match *runtime {
                "docker" => self.docker(id, &owners, is_in_pod),
                "containerd" => self.containerd(id, &owners),
                "cri-o" | "podman" => self.stored(id, &owners, user, *runtime == "cri-o"),
                _ => None,
            };
            Some(ContainerInfo { runtime: Some(runtime), ..known? })
        });
        known.or_else(|| (hint.runtime != "podman").then(|| self.kubelet(id)).flatten())
    }

    /// Reads `config.v2.json` of the Docker engine.
    fn docker(&self, id: &str, owners: &[u32], is_in_pod: bool) -> Option<ContainerInfo> {
        let roots = std::iter::once(self.host.join("var/lib/docker")).chain(self.roots.iter().cloned());
        let below = Path::new("containers").join(id).join("config.v2.json");
        roots.map(|anchor| StateFile { anchor, below: below.clone() }).find_map(|file| {
            let (found, version) = json::<Docker>(&file, owners)?;
            Some(ContainerInfo { source: Some((file, version)), ..found.into_info(is_in_pod) })
        })
    }

    /// Reads the bundle that containerd gives its OCI runtime, in any of its namespaces, and the name that nerdctl
    /// stores.
    fn containerd(&self, id: &str, owners: &[u32]) -> Option<ContainerInfo> {
        let anchor = self.host.join("run/containerd/io.containerd.runtime.v2.task");
        let (namespace, specification) = names(&anchor).into_iter().find_map(|namespace| {
            let below = Path::new(&namespace).join(id).join("config.json");
            let (found, _) = json::<Specification>(&StateFile { anchor: anchor.clone(), below }, owners)?;
            Some((namespace, found))
        })?;
        let known = described(specification, None, namespace == KUBERNETES);
        if known.name.is_some() {
            return Some(known);
        }
        let anchor = self.host.join("var/lib/nerdctl");
        let stores = names(&anchor).into_iter().map(|store| Path::new(&store).join("names").join(&namespace));
        let all = stores.flat_map(|below| names(&anchor.join(&below)).into_iter().map(move |name| below.join(name)));
        let source = all.map(|below| StateFile { anchor: anchor.clone(), below }).find_map(|file| {
            let found = file.read(owners, id.len())?;
            (found.bytes == id.as_bytes()).then_some((file, found.version))
        });
        let name = source.as_ref().and_then(|(file, _)| Some(file.below.file_name()?.to_str()?.to_owned()));
        Some(ContainerInfo { source, ..known.named(name.unwrap_or_default()) })
    }

    /// Reads the files that Podman and CRI-O keep with their images, for root and the container's user: the list of
    /// containers, and the bundle.
    fn stored(&mut self, id: &str, owners: &[u32], user: Option<u32>, is_in_pod: bool) -> Option<ContainerInfo> {
        let stores = self.stores(user);
        let below = Path::new(id).join("userdata/config.json");
        let bundle = stores.iter().find_map(|store| json::<Specification>(&store.file(&below), owners));
        let listed = stores.iter().map(|store| store.file(Path::new("containers.json"))).find_map(|file| {
            let (version, named) = self.listed(&file, id, owners)?;
            Some(((file, version), named))
        });
        if bundle.is_none() && listed.is_none() {
            return None;
        }
        let (source, named) = listed.unzip();
        let (name, listed_image) = named.map(|named| (named.name, named.image)).unwrap_or_default();
        let known = described(bundle.map(|(found, _)| found).unwrap_or_default(), name, is_in_pod);
        let image = known.image.clone().filter(|image| !image.is_empty()).or(listed_image);
        Some(ContainerInfo { image, source, ..known })
    }

    /// Returns the directories of the containers of root and of one user.
    fn stores(&self, user: Option<u32>) -> Vec<StateFile> {
        const STORAGE: &str = ".local/share/containers/storage";
        let host = &self.host;
        let home = host.join("home");
        let own = ["var/lib/containers/storage", "run/containers/storage"].map(|path| host.join(path));
        let own = own.into_iter().chain([host.join("root").join(STORAGE)]).chain(self.roots.iter().cloned());
        let own = own.map(|anchor| StateFile { anchor, below: PathBuf::new() });
        let homes = user.map(|user| homes(&home, user)).unwrap_or_default();
        let homes = homes.into_iter().map(|name| StateFile { anchor: home.clone(), below: name.join(STORAGE) });
        let stores = own.chain(homes).filter(|store| {
            Directory::open(&store.anchor).is_ok_and(|directory| directory.enter(&store.below).is_ok())
        });
        let drivers = |store: StateFile| DRIVERS.map(|driver| store.file(Path::new(&format!("{driver}-containers"))));
        stores.flat_map(drivers).collect()
    }

    /// Returns a container of a list, which is read again when it has changed.
    fn listed(&mut self, file: &StateFile, id: &str, owners: &[u32]) -> Option<(FileVersion, Named)> {
        let (path, version) = (file.anchor.join(&file.below), file.version()?);
        if self.lists.get(&path).is_none_or(|(known, _)| *known != version) {
            self.lists.remove(&path);
            let (Listed(all), version) = json::<Listed<Named>>(file, owners)?;
            if self.lists.values().map(|(_, all)| all.len()).sum::<usize>() + all.len() > MOST_LISTED {
                self.lists.clear();
            }
            self.lists.insert(path.clone(), (version, all));
        }
        let (version, all) = self.lists.get(&path)?;
        Some((*version, all.get(id)?.clone()))
    }

    /// Finds the log link that the kubelet creates for each container: `POD_NAMESPACE_CONTAINER-ID.log`.
    fn kubelet(&self, id: &str) -> Option<ContainerInfo> {
        let suffix = format!("-{id}.log");
        names(&self.host.join("var/log/containers")).into_iter().find_map(|name| {
            let mut parts = name.strip_suffix(&suffix)?.splitn(3, '_');
            let (pod, namespace, container) = (parts.next()?, parts.next()?, parts.next()?);
            let labels = [(KUBERNETES_POD, pod), (KUBERNETES_NAMESPACE, namespace), (KUBERNETES_CONTAINER, container)];
            let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
            Some(ContainerInfo { labels, ..ContainerInfo::default() }.with_kubernetes(true))
        })
    }
}

impl StateFile {
    fn file(&self, name: &Path) -> Self {
        Self { anchor: self.anchor.clone(), below: self.below.join(name) }
    }
}

/// Reads a bundle, whose annotations contain Kubernetes' names and the image.
fn described(specification: Specification, name: Option<String>, is_in_pod: bool) -> ContainerInfo {
    let Specification { process, annotations: Labels(annotations) } = specification;
    let image = ["io.kubernetes.cri.image-name", "io.kubernetes.cri-o.ImageName"]
        .iter()
        .find_map(|key| annotations.get(*key))
        .cloned();
    // Keeps Kubernetes' names, and drops the runtimes' internal annotations.
    let is_label = |key: &str| key.starts_with("io.kubernetes.") && !key.starts_with("io.kubernetes.cri-o.");
    let labels = annotations.into_iter().filter(|(key, _)| is_label(key)).collect();
    let known = ContainerInfo { image, labels, ..ContainerInfo::default() }.named(name.unwrap_or_default());
    known.with_kubernetes(is_in_pod).with_own_name(process.env.0)
}

fn json<T: DeserializeOwned>(file: &StateFile, owners: &[u32]) -> Option<(T, FileVersion)> {
    let found = file.read(owners, LONGEST)?;
    Some((serde_json::from_slice(&found.bytes).ok()?, found.version))
}

/// Lists a directory; empty if it does not exist.
fn names(dir: &Path) -> Vec<String> {
    let names = Directory::open(dir).and_then(|dir| dir.names(MOST_NAMES)).unwrap_or_default();
    names.into_iter().filter_map(|name| name.into_string().ok()).collect()
}

/// Returns the directories in `/home` that belong to a user. One that is a mount is not looked into.
fn homes(home: &Path, user: u32) -> Vec<PathBuf> {
    let Ok(all) = Directory::open(home) else { return Vec::new() };
    let names = all.names(MOST_NAMES).unwrap_or_default().into_iter().map(PathBuf::from);
    names.filter(|name| all.enter(name).and_then(|found| found.owner()).is_ok_and(|owner| owner == user)).collect()
}

#[cfg(test)]
mod tests;
