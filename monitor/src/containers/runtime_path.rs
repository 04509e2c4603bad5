//! Containers by the cgroup paths that runtimes give them. Pure.
//!
//! Each runtime uses one of two drivers: plain directories (`cgroupfs`), or systemd's scopes with the id in the name.
//! An administrator can choose the parent directory, so the name alone decides; the parent only helps to tell the
//! runtime.

/// A runtime that the path does not name: the one whose files know the id.
pub const OCI: &str = "oci";

/// The facts about a container that its path reveals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathHint {
    /// `docker`, `containerd`, `cri-o`, `podman`, `lxc`, `libvirt-lxc`, `systemd-nspawn`; [`OCI`] where the path does
    /// not tell which; `systemd` for a unit, `cgroup` for any other.
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
    let (above, name) = path.trim_end_matches('/').rsplit_once('/')?;
    by_id(name, above).or_else(|| by_name(name, above))
}

/// Recognizes the path of a service or a scope of systemd.
pub fn unit(path: &str) -> Option<PathHint> {
    let name = path.rsplit('/').next()?;
    let is_unit = [".service", ".scope"].iter().any(|suffix| name.ends_with(suffix));
    is_unit.then(|| PathHint::with_name("systemd", name)).flatten()
}

/// Finds the innermost container that contains a path: for an agent that knows only its own path.
pub fn innermost(path: &str) -> Option<PathHint> {
    container(innermost_path(path)?)
}

/// Returns the path of the innermost container that contains a path.
pub fn innermost_path(path: &str) -> Option<&str> {
    let mut path = path.trim_end_matches('/');
    while container(path).is_none() {
        path = &path[..path.rfind('/')?];
    }
    Some(path)
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

/// Recognizes a container by its id: 64 hexadecimal digits at the end of the name, alone or after a separator.
fn by_id(name: &str, above: &str) -> Option<PathHint> {
    let name = name.strip_suffix(".scope").unwrap_or(name);
    let (prefix, id) = name.split_at_checked(name.len().checked_sub(ID_LENGTH)?)?;
    let parent = above.rsplit('/').next().unwrap_or_default();
    let separated = prefix.is_empty() || prefix.ends_with(['-', ':', '.', '_']);
    // Monitors of containers, pods of Podman, and the second group that Kata and crun give a container.
    let is_other = prefix.ends_with("conmon-")
        || prefix.ends_with("libpod_pod_")
        || prefix.is_empty() && ["libpod_parent", "kata_overhead"].contains(&parent)
        || above.contains(id);
    if !separated || is_other {
        return None;
    }
    PathHint::with_id(runtime(prefix, parent, above), id)
}

/// Returns the runtime of a name with an id behind `prefix`.
fn runtime(prefix: &str, parent: &str, above: &str) -> &'static str {
    let word = prefix.trim_end_matches(['-', ':', '.', '_']).rsplit(':').next().unwrap_or_default();
    match (word, parent) {
        ("docker", _) | ("", "docker") => "docker",
        ("libpod" | "libpod-payload", _) => "podman",
        ("crio", _) => "cri-o",
        // containerd's namespaces: the first is nerdctl's; Docker's `moby` and Kubernetes' are found by their files.
        ("cri-containerd" | "nerdctl", _) | ("", "default" | "moby") => "containerd",
        _ if above.contains("/kubepods") => "containerd",
        _ => OCI,
    }
}

/// Recognizes a container by a name that an administrator chose: of LXC, or of systemd's machines.
fn by_name(name: &str, above: &str) -> Option<PathHint> {
    if let Some(name) = name.strip_prefix("lxc.payload.") {
        return PathHint::with_name("lxc", name);
    }
    let of = |prefix: &str, suffix: &str| name.strip_prefix(prefix)?.strip_suffix(suffix);
    if let Some(name) = of("systemd-nspawn@", ".service") {
        return PathHint::with_name("systemd-nspawn", name);
    }
    if let Some(name) = of("machine-", ".scope") {
        return machine(name);
    }
    match above.rsplit('/').next()? {
        "lxc" if !name.starts_with("lxc.") => PathHint::with_name("lxc", name),
        "lxc.payload" => PathHint::with_name("lxc", name),
        _ => None,
    }
}

/// Recognizes a machine that is registered with systemd. libvirt calls its own `DRIVER-NUMBER-NAME`, and only those of
/// its driver `lxc` are containers.
fn machine(name: &str) -> Option<PathHint> {
    let plain = unescape(name);
    let mut parts = plain.splitn(3, '-');
    let (driver, number, own) = (parts.next()?, parts.next(), parts.next());
    let is_number = number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()));
    match (driver, own.filter(|_| is_number)) {
        ("lxc", Some(own)) => Some(PathHint { runtime: "libvirt-lxc", id: None, name: Some(own.to_owned()) }),
        ("qemu" | "ch" | "bhyve" | "xen" | "vz", Some(_)) => None,
        _ => PathHint::with_name("systemd-nspawn", name),
    }
}

/// The length of the ids of all runtimes.
const ID_LENGTH: usize = 64;

/// True for hexadecimal digits in the length of an id.
fn is_id(text: &str) -> bool {
    text.len() == ID_LENGTH && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Decodes systemd's escapes of unit names, such as `\x2d`. What is not UTF-8 then, or holds control characters, stays
/// escaped.
fn unescape(name: &str) -> String {
    let mut plain = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escaped = rest.get(..4).and_then(|escape| escape.strip_prefix(b"\\x"));
        let byte = escaped.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        (rest, _) = match byte {
            Some(byte) => (&rest[4..], plain.push(byte)),
            None => (tail, plain.push(first)),
        };
    }
    let plain = String::from_utf8(plain).ok().filter(|plain| !plain.contains(char::is_control));
    plain.unwrap_or_else(|| name.to_owned())
}

#[cfg(test)]
mod tests;
