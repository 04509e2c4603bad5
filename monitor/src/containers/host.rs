//! Every container of a machine, and the machine itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::names::{self, Known};
use super::runtime::{self, Marks};
use super::tree::{self, Directory};
use super::{Roots, controllers, mounts};
use crate::snapshot::{CgroupId, Identity, Place, Scope, Snapshot, Status};
use crate::sources::{Source, SourceError};

/// After so many readings a name is final that the first process has not given: at first that is the runtime's own, which
/// has not become the container's yet.
const PATIENCE: u32 = 10;

/// The first source of scope `host`: it walks the tree and makes the entries that the others fill.
#[derive(Debug)]
pub struct HostContainers {
    roots: Roots,
    host: PathBuf,
    trees: Trees,
    hostname: String,
    containers: BTreeMap<CgroupId, Container>,
}

/// Where the hierarchies are mounted.
#[derive(Clone, Debug, Default)]
struct Trees {
    v2: Option<PathBuf>,
    v1: BTreeMap<String, PathBuf>,
}

impl Trees {
    fn find(roots: &Roots) -> Self {
        let mounts: Vec<_> = mounts(roots).into_iter().filter(|mount| mount.root == Path::new("/")).collect();
        let v1 = controllers().filter_map(|controller| {
            let mount = mounts.iter().find(|mount| mount.has_controller(controller))?;
            Some((controller.to_owned(), mount.point.clone()))
        });
        Self { v2: mounts.iter().find(|mount| mount.is_v2()).map(|mount| mount.point.clone()), v1: v1.collect() }
    }

    /// The tree whose directories are the containers: v2, else the v1 hierarchy of memory, else any.
    fn walked(&self) -> Option<&Path> {
        self.v2.as_deref().or_else(|| self.v1.get("memory").or_else(|| self.v1.values().next()).map(PathBuf::as_path))
    }

    /// The files of one cgroup, in all trees in which it is.
    fn identity(&self, path: &Path) -> Identity {
        let v1 = self.v1.iter().map(|(controller, tree)| (controller.clone(), tree.join(path)));
        Identity {
            path: format!("/{}", path.display()),
            v2: self.v2.as_ref().map(|tree| tree.join(path)),
            v2_level: path.components().count(),
            v1: v1.filter(|(_, dir)| dir.is_dir()).collect(),
            ..Identity::default()
        }
    }
}

/// Containers that are gone, as they were known.
type Ended = Vec<(CgroupId, Arc<Identity>)>;

/// A container that was found.
#[derive(Debug)]
struct Container {
    identity: Arc<Identity>,
    /// How often its name was looked up.
    looks: u32,
}

impl HostContainers {
    /// Watches the machine whose root is seen at `host`.
    pub fn new(roots: &Roots, host: &Path) -> Self {
        let hostname = fs::read_to_string(roots.proc.join("sys/kernel/hostname")).unwrap_or_default().trim().to_owned();
        Self {
            roots: roots.clone(),
            host: host.to_owned(),
            trees: Trees::find(roots),
            hostname,
            containers: BTreeMap::new(),
        }
    }

    /// The directory of the v2 tree below which everything is.
    pub fn root(&self) -> Option<PathBuf> {
        self.trees.v2.clone()
    }

    fn walk(&self) -> io::Result<Vec<Directory>> {
        let tree =
            self.trees.walked().ok_or_else(|| io::Error::other("no cgroup tree is mounted; is this the host?"))?;
        tree::walk(tree)
    }

    /// The containers of a walk, each cgroup's place among them, and what has ended since the walk before.
    fn sort(&mut self, directories: &[Directory]) -> (BTreeMap<CgroupId, Place>, Ended) {
        let mut places: BTreeMap<CgroupId, Place> = BTreeMap::new();
        let mut there = BTreeSet::new();
        for (at, directory) in directories.iter().enumerate() {
            let path = format!("/{}", directory.path.display());
            let marks = runtime::container(&path);
            let outer = places.get(&directory.parent).map(|place| place.owner);
            let is_own = at == 0 || marks.is_some();
            let owner = outer.filter(|_| !is_own).unwrap_or(directory.id);
            places.insert(directory.id, Place { owner, outer: if is_own { outer } else { None } });
            if is_own {
                there.insert(directory.id);
                self.meet(directory, marks);
            }
        }
        let gone: Vec<CgroupId> = self.containers.keys().filter(|id| !there.contains(id)).copied().collect();
        let ended = gone.into_iter().filter_map(|id| Some((id, self.containers.remove(&id)?.identity))).collect();
        (places, ended)
    }

    /// Takes note of a container, and looks its name up until it is final.
    fn meet(&mut self, directory: &Directory, marks: Option<Marks>) {
        let looks = self.containers.get(&directory.id).map_or(0, |known| known.looks);
        if looks >= PATIENCE {
            return;
        }
        let mut identity = self.trees.identity(&directory.path);
        let Some(found) = &marks else {
            identity.is_root = true;
            identity.path = "/".to_owned();
            identity.name = self.unique(&self.hostname.clone(), directory.id, None);
            let container = Container { identity: Arc::new(identity), looks: PATIENCE };
            self.containers.insert(directory.id, container);
            return;
        };
        let first = first_process(&identity);
        let Known { name, is_own_name, image, labels } = names::look_up(found, first, &self.roots, &self.host);
        let fallback =
            found.name.clone().or_else(|| found.id.as_deref().map(short)).unwrap_or_else(|| identity.path.clone());
        identity.name = self.unique(&name.unwrap_or(fallback), directory.id, found.id.as_deref());
        identity.container_id.clone_from(&found.id);
        identity.runtime = Some(found.runtime.to_owned());
        (identity.image, identity.labels) = (image, labels);
        let looks = if is_own_name { PATIENCE } else { looks + 1 };
        self.containers.insert(directory.id, Container { identity: Arc::new(identity), looks });
    }

    /// The name, with the id behind it if another container has it already.
    fn unique(&self, name: &str, id: CgroupId, container_id: Option<&str>) -> String {
        let taken = self.containers.iter().any(|(other, container)| *other != id && container.identity.name == name);
        if !taken {
            return name.to_owned();
        }
        let suffixed = format!("{name}-{}", container_id.map_or_else(|| id.0.to_string(), short));
        let known = self.containers.get(&id).is_some_and(|container| container.identity.name == suffixed);
        if !known {
            tracing::warn!("two containers are called {name}; the younger one is reported as {suffixed}");
        }
        suffixed
    }
}

/// The first twelve digits, as runtimes show their ids.
fn short(id: &str) -> String {
    id.chars().take(12).collect()
}

/// The process with the lowest number in a cgroup, which in a young container is the first one.
fn first_process(identity: &Identity) -> Option<u32> {
    let dirs = identity.v2.iter().chain(identity.v1.values());
    dirs.filter_map(|dir| fs::read_to_string(dir.join("cgroup.procs")).ok())
        .find_map(|text| text.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 0).min())
}

impl Source for HostContainers {
    fn name(&self) -> &'static str {
        "containers"
    }

    fn sample(&mut self, into: &mut Snapshot) -> Result<(), SourceError> {
        into.scope = Scope::Host;
        into.host.name.clone_from(&self.hostname);
        let directories = self.walk().map_err(|error| SourceError(error.to_string()))?;
        let (places, ended) = self.sort(&directories);
        into.places = places;
        for (id, container) in &self.containers {
            into.cgroups.entry(*id).or_default().identity = Arc::clone(&container.identity);
        }
        for (id, identity) in ended {
            let cgroup = into.cgroups.entry(id).or_default();
            (cgroup.identity, cgroup.status) = (identity, Status::Exited);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::snapshot::Stamp;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    /// A machine out of directories.
    struct Machine {
        dir: tempfile::TempDir,
        source: HostContainers,
    }

    impl Machine {
        fn new(dirs: &[String], files: &[(String, &str)]) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let write = |path: &str, text: &str| {
                let path = dir.path().join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            };
            write("cg/cgroup.procs", "");
            write("proc/sys/kernel/hostname", "machine\n");
            for path in dirs {
                write(&format!("cg/{path}/cgroup.procs"), "");
            }
            for (path, text) in files {
                write(path, text);
            }
            let roots =
                Roots { cgroup: Some(dir.path().join("cg")), proc: dir.path().join("proc"), ..Roots::default() };
            let source = HostContainers::new(&roots, dir.path());
            Self { dir, source }
        }

        fn sample(&mut self) -> Snapshot {
            let mut into = Snapshot::new(Stamp { mono: Duration::ZERO, wall: SystemTime::UNIX_EPOCH });
            self.source.sample(&mut into).unwrap();
            into
        }
    }

    fn names(snapshot: &Snapshot) -> Vec<(&str, &str)> {
        let mut names: Vec<_> =
            snapshot.cgroups.values().map(|cgroup| (cgroup.identity.name.as_str(), cgroup.status.as_str())).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn the_machine_and_its_containers_are_found_and_named() {
        let config = (format!("var/lib/docker/containers/{A}/config.v2.json"), r#"{"Name":"/web","Config":{}}"#);
        let mut machine = Machine::new(
            &[format!("docker/{A}/inner"), format!("docker/{B}"), "system.slice/ssh.service".into()],
            &[config],
        );
        let snapshot = machine.sample();
        assert_eq!(names(&snapshot), [("bbbbbbbbbbbb", "running"), ("machine", "running"), ("web", "running")]);
        let web = snapshot.cgroups.iter().find(|(_, cgroup)| cgroup.identity.name == "web").unwrap();
        assert_eq!(web.1.identity.container_id.as_deref(), Some(A));
        let root = snapshot.cgroups.iter().find(|(_, cgroup)| cgroup.identity.is_root).unwrap().0;
        let owners: Vec<_> = snapshot.places.values().map(|place| place.owner).collect();
        assert_eq!(owners.iter().filter(|owner| *owner == web.0).count(), 2, "the container and what is in it");
        assert_eq!(snapshot.places[web.0].outer, Some(*root));
    }

    #[test]
    fn a_container_that_ends_is_reported_once_more() {
        let mut machine = Machine::new(&[format!("docker/{A}")], &[]);
        machine.sample();
        fs::remove_dir_all(machine.dir.path().join(format!("cg/docker/{A}"))).unwrap();
        assert_eq!(names(&machine.sample()), [("aaaaaaaaaaaa", "exited"), ("machine", "running")]);
        assert_eq!(names(&machine.sample()), [("machine", "running")]);
    }

    #[test]
    fn nested_containers_belong_to_the_inner_one_and_lie_in_the_outer() {
        let mut machine = Machine::new(&[format!("lxc.payload.box/docker/{A}/init")], &[]);
        let snapshot = machine.sample();
        let id = |name: &str| *snapshot.cgroups.iter().find(|(_, cgroup)| cgroup.identity.name == name).unwrap().0;
        let (inner, outer, root) = (id("aaaaaaaaaaaa"), id("box"), id("machine"));
        assert_eq!((snapshot.places[&inner].outer, snapshot.places[&outer].outer), (Some(outer), Some(root)));
    }

    #[test]
    fn the_name_comes_with_the_first_process_and_two_of_one_name_are_told_apart() {
        let environ = |pid: u32| (format!("proc/{pid}/environ"), "CONTAINER_NAME=api\0");
        let mut machine = Machine::new(&[format!("docker/{A}"), format!("docker/{B}")], &[environ(7), environ(8)]);
        assert_eq!(names(&machine.sample())[0].0, "aaaaaaaaaaaa");
        for (id, pid) in [(A, "7\n"), (B, "8\n")] {
            fs::write(machine.dir.path().join(format!("cg/docker/{id}/cgroup.procs")), pid).unwrap();
            machine.sample();
        }
        assert_eq!(
            names(&machine.sample()),
            [("api", "running"), ("api-bbbbbbbbbbbb", "running"), ("machine", "running")]
        );
    }
}
