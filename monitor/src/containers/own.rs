//! Container that the agent runs in.
//!
//! `/proc/self/cgroup` names its cgroup in each hierarchy; the mount table shows where it is visible. Both depend on
//! the cgroup namespace and on the runtime's mounts, so neither is enough alone
//! (`Documentation/admin-guide/cgroup-v2.rst`, "Namespace").

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use super::hierarchies::{cgroup_mounts, controllers, is_tree_root};
use super::mounts::{self, Mount};
use super::roots::Roots;
use super::runtime_path::{self, PathHint};
use crate::foreign;
use crate::snapshot::{CgroupId, Identity, Scope};

/// Longest `/proc/self/cgroup`: a path in each hierarchy.
const LONGEST: usize = 1 << 20;

/// Stands for a cgroup without a visible directory.
const NOWHERE: CgroupId = CgroupId(0);

/// The agent's own container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Own {
    /// Its cgroup.
    pub id: CgroupId,
    /// Its name, and the directories of its files.
    pub identity: Identity,
}

/// `PROC_PID_INIT_INO` of `include/linux/proc_ns.h`: the inode of the machine's first pid namespace.
pub const FIRST_PID_NAMESPACE: u64 = 0xEFFF_FFFC;

/// `PROC_CGROUP_INIT_INO`, likewise: of the machine's first cgroup namespace.
const FIRST_CGROUP_NAMESPACE: u64 = 0xEFFF_FFFB;

/// Returns the default scope: all containers in the machine's first namespaces, else the agent's own.
pub fn scope(roots: &Roots) -> Scope {
    let first = fs::metadata(roots.proc.join("self/ns/pid")).is_ok_and(|ns| ns.ino() == FIRST_PID_NAMESPACE);
    let in_container = find(roots, "").identity.runtime.is_some();
    if first && !in_container { Scope::Host } else { Scope::SelfContainer }
}

/// Finds the agent's own container. Unknown parts stay empty: the metrics that depend on them are absent with a cause.
pub fn find(roots: &Roots, name: &str) -> Own {
    let cgroups = foreign::read(&roots.proc.join("self/cgroup"), LONGEST).unwrap_or_default();
    let mounts = cgroup_mounts(roots);
    let own = parse(&cgroups).of_container(is_in_namespace(roots));
    let v2 = own.v2.as_deref().and_then(|path| directory(mounts.iter().filter(|mount| mount.is_v2()), path));
    let v1: BTreeMap<String, PathBuf> = controllers()
        .filter_map(|controller| {
            let path = own.v1.get(controller)?;
            let found = directory(mounts.iter().filter(|mount| mount.has_controller(controller)), path)?;
            Some((controller.to_owned(), found.path))
        })
        .collect();
    let path = own.deepest();
    // In a cgroup namespace the own path is `/`; the runtime's bind mounts still name the container.
    let hint = runtime_path::innermost(&path)
        .or_else(|| mounts.iter().find_map(|mount| runtime_path::innermost(mount.root.to_str()?)))
        .or_else(|| by_mounts(&roots.proc.join("self/mountinfo")));
    let dirs = || v2.iter().map(|found| (&found.path, true)).chain(v1.values().map(|dir| (dir, false)));
    let is_at_root = |(dir, is_v2): (&PathBuf, bool)| is_tree_root(dir, is_v2);
    // A container can be at the root of one tree and have a directory in another. Where nothing names a container, who
    // is at the root of the v2 tree is on the machine.
    let is_on_machine = hint.is_none() && v2.as_ref().is_some_and(|found| is_at_root((&found.path, true)));
    let is_root = is_on_machine || dirs().next().is_some() && dirs().all(is_at_root);
    let is_own = |dir: &(&PathBuf, bool)| is_root || !is_at_root(*dir);
    let id = dirs().filter(is_own).find_map(|(dir, _)| Some(CgroupId(fs::metadata(dir).ok()?.ino())));
    let id = id.unwrap_or(NOWHERE);
    Own {
        id,
        identity: Identity {
            name: name.to_owned(),
            container_id: hint.as_ref().and_then(|hint| hint.id.clone()),
            runtime: hint.map(|hint| hint.runtime.to_owned()),
            path,
            v2_level: v2.as_ref().map_or(0, |found| found.level),
            is_root,
            v2: v2.map(|found| found.path),
            v1,
            ..Identity::default()
        },
    }
}

/// True if the agent is in a cgroup namespace of its own.
fn is_in_namespace(roots: &Roots) -> bool {
    fs::metadata(roots.proc.join("self/ns/cgroup")).is_ok_and(|ns| ns.ino() != FIRST_CGROUP_NAMESPACE)
}

/// Returns what the first of the runtime's bind mounts reveals.
fn by_mounts(table: &Path) -> Option<PathHint> {
    let mut hint = None;
    mounts::lines(table, |line| {
        hint = runtime_path::by_mounts(&String::from_utf8_lossy(line));
        if hint.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    hint
}

/// `/proc/self/cgroup`: the path in the v2 hierarchy and, by controller, in the v1 hierarchies.
#[derive(Debug, Default, PartialEq, Eq)]
struct Paths {
    v2: Option<PathBuf>,
    v1: BTreeMap<String, PathBuf>,
}

impl Paths {
    /// Returns the paths of the container around these. The path names it; else it is the root of the cgroup namespace,
    /// if that is not the machine's. The agent's own cgroup may lie below it: of a service of the container's own
    /// systemd, or where an engine has moved all processes into a group.
    fn of_container(self, is_in_namespace: bool) -> Self {
        let around = |path: PathBuf| match runtime_path::innermost_path(&path.to_string_lossy()) {
            Some(container) => container.into(),
            None if is_in_namespace && !path.starts_with("/..") => "/".into(),
            None => path,
        };
        let v1 = self.v1.into_iter().map(|(controller, path)| (controller, around(path))).collect();
        Self { v2: self.v2.map(around), v1 }
    }

    /// Returns the path with the most components: on a hybrid host the hierarchies may differ, and the root identifies
    /// no container.
    fn deepest(&self) -> String {
        let deepest = self.v2.iter().chain(self.v1.values()).max_by_key(|path| path.components().count());
        deepest.map_or_else(|| "/".to_owned(), |path| path.to_string_lossy().into_owned())
    }
}

fn parse(text: &[u8]) -> Paths {
    let text = String::from_utf8_lossy(text);
    let mut paths = Paths::default();
    for line in text.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(id), Some(names), Some(path)) = (parts.next(), parts.next(), parts.next()) else { continue };
        if id == "0" && names.is_empty() {
            paths.v2 = Some(path.into());
        } else {
            paths.v1.extend(names.split(',').map(|name| (name.to_owned(), PathBuf::from(path))));
        }
    }
    paths
}

struct LocatedDirectory {
    path: PathBuf,
    /// Returns the number of visible directories above it in this mount.
    level: usize,
}

/// Returns the directory of a cgroup, through the mount that shows most of its ancestors.
///
/// In a cgroup namespace the path is relative to the namespace's root, and begins with `/..` for cgroups outside of it;
/// a mount that is older than the namespace still has the host's root. A path that fits no mount is the mount itself:
/// the runtime mounted the container's own cgroup.
fn directory<'a>(mounts: impl Iterator<Item = &'a Mount>, path: &Path) -> Option<LocatedDirectory> {
    let mounts: Vec<&Mount> = mounts.collect();
    let located = mounts.iter().filter_map(|mount| {
        let dir = mount.locate(path)?;
        let plain = !dir.components().any(|component| component == Component::ParentDir);
        (plain && dir.is_dir()).then(|| LocatedDirectory { level: levels(&mount.point, &dir), path: dir })
    });
    located.max_by_key(|found| found.level).or_else(|| {
        let point = &mounts.iter().find(|mount| mount.root != Path::new("/") || path.starts_with("/.."))?.point;
        point.is_dir().then(|| LocatedDirectory { path: point.clone(), level: 0 })
    })
}

fn levels(root: &Path, dir: &Path) -> usize {
    dir.strip_prefix(root).map_or(0, |below| below.components().count())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host made of plain files: `/proc/self/{cgroup,mountinfo}` and the directories.
    fn host(cgroup: &str, mountinfo: &str, dirs: &[&str]) -> (tempfile::TempDir, Roots) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir_all(root.join("proc/self")).unwrap();
        fs::write(root.join("proc/self/cgroup"), cgroup).unwrap();
        let device = rustix::fs::stat(root).unwrap().st_dev;
        let device = format!(" {}:{} ", rustix::fs::major(device), rustix::fs::minor(device));
        let mountinfo = mountinfo.replace(" 0:3 ", &device).replace("@", root.to_str().unwrap());
        fs::write(root.join("proc/self/mountinfo"), mountinfo).unwrap();
        for dir in dirs {
            fs::create_dir_all(root.join(dir)).unwrap();
            fs::write(root.join(dir).join("cgroup.procs"), "").unwrap();
        }
        let roots = Roots { proc: root.join("proc"), ..Roots::default() };
        (dir, roots)
    }

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn with_a_cgroup_namespace_the_mount_is_the_container() {
        let (dir, roots) = host("0::/\n", "1 2 0:3 / @/cg ro - cgroup2 cgroup rw\n", &["cg"]);
        let own = find(&roots, "web");
        assert_eq!(own.identity.v2, Some(dir.path().join("cg")));
        assert_eq!(own.id, CgroupId(fs::metadata(dir.path().join("cg")).unwrap().ino()));
        assert_eq!(own.identity.name, "web");
    }

    #[test]
    fn without_one_the_path_is_found_below_the_hosts_root() {
        let path = format!("system.slice/docker-{ID}.scope");
        let (dir, roots) =
            host(&format!("0::/{path}\n"), "1 2 0:3 / @/cg ro - cgroup2 cgroup rw\n", &[&format!("cg/{path}")]);
        let own = find(&roots, "web").identity;
        assert_eq!(own.v2, Some(dir.path().join("cg").join(&path)));
        assert_eq!((own.container_id.as_deref(), own.runtime.as_deref(), own.v2_level), (Some(ID), Some("docker"), 2));
    }

    #[test]
    fn v1_hierarchies_are_found_by_controller_through_the_runtimes_bind_mounts() {
        let table = format!(
            "1 2 0:3 /docker/{ID} @/memory ro - cgroup cgroup rw,memory\n3 4 0:3 /docker/{ID} @/cpu ro - cgroup cgroup rw,cpu,cpuacct\n"
        );
        let (dir, roots) = host(
            &format!("5:memory:/docker/{ID}\n4:cpu,cpuacct:/docker/{ID}\n1:name=systemd:/\n"),
            &table,
            &["memory", "cpu"],
        );
        let own = find(&roots, "web").identity;
        assert_eq!(own.v2, None);
        assert_eq!(own.v1["memory"], dir.path().join("memory"));
        assert_eq!((&own.v1["cpu"], &own.v1["cpuacct"]), (&dir.path().join("cpu"), &dir.path().join("cpu")));
    }

    #[test]
    fn a_hybrid_host_has_both_and_the_id_is_the_v2_one() {
        let table = "1 2 0:3 / @/unified rw - cgroup2 cgroup2 rw\n3 4 0:3 / @/memory rw - cgroup cgroup rw,memory\n";
        let (dir, roots) = host("4:memory:/docker/a\n0::/docker/a\n", table, &["unified/docker/a", "memory/docker/a"]);
        fs::write(dir.path().join("unified/docker/a/cgroup.events"), "").unwrap();
        let own = find(&roots, "web");
        assert_eq!(own.identity.v1["memory"], dir.path().join("memory/docker/a"));
        assert_eq!(own.id.0, fs::metadata(dir.path().join("unified/docker/a")).unwrap().ino());
    }

    #[test]
    fn a_path_from_outside_of_the_namespace_is_the_mount_itself() {
        let (dir, roots) = host("0::/../../a\n", "1 2 0:3 /../.. @/cg rw - cgroup2 cgroup rw\n", &["cg"]);
        assert_eq!(find(&roots, "web").identity.v2, Some(dir.path().join("cg")));
    }

    #[test]
    fn without_proc_there_is_a_container_without_directories() {
        let roots = Roots { proc: "/nonexistent".into(), ..Roots::default() };
        let own = find(&roots, "web");
        assert_eq!((own.id, own.identity.v2, own.identity.name.as_str()), (NOWHERE, None, "web"));
    }

    #[test]
    fn a_given_root_replaces_the_mount_table() {
        let (dir, roots) = host("0::/a\n5:memory:/a\n", "", &["given/unified/a", "given/memory/a"]);
        fs::write(dir.path().join("given/unified/cgroup.procs"), "").unwrap();
        let own = find(&Roots { cgroup: Some(dir.path().join("given")), ..roots }, "web").identity;
        assert_eq!(own.v2, Some(dir.path().join("given/unified/a")));
        assert_eq!(own.v1["memory"], dir.path().join("given/memory/a"));
    }

    #[test]
    fn in_a_cgroup_namespace_the_container_is_its_root_wherever_the_agent_is_below_it() {
        let (dir, roots) = host("0::/init\n", "1 2 0:3 / @/cg ro - cgroup2 cgroup rw\n", &["cg", "cg/init"]);
        assert_eq!(
            find(&roots, "web").identity.v2,
            Some(dir.path().join("cg/init")),
            "of no namespace nothing is known"
        );
        fs::create_dir(dir.path().join("proc/self/ns")).unwrap();
        fs::write(dir.path().join("proc/self/ns/cgroup"), "").unwrap();
        let own = find(&roots, "web").identity;
        assert_eq!((own.v2, own.path.as_str()), (Some(dir.path().join("cg")), "/"));
    }

    #[test]
    fn in_the_machines_namespace_the_path_names_the_container_around_the_agent() {
        let path = format!("docker/{ID}");
        let (dir, roots) = host(
            &format!("0::/{path}/system.slice/monitor.service\n"),
            "1 2 0:3 / @/cg ro - cgroup2 cgroup rw\n",
            &[&format!("cg/{path}/system.slice/monitor.service")],
        );
        let own = find(&roots, "web").identity;
        assert_eq!((own.v2, own.path), (Some(dir.path().join("cg").join(&path)), format!("/{path}")));
    }

    #[test]
    fn at_the_root_of_one_tree_the_container_is_what_the_others_say() {
        let table = "1 2 0:3 / @/unified rw - cgroup2 cgroup2 rw\n3 4 0:3 / @/memory rw - cgroup cgroup rw,memory\n";
        let path = format!("docker/{ID}");
        let (dir, roots) = host(&format!("4:memory:/{path}\n0::/\n"), table, &["unified", &format!("memory/{path}")]);
        let own = find(&roots, "web");
        assert!(!own.identity.is_root);
        assert_eq!(own.id.0, fs::metadata(dir.path().join("memory").join(&path)).unwrap().ino());
        fs::write(dir.path().join("memory").join(&path).join("release_agent"), "").unwrap();
        assert!(find(&roots, "web").identity.is_root, "the root of every tree");
        let (_dir, roots) = host("4:memory:/jobs/a\n0::/\n", table, &["unified", "memory/jobs/a"]);
        assert!(find(&roots, "web").identity.is_root, "nothing names a container");
    }

    #[test]
    fn a_mount_that_another_one_hides_is_not_looked_at() {
        let table = "1 2 0:3 / @/cg rw - cgroup2 cgroup2 rw\n3 1 0:3 / @/cg rw - tmpfs tmpfs rw\n";
        let (dir, roots) = host("0::/\n", table, &["cg", "new"]);
        assert_eq!(find(&roots, "web").identity.v2, None);
        // The directory above it shows another filesystem.
        let table = format!("1 2 9:9 / {0}/cg rw - cgroup2 cgroup2 rw\n", dir.path().display());
        fs::write(dir.path().join("proc/self/mountinfo"), table).unwrap();
        assert_eq!(find(&roots, "web").identity.v2, None);
    }
}
