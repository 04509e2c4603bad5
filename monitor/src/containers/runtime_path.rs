//! Containers by the cgroup paths that runtimes give them. Pure.
//!
//! Each runtime uses one of two drivers: plain directories (`cgroupfs`), or systemd's scopes and services with the id
//! in the name.

/// The facts about a container that its path reveals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathHint {
    /// `docker`, `containerd`, `cri-o`, `podman`, `lxc`, `systemd-nspawn`; `systemd` for a unit, `cgroup` for any other.
    pub runtime: &'static str,
    /// The runtime's container id, if it has one.
    pub id: Option<String>,
    /// The name that the path itself contains, if any.
    pub name: Option<String>,
}

impl PathHint {
    fn with_id(runtime: &'static str, id: &str) -> Option<Self> {
        is_id(id).then(|| Self { runtime, id: Some(id.to_owned()), name: None })
    }

    /// The hint of a cgroup that no runtime created.
    pub fn other() -> Self {
        Self { runtime: "cgroup", id: None, name: None }
    }

    fn with_name(runtime: &'static str, name: &str) -> Option<Self> {
        (!name.is_empty()).then(|| Self { runtime, id: None, name: Some(unescape(name)) })
    }
}

/// Recognizes a path whose last component is a container's own cgroup.
pub fn container(path: &str) -> Option<PathHint> {
    let mut components = path.rsplit('/').filter(|component| !component.is_empty());
    let name = components.next()?;
    let parent = components.next().unwrap_or_default();
    scope(name).or_else(|| plain(name, parent, path))
}

/// Recognizes the path of a service or a scope of systemd.
pub fn unit(path: &str) -> Option<PathHint> {
    let name = path.rsplit('/').next()?;
    let is_unit = [".service", ".scope"].iter().any(|suffix| name.ends_with(suffix));
    is_unit.then(|| PathHint::with_name("systemd", name)).flatten()
}

/// Finds the innermost container that contains a path: for an agent that knows only its own path.
pub fn innermost(path: &str) -> Option<PathHint> {
    let mut path = path.trim_end_matches('/');
    loop {
        if let Some(hint) = container(path) {
            return Some(hint);
        }
        path = &path[..path.rfind('/')?];
    }
}

/// Finds the container whose files (`hostname`, `resolv.conf`) the runtime has mounted into this mount namespace: for
/// an agent in a cgroup namespace, where its own path is `/`.
pub fn by_mounts(table: &str) -> Option<PathHint> {
    let words: Vec<&str> = table.split(['/', ' ', '\n']).collect();
    words.windows(2).find_map(|pair| match pair[0] {
        "containers" => PathHint::with_id("docker", pair[1]),
        "overlay-containers" => PathHint::with_id("podman", pair[1]),
        _ => None,
    })
}

/// Recognizes a systemd unit: `docker-ID.scope`, `libpod-ID.scope`, …
fn scope(name: &str) -> Option<PathHint> {
    let of = |prefix: &str, suffix: &str| name.strip_prefix(prefix)?.strip_suffix(suffix);
    [
        ("docker-", "docker"),
        ("cri-containerd-", "containerd"),
        ("nerdctl-", "containerd"),
        ("crio-", "cri-o"),
        ("libpod-", "podman"),
    ]
    .iter()
    .find_map(|(prefix, runtime)| PathHint::with_id(runtime, of(prefix, ".scope")?))
    .or_else(|| PathHint::with_name("systemd-nspawn", of("systemd-nspawn@", ".service")?))
    .or_else(|| PathHint::with_name("systemd-nspawn", of("machine-", ".scope")?))
}

/// Recognizes a plain directory.
fn plain(name: &str, parent: &str, path: &str) -> Option<PathHint> {
    if let Some(id) = name.strip_prefix("libpod-") {
        return PathHint::with_id("podman", id);
    }
    if let Some(id) = name.strip_prefix("crio-") {
        return PathHint::with_id("cri-o", id);
    }
    if let Some(name) = name.strip_prefix("lxc.payload.") {
        return PathHint::with_name("lxc", name);
    }
    match parent {
        "lxc" if !name.starts_with("lxc.") => PathHint::with_name("lxc", name),
        "docker" => PathHint::with_id("docker", name),
        // containerd's namespaces: the first is nerdctl's; Docker's `moby` and Kubernetes' are recognized by their
        // paths.
        "default" | "moby" => PathHint::with_id("containerd", name),
        _ if path.contains("/kubepods") => PathHint::with_id("containerd", name),
        _ => None,
    }
}

/// True for sixty-four hexadecimal digits, the form of all runtimes' ids.
fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Decodes systemd's escapes of unit names, such as `\x2d`.
fn unescape(name: &str) -> String {
    let mut parts = name.split("\\x");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok()).filter(u8::is_ascii_graphic) {
            Some(byte) => {
                plain.push(char::from(byte));
                plain.push_str(&part[2..]);
            }
            None => {
                plain.push_str("\\x");
                plain.push_str(part);
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn told(path: &str) -> Option<(&'static str, Option<String>)> {
        container(&path.replace("ID", ID)).map(|hint| (hint.runtime, hint.id.map(|_| "ID".to_owned()).or(hint.name)))
    }

    #[test]
    fn every_runtimes_containers_are_told_in_both_ways_of_writing_them() {
        let id = || Some("ID".to_owned());
        for (path, runtime) in [
            ("/docker/ID", "docker"),
            ("/system.slice/docker-ID.scope", "docker"),
            ("/user.slice/user-1000.slice/user@1000.service/user.slice/docker-ID.scope", "docker"),
            ("/default/ID", "containerd"),
            ("/system.slice/nerdctl-ID.scope", "containerd"),
            ("/kubepods/besteffort/pod12/ID", "containerd"),
            ("/kubepods/pod12/ID", "containerd"),
            (
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod12.slice/cri-containerd-ID.scope",
                "containerd",
            ),
            ("/kubepods.slice/kubepods-pod12.slice/crio-ID.scope", "cri-o"),
            ("/kubepods/burstable/pod12/crio-ID", "cri-o"),
            ("/machine.slice/libpod-ID.scope", "podman"),
            ("/libpod_parent/libpod-ID", "podman"),
            ("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope", "podman"),
        ] {
            assert_eq!(told(path), Some((runtime, id())), "{path}");
        }
        for (path, runtime, name) in [
            ("/lxc.payload.web", "lxc", "web"),
            ("/lxc.payload.project_web", "lxc", "project_web"),
            ("/lxc/web", "lxc", "web"),
            ("/machine.slice/systemd-nspawn@my\\x2dbox.service", "systemd-nspawn", "my-box"),
            ("/machine.slice/machine-box.scope", "systemd-nspawn", "box"),
        ] {
            assert_eq!(told(path), Some((runtime, Some(name.to_owned()))), "{path}");
        }
    }

    #[test]
    fn what_stands_beside_or_around_a_container_is_none() {
        for path in [
            "/",
            "",
            "/docker",
            "/docker/buildkit",
            "/system.slice/docker.service",
            "/system.slice/docker-ID.mount",
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod12.slice",
            "/kubepods/besteffort/pod12",
            "/machine.slice/libpod-conmon-ID.scope",
            "/system.slice/crio-conmon-ID.scope",
            "/machine.slice/libpod-ID.scope/container",
            "/lxc.monitor.web",
            "/lxc/lxc.monitor",
            "/user.slice/user-1000.slice/session-2.scope",
        ] {
            assert_eq!(told(path), None, "{path}");
        }
    }

    #[test]
    fn the_innermost_container_of_a_deeper_path_is_found() {
        let of = |path: &str| innermost(&path.replace("ID", ID)).map(|hint| hint.runtime);
        assert_eq!(of("/machine.slice/libpod-ID.scope/container"), Some("podman"));
        assert_eq!(of("/lxc.payload.box/docker/ID/init"), Some("docker"));
        assert_eq!(of("/system.slice/ssh.service"), None);
        assert_eq!(of("/"), None);
    }

    #[test]
    fn in_a_cgroup_namespace_the_runtimes_mounts_name_the_container() {
        let table = format!("7 6 8:1 /var/lib/docker/containers/{ID}/hostname /etc/hostname rw - ext4 /dev/vda rw\n");
        assert_eq!(by_mounts(&table).unwrap().runtime, "docker");
        let table =
            format!("7 6 0:9 /containers/storage/overlay-containers/{ID}/userdata/hosts /etc/hosts rw - tmpfs t rw\n");
        assert_eq!(by_mounts(&table).unwrap().runtime, "podman");
        assert_eq!(by_mounts("1 2 0:3 / / rw - ext4 /dev/vda rw\n"), None);
    }

    proptest! {
        #[test]
        fn any_path_is_told(path in ".*") {
            let _total = (container(&path), innermost(&path));
        }
    }
}
