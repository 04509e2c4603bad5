//! What a container is called, and what is known of it besides: from the environment of its first process, and from the
//! files that its runtime keeps. No socket is asked.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;

use super::Roots;
use super::runtime::Marks;

/// No state file of a runtime is longer.
const LONGEST: u64 = 4 << 20;

/// What is known of a container besides its path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Its name.
    pub name: Option<String>,
    /// Whether the container itself gave the name, so that no better one will come.
    pub is_own_name: bool,
    /// Its image.
    pub image: Option<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// Looks a container up. `first` is its first process, if it has one already; `host` is where the machine's root is seen.
pub fn look_up(marks: &Marks, first: Option<u32>, roots: &Roots, host: &Path) -> Known {
    let mut known = match (marks.runtime, &marks.id) {
        ("docker" | "containerd", Some(id)) => docker(host, id).or_else(|| kubernetes(host, id)),
        ("cri-o", Some(id)) => kubernetes(host, id),
        ("podman", Some(id)) => podman(host, id),
        _ => None,
    }
    .unwrap_or_default();
    // The names of the agents that ran inside carry over.
    if let Some(name) = first.and_then(|pid| from_environment(&roots.proc, pid)) {
        (known.name, known.is_own_name) = (Some(name), true);
    }
    known
}

/// `CONTAINER_NAME` in the environment of a process.
fn from_environment(proc: &Path, pid: u32) -> Option<String> {
    let text = fs::read(proc.join(pid.to_string()).join("environ")).ok()?;
    let value = text.split(|&byte| byte == 0).find_map(|pair| pair.strip_prefix(b"CONTAINER_NAME="))?;
    (!value.is_empty()).then(|| String::from_utf8_lossy(value).into_owned())
}

fn read(path: &Path) -> Option<Vec<u8>> {
    let found = fs::metadata(path).ok()?;
    (found.is_file() && found.len() <= LONGEST).then(|| fs::read(path).ok()).flatten()
}

/// `config.v2.json` of the Docker engine.
fn docker(host: &Path, id: &str) -> Option<Known> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Container {
        name: String,
        config: Config,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Config {
        image: Option<String>,
        labels: Option<BTreeMap<String, String>>,
    }
    let text = read(&host.join("var/lib/docker/containers").join(id).join("config.v2.json"))?;
    let container: Container = serde_json::from_slice(&text).ok()?;
    Some(Known {
        name: Some(container.name.trim_start_matches('/').to_owned()).filter(|name| !name.is_empty()),
        is_own_name: false,
        image: container.config.image,
        labels: container.config.labels.unwrap_or_default(),
    })
}

/// The list that Podman keeps beside its images, for root and for each user.
fn podman(host: &Path, id: &str) -> Option<Known> {
    #[derive(Deserialize)]
    struct Container {
        id: String,
        names: Option<Vec<String>>,
    }
    let users =
        fs::read_dir(host.join("home")).into_iter().flatten().flatten().map(|entry| entry.path().join(".local/share"));
    let stores = std::iter::once(host.join("var/lib")).chain(users);
    stores.map(|store| store.join("containers/storage/overlay-containers/containers.json")).find_map(|path| {
        let all: Vec<Container> = serde_json::from_slice(&read(&path)?).ok()?;
        let names = all.into_iter().find(|container| container.id == id)?.names?;
        Some(Known { name: names.into_iter().next(), ..Known::default() })
    })
}

/// The name of the log that the kubelet links for each container: `POD_NAMESPACE_CONTAINER-ID.log`.
fn kubernetes(host: &Path, id: &str) -> Option<Known> {
    let suffix = format!("-{id}.log");
    fs::read_dir(host.join("var/log/containers")).ok()?.flatten().find_map(|entry| {
        let name = entry.file_name();
        let mut parts = name.to_str()?.strip_suffix(&suffix)?.splitn(3, '_');
        let (pod, namespace, container) = (parts.next()?, parts.next()?, parts.next()?);
        let labels = [
            ("io.kubernetes.pod.name", pod),
            ("io.kubernetes.pod.namespace", namespace),
            ("io.kubernetes.container.name", container),
        ];
        Some(Known {
            name: Some(format!("{namespace}/{pod}/{container}")),
            is_own_name: false,
            image: None,
            labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn known(runtime: &'static str, files: &[(&str, &[u8])], first: Option<u32>) -> Known {
        let dir = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = dir.path().join(path.replace("ID", ID));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let marks = Marks { runtime, id: Some(ID.to_owned()), name: None };
        let roots = Roots { proc: dir.path().join("proc"), ..Roots::default() };
        look_up(&marks, first, &roots, dir.path())
    }

    const CONFIG: (&str, &[u8]) = (
        "var/lib/docker/containers/ID/config.v2.json",
        br#"{"Name":"/web","Config":{"Image":"nginx:1","Labels":{"tier":"front"},"Env":[]},"State":{}}"#,
    );

    #[test]
    fn dockers_name_image_and_labels_are_found() {
        let known = known("docker", &[CONFIG], None);
        assert_eq!((known.name.as_deref(), known.image.as_deref()), (Some("web"), Some("nginx:1")));
        assert_eq!(known.labels["tier"], "front");
    }

    #[test]
    fn the_environment_of_the_first_process_comes_before_the_runtime() {
        let environ: (&str, &[u8]) = ("proc/7/environ", b"PATH=/bin\0CONTAINER_NAME=sirius-api\0HOME=/\0");
        let known = known("docker", &[CONFIG, environ], Some(7));
        assert_eq!((known.name.as_deref(), known.image.as_deref()), (Some("sirius-api"), Some("nginx:1")));
    }

    #[test]
    fn podmans_and_kubernetes_names_are_found() {
        let list = format!(r#"[{{"id":"other","names":["x"]}},{{"id":"{ID}","names":["db"]}}]"#);
        let rootless = "home/me/.local/share/containers/storage/overlay-containers/containers.json";
        assert_eq!(known("podman", &[(rootless, list.as_bytes())], None).name.as_deref(), Some("db"));
        let log = known("containerd", &[("var/log/containers/pod-1_prod_app-ID.log", b"")], None);
        assert_eq!(log.name.as_deref(), Some("prod/pod-1/app"));
        assert_eq!(log.labels["io.kubernetes.pod.namespace"], "prod");
    }

    #[test]
    fn what_is_damaged_or_not_there_is_no_name() {
        assert_eq!(known("docker", &[(CONFIG.0, b"{nonsense")], Some(7)), Known::default());
        assert_eq!(known("podman", &[], None), Known::default());
        assert_eq!(known("lxc", &[CONFIG], None), Known::default());
    }
}
