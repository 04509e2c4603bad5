//! State files in which runtimes describe their containers.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::containers::info::{ContainerInfo, FileVersion};
use crate::containers::runtime_path::{OCI, PathHint};

/// Longest state file that is read.
const LONGEST: u64 = 4 << 20;

/// The namespace of containerd in which Kubernetes' containers are.
const KUBERNETES: &str = "k8s.io";

/// The fields used of `config.json` (OCI runtime specification).
#[derive(Default, Deserialize)]
#[serde(default)]
struct Specification {
    process: Process,
    annotations: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Process {
    env: Vec<String>,
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
    labels: Option<BTreeMap<String, String>>,
    env: Option<Vec<String>>,
}

impl Docker {
    /// The facts. Labels name the container only in a pod.
    pub(super) fn into_info(self, is_in_pod: bool) -> ContainerInfo {
        let known = ContainerInfo {
            image: self.config.image,
            labels: self.config.labels.unwrap_or_default(),
            ..ContainerInfo::default()
        };
        let known = known.named(self.name.trim_start_matches('/').to_owned());
        known
            .with_kubernetes(is_in_pod)
            .with_environment(self.config.env.unwrap_or_default().iter().map(String::as_str))
    }
}

/// A container in the list that Podman and CRI-O keep with their images.
#[derive(Clone, Debug, Deserialize)]
struct Listed {
    id: String,
    names: Option<Vec<String>>,
    /// A string that contains JSON.
    metadata: Option<String>,
}

/// The state files, below the machine's root.
#[derive(Debug)]
pub struct Files {
    host: PathBuf,
    /// Root directories of Docker and Podman outside the default paths.
    roots: Vec<PathBuf>,
    /// Cached lists: one list names many containers.
    lists: HashMap<PathBuf, (FileVersion, HashMap<String, Listed>)>,
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

    /// Looks up a container. In a pod, Kubernetes' labels name it.
    pub fn look_up(&mut self, hint: &PathHint, is_in_pod: bool) -> Option<ContainerInfo> {
        let id = hint.id.as_deref()?;
        let runtimes: &[&str] = match hint.runtime {
            "containerd" => &["containerd", "docker"],
            OCI => &["docker", "containerd", "podman"],
            _ => &[hint.runtime],
        };
        let known = runtimes.iter().find_map(|runtime| {
            let known = match *runtime {
                "docker" => self.docker(id, is_in_pod),
                "containerd" => self.containerd(id),
                "cri-o" | "podman" => self.stored(id, *runtime == "cri-o"),
                _ => None,
            };
            Some(ContainerInfo { runtime: Some(runtime), ..known? })
        });
        known.or_else(|| (hint.runtime != "podman").then(|| self.kubelet(id)).flatten())
    }

    /// Reads `config.v2.json` of the Docker engine.
    fn docker(&self, id: &str, is_in_pod: bool) -> Option<ContainerInfo> {
        let roots = std::iter::once(self.host.join("var/lib/docker")).chain(self.roots.iter().cloned());
        let mut paths = roots.map(|root| root.join("containers").join(id).join("config.v2.json"));
        let (path, version) = paths.find_map(|path| Some((path.clone(), FileVersion::of(&path)?)))?;
        let known = json::<Docker>(&path)?.into_info(is_in_pod);
        Some(ContainerInfo { source: Some((path, version)), ..known })
    }

    /// Reads the bundle that containerd gives its OCI runtime, in any of its namespaces, and the name that nerdctl
    /// stores.
    fn containerd(&self, id: &str) -> Option<ContainerInfo> {
        let namespaces = entries(&self.host.join("run/containerd/io.containerd.runtime.v2.task"));
        let bundle = namespaces.into_iter().map(|namespace| namespace.join(id)).find(|bundle| bundle.is_dir())?;
        let specification: Specification = json(&bundle.join("config.json"))?;
        let namespace = bundle.parent()?.file_name()?;
        let known = described(specification, None, namespace == KUBERNETES);
        if known.name.is_some() {
            return Some(known);
        }
        let names =
            entries(&self.host.join("var/lib/nerdctl")).into_iter().map(|store| store.join("names").join(namespace));
        let source = names
            .flat_map(|names| entries(&names))
            .find(|path| fs::read(path).is_ok_and(|owner| owner == id.as_bytes()));
        let name = source.as_ref().and_then(|path| Some(path.file_name()?.to_str()?.to_owned()));
        let source = source.and_then(|path| Some((path.clone(), FileVersion::of(&path)?)));
        Some(ContainerInfo { source, ..known.named(name.unwrap_or_default()) })
    }

    /// Reads the files that Podman and CRI-O keep with their images, for root and each user: the list of containers,
    /// and the bundle.
    fn stored(&mut self, id: &str, is_in_pod: bool) -> Option<ContainerInfo> {
        #[derive(Default, Deserialize)]
        #[serde(default, rename_all = "kebab-case")]
        struct Metadata {
            image_name: Option<String>,
        }
        let stores = self.stores();
        let bundle =
            stores.iter().find_map(|store| json::<Specification>(&store.join(id).join("userdata/config.json")));
        let listed = stores.into_iter().map(|store| store.join("containers.json")).find_map(|path| {
            let (version, all) = self.list(&path)?;
            Some(((path, *version), all.get(id)?.clone()))
        });
        if bundle.is_none() && listed.is_none() {
            return None;
        }
        let (source, listed) = listed.unzip();
        let (names, metadata) = listed.map(|listed| (listed.names, listed.metadata)).unwrap_or_default();
        let metadata: Metadata = metadata.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        let name = names.and_then(|names| names.into_iter().next());
        let known = described(bundle.unwrap_or_default(), name, is_in_pod);
        let image = known.image.clone().or(metadata.image_name).filter(|image| !image.is_empty());
        Some(ContainerInfo { image, source, ..known })
    }

    /// Returns the directories of the containers of root and of each user, named after the storage driver:
    /// `overlay-containers`.
    fn stores(&self) -> Vec<PathBuf> {
        let users = entries(&self.host.join("home")).into_iter().chain([self.host.join("root")]);
        let stores = ["var/lib/containers", "run/containers"].into_iter().map(|store| self.host.join(store));
        let stores = stores.chain(users.map(|user| user.join(".local/share/containers")));
        let stores = stores.map(|store| store.join("storage")).chain(self.roots.iter().cloned());
        let is_one = |path: &PathBuf| path.to_str().is_some_and(|path| path.ends_with("-containers"));
        stores.flat_map(|store| entries(&store)).filter(is_one).collect()
    }

    /// Returns the containers of a list, reread when it has changed.
    fn list(&mut self, path: &Path) -> Option<&(FileVersion, HashMap<String, Listed>)> {
        let version = FileVersion::of(path)?;
        if self.lists.get(path).is_none_or(|(known, _)| *known != version) {
            let all = json::<Vec<Listed>>(path).unwrap_or_default();
            let all = all.into_iter().map(|listed| (listed.id.clone(), listed)).collect();
            self.lists.insert(path.to_owned(), (version, all));
        }
        self.lists.get(path)
    }

    /// Finds the log link that the kubelet creates for each container: `POD_NAMESPACE_CONTAINER-ID.log`.
    fn kubelet(&self, id: &str) -> Option<ContainerInfo> {
        let suffix = format!("-{id}.log");
        entries(&self.host.join("var/log/containers")).into_iter().find_map(|path| {
            let mut parts = path.file_name()?.to_str()?.strip_suffix(&suffix)?.splitn(3, '_');
            let (pod, namespace, container) = (parts.next()?, parts.next()?, parts.next()?);
            let labels = [
                ("io.kubernetes.pod.name", pod),
                ("io.kubernetes.pod.namespace", namespace),
                ("io.kubernetes.container.name", container),
            ];
            let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
            Some(ContainerInfo { labels, ..ContainerInfo::default() }.with_kubernetes(true))
        })
    }
}

/// Reads a bundle, whose annotations contain Kubernetes' names and the image.
fn described(specification: Specification, name: Option<String>, is_in_pod: bool) -> ContainerInfo {
    let Specification { process, annotations } = specification;
    let image = ["io.kubernetes.cri.image-name", "io.kubernetes.cri-o.ImageName"]
        .iter()
        .find_map(|key| annotations.get(*key))
        .cloned();
    // Keeps Kubernetes' names, and drops the runtimes' internal annotations.
    let is_label = |key: &str| key.starts_with("io.kubernetes.") && !key.starts_with("io.kubernetes.cri-o.");
    let labels = annotations.into_iter().filter(|(key, _)| is_label(key)).collect();
    let known = ContainerInfo { image, labels, ..ContainerInfo::default() }.named(name.unwrap_or_default());
    known.with_kubernetes(is_in_pod).with_environment(process.env.iter().map(String::as_str))
}

fn json<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let found = fs::metadata(path).ok()?;
    let text = (found.is_file() && found.len() <= LONGEST).then(|| fs::read(path).ok()).flatten()?;
    serde_json::from_slice(&text).ok()
}

/// Lists a directory; empty if it does not exist.
fn entries(dir: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    entries.sort();
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn known(runtime: &'static str, files: &[(&str, &str)]) -> Option<ContainerInfo> {
        let dir = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = dir.path().join(path.replace("ID", ID));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content.replace("ID", ID)).unwrap();
        }
        Files::new(dir.path()).look_up(&PathHint { runtime, id: Some(ID.to_owned()), name: None }, false)
    }

    fn name(runtime: &'static str, files: &[(&str, &str)]) -> Option<String> {
        known(runtime, files)?.name
    }

    const DOCKER: &str = "var/lib/docker/containers/ID/config.v2.json";
    const CRIO: &str = "run/containers/storage/overlay-containers/ID/userdata/config.json";

    #[test]
    fn dockers_name_image_and_labels_are_found_and_the_containers_own_name_comes_first() {
        let text =
            r#"{"Name":"/web","Config":{"Image":"nginx:1","Labels":{"tier":"front"},"Env":["PATH=/"]},"State":{}}"#;
        let web = known("docker", &[(DOCKER, text)]).unwrap();
        assert_eq!((web.name.as_deref(), web.image.as_deref(), web.is_final), (Some("web"), Some("nginx:1"), true));
        assert_eq!(web.labels["tier"], "front");
        assert!(web.source.unwrap().0.ends_with("config.v2.json"));
        let text = text.replace("PATH=/", "CONTAINER_NAME=sirius-api");
        assert_eq!(name("docker", &[(DOCKER, &text)]).as_deref(), Some("sirius-api"));
    }

    #[test]
    fn podmans_names_are_found_for_root_and_for_users() {
        let list = r#"[{"id":"other","names":["x"]},{"id":"ID","names":["db"],"metadata":"{\"image-name\":\"postgres:16\"}"}]"#;
        for store in ["var/lib/containers", "home/me/.local/share/containers", "root/.local/share/containers"] {
            let known =
                known("podman", &[(&format!("{store}/storage/overlay-containers/containers.json"), list)]).unwrap();
            assert_eq!((known.name.as_deref(), known.image.as_deref()), (Some("db"), Some("postgres:16")), "{store}");
        }
    }

    #[test]
    fn pods_are_named_by_namespace_pod_and_container() {
        let containerd = "run/containerd/io.containerd.runtime.v2.task/k8s.io/ID/config.json";
        let text = r#"{"process":{"env":["A=b"]},"annotations":{"io.kubernetes.cri.container-name":"app","io.kubernetes.cri.sandbox-name":"pod-1","io.kubernetes.cri.sandbox-namespace":"prod","io.kubernetes.cri.sandbox-uid":"u-1","io.kubernetes.cri.image-name":"app:2"}}"#;
        let app = known("containerd", &[(containerd, text)]).unwrap();
        assert_eq!((app.name.as_deref(), app.image.as_deref()), (Some("prod/pod-1/app"), Some("app:2")));
        for (label, value) in
            [("container.name", "app"), ("pod.name", "pod-1"), ("pod.namespace", "prod"), ("pod.uid", "u-1")]
        {
            assert_eq!(app.labels[&format!("io.kubernetes.{label}")], value);
        }
        let sandbox = text.replace(r#""io.kubernetes.cri.container-name":"app","#, "");
        assert_eq!(name("containerd", &[(containerd, &sandbox)]).as_deref(), Some("prod/pod-1"));
        let crio = r#"{"annotations":{"io.kubernetes.container.name":"app","io.kubernetes.pod.name":"pod-1","io.kubernetes.pod.namespace":"prod","io.kubernetes.cri-o.ImageName":"app:2","io.kubernetes.cri-o.Volumes":"[]"}}"#;
        let app = known("cri-o", &[(CRIO, crio)]).unwrap();
        assert_eq!((app.name.as_deref(), app.image.as_deref()), (Some("prod/pod-1/app"), Some("app:2")));
        assert_eq!(app.labels.len(), 3);
        let log = known("containerd", &[("var/log/containers/pod-1_prod_app-ID.log", "")]).unwrap();
        assert_eq!((log.name.as_deref(), log.is_final), (Some("prod/pod-1/app"), false));
        assert_eq!(log.labels["io.kubernetes.pod.namespace"], "prod");
    }

    #[test]
    fn labels_that_anybody_can_set_are_no_names() {
        let labels = r#"{"io.kubernetes.pod.name":"pod-1","io.kubernetes.pod.namespace":"prod"}"#;
        let docker = format!(r#"{{"Name":"/mallory","Config":{{"Labels":{labels}}}}}"#);
        let mallory = known("docker", &[(DOCKER, &docker)]).unwrap();
        assert_eq!((mallory.name.as_deref(), mallory.labels.len()), (Some("mallory"), 0));
        let bundle = format!(r#"{{"annotations":{labels}}}"#);
        let nerdctl = "run/containerd/io.containerd.runtime.v2.task/default/ID/config.json";
        assert_eq!(name("containerd", &[(nerdctl, &bundle)]), None);
        assert_eq!(name("podman", &[(CRIO, &bundle)]), None);
        assert_eq!(name("cri-o", &[(CRIO, &bundle)]).as_deref(), Some("prod/pod-1"));
        let taken = r#"{"Name":"/web","Config":{"Env":["CONTAINER_NAME=prod/pod-1/app"]}}"#;
        assert_eq!(name("docker", &[(DOCKER, taken)]).as_deref(), Some("web"));
    }

    #[test]
    fn nerdctls_names_are_found() {
        let bundle = ("run/containerd/io.containerd.runtime.v2.task/default/ID/config.json", "{}");
        let names = [
            bundle,
            ("var/lib/nerdctl/1935db59/names/default/web", "ID"),
            ("var/lib/nerdctl/1935db59/names/default/x", "y"),
        ];
        assert_eq!(name("containerd", &names).as_deref(), Some("web"));
    }

    #[test]
    fn what_is_damaged_or_not_there_is_no_name() {
        for runtime in ["docker", "containerd", "cri-o", "podman", "lxc"] {
            assert_eq!(known(runtime, &[]), None, "{runtime}");
            assert_eq!(name(runtime, &[(DOCKER, "{nonsense"), (CRIO, "[]")]), None, "{runtime}");
        }
    }
}
