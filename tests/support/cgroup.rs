//! Control groups of a test's own, in every tree that this machine has mounted.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use monitor::containers::mounts::{self, Mount};
use monitor::containers::own::Own;
use monitor::snapshot::{CgroupId, Identity};

use crate::eventually;

/// A group of one name in all trees; removed with everything in it when dropped.
pub struct Group {
    dirs: Vec<(Mount, PathBuf)>,
}

impl Group {
    /// Makes the group. `None` if this process may not.
    pub fn new(name: &str) -> Option<Self> {
        Self::at(&format!("system-monitor-{name}-{}", std::process::id()))
    }

    /// Makes a group that the agent of a machine takes for the container `name`. `None` if this process may not.
    pub fn container(name: &str) -> Option<Self> {
        Self::at(&format!("lxc.payload.{name}"))
    }

    /// Makes a group where Docker would make that of a container; returns it with the container's id. `None` if this
    /// process may not.
    pub fn docker() -> Option<(Self, String)> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let made = MADE.fetch_add(1, Ordering::SeqCst);
        let id = format!("{:08x}{made:04x}{:052x}", std::process::id(), 0);
        Some((Self::at(&format!("docker/{id}"))?, id))
    }

    /// Makes the slice that systemd would give to a user. `None` if this process may not.
    pub fn of_user(user: u32) -> Option<Self> {
        Self::at(&format!("user.slice/user-{user}.slice"))
    }

    /// Makes the group of a path.
    fn at(path: &str) -> Option<Self> {
        let table = fs::read("/proc/self/mountinfo").unwrap();
        let mut group = Self { dirs: Vec::new() };
        for mount in mounts::parse(&table)
            .into_iter()
            .filter(|mount| mount.kind.starts_with("cgroup") && mount.root == Path::new("/"))
        {
            if mount.is_v2() {
                enable_controllers(&mount.point);
            }
            let dir = mount.point.join(path);
            for outer in Path::new(path).ancestors().skip(1).filter(|outer| !outer.as_os_str().is_empty()) {
                let outer = mount.point.join(outer);
                if fs::create_dir(&outer).is_ok() {
                    inherit_cpuset(&mount.point, &outer);
                }
                if mount.is_v2() {
                    enable_controllers(&outer);
                }
            }
            match fs::create_dir(&dir) {
                Ok(()) => {
                    inherit_cpuset(dir.parent().unwrap_or(&mount.point), &dir);
                    group.dirs.push((mount, dir));
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(_) => return None,
            }
        }
        (!group.dirs.is_empty()).then_some(group)
    }

    /// A group below this one in every tree.
    pub fn child(&self, name: &str) -> Self {
        let dirs = self.dirs.iter().map(|(mount, dir)| {
            // A v2 group with processes of its own cannot enable controllers for the groups below it.
            if mount.is_v2() && fs::read_to_string(dir.join("cgroup.procs")).is_ok_and(|members| members.is_empty()) {
                enable_controllers(dir);
            }
            let child = dir.join(name);
            fs::create_dir(&child).unwrap();
            inherit_cpuset(dir, &child);
            (mount.clone(), child)
        });
        Self { dirs: dirs.collect() }
    }

    /// A group below this one that an agent takes for a container of Docker's.
    pub fn numbered_container(&self, number: u64) -> Self {
        self.child(&format!("docker-{:08x}{number:04x}{:052x}.scope", std::process::id(), 0))
    }

    /// Starts a process in the group that does nothing, and ends with the group: an agent reports no container that has
    /// not had a process.
    pub fn occupy(&self) -> Child {
        let mut idle = Command::new("sleep");
        self.enter(idle.arg("infinity").env_remove("CONTAINER_NAME"));
        idle.spawn().unwrap()
    }

    /// Its directory in the tree of a v1 controller, or in the v2 tree if that has it.
    pub fn dir(&self, controller: &str) -> Option<&Path> {
        let v1 = self.dirs.iter().find(|(mount, _)| mount.has_controller(controller));
        v1.or_else(|| self.dirs.iter().find(|(mount, _)| mount.is_v2())).map(|(_, dir)| dir.as_path())
    }

    /// Its directory in the v2 tree.
    pub fn v2(&self) -> Option<&Path> {
        self.dirs.iter().find(|(mount, _)| mount.is_v2()).map(|(_, dir)| dir.as_path())
    }

    /// The group as a container for the library's sources.
    pub fn own(&self) -> Own {
        let v1 = self.dirs.iter().filter(|(mount, _)| !mount.is_v2());
        let v1 = v1.flat_map(|(mount, dir)| mount.options.iter().map(|option| (option.clone(), dir.clone())));
        let identity = Identity { v2: self.v2().map(Into::into), v1: v1.collect(), ..Identity::default() };
        // The kernel's programs know a group by its directory in the v2 tree.
        let dir = self.v2().unwrap_or(&self.dirs[0].1);
        Own { id: CgroupId(fs::metadata(dir).unwrap().ino()), identity }
    }

    /// Limits the number of tasks.
    pub fn limit_tasks(&self, most: u64) {
        fs::write(self.dir("pids").unwrap().join("pids.max"), most.to_string()).unwrap();
    }

    /// Limits the group to a part of a CPU, in thousandths. Its weight is the largest, so that it gets its whole quota
    /// even on a busy machine.
    pub fn limit_cpu(&self, thousandths: u64) {
        let dir = self.dir("cpu").unwrap();
        if dir.join("cpu.max").exists() {
            fs::write(dir.join("cpu.weight"), "10000").unwrap();
            fs::write(dir.join("cpu.max"), format!("{} 100000", thousandths * 100)).unwrap();
        } else {
            fs::write(dir.join("cpu.shares"), "262144").unwrap();
            fs::write(dir.join("cpu.cfs_period_us"), "100000").unwrap();
            fs::write(dir.join("cpu.cfs_quota_us"), (thousandths * 100).to_string()).unwrap();
        }
    }

    /// Limits the group's memory.
    pub fn limit_memory(&self, bytes: u64) {
        let dir = self.dir("memory").unwrap();
        let file = if dir.join("memory.max").exists() { "memory.max" } else { "memory.limit_in_bytes" };
        fs::write(dir.join(file), bytes.to_string()).unwrap();
    }

    /// Makes the kernel reclaim memory above a number of bytes: by `memory.high`, or by the limit where there is no such
    /// file.
    pub fn reclaim_above(&self, bytes: u64) {
        match self.dir("memory").unwrap().join("memory.high") {
            high if high.exists() => fs::write(high, bytes.to_string()).unwrap(),
            _ => self.limit_memory(bytes),
        }
    }

    /// The sum of keys in a file of the memory controller; `None` if one of them is not there.
    pub fn memory_file(&self, file: &str, keys: &[&str]) -> Option<u64> {
        let text = fs::read_to_string(self.dir("memory")?.join(file)).ok()?;
        let value = |key: &&str| text.lines().find_map(|line| line.strip_prefix(*key)?.strip_prefix(' '));
        keys.iter().map(|key| value(key)?.parse::<u64>().ok()).sum()
    }

    /// Number of OOM kills in the group, by the kernel's own counter.
    pub fn oom_kills(&self) -> u64 {
        let dir = self.dir("memory").unwrap();
        let text = fs::read_to_string(dir.join("memory.events"))
            .or_else(|_| fs::read_to_string(dir.join("memory.oom_control")))
            .unwrap();
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")).unwrap().parse().unwrap()
    }

    /// Freezes or thaws the group.
    pub fn freeze(&self, frozen: bool) {
        let dir = self.dir("freezer").unwrap();
        if dir.join("cgroup.freeze").exists() {
            fs::write(dir.join("cgroup.freeze"), if frozen { "1" } else { "0" }).unwrap();
        } else {
            fs::write(dir.join("freezer.state"), if frozen { "FROZEN" } else { "THAWED" }).unwrap();
        }
    }

    /// Makes a command start inside.
    pub fn enter(&self, command: &mut Command) {
        let files: Vec<PathBuf> = self.dirs.iter().map(|(_, dir)| dir.join("cgroup.procs")).collect();
        // SAFETY: between fork and exec only files are written; the allocations are those of the paths' conversion, in
        // a process that has one thread.
        unsafe {
            command.pre_exec(move || files.iter().try_for_each(|file| fs::write(file, "0")));
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for (_, dir) in &self.dirs {
            let gone = eventually(Duration::from_secs(5), || {
                kill_members(dir);
                matches!(fs::remove_dir(dir), Ok(())).then_some(())
            });
            if gone.is_none() {
                eprintln!("{} cannot be removed", dir.display());
            }
        }
    }
}

fn kill_members(dir: &Path) {
    let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    for pid in text.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 1) {
        // SAFETY: the processes are in a group that this test made.
        unsafe { libc::kill(pid, libc::SIGKILL) };
    }
}

/// A v1 cpuset is empty at first, and takes no process.
fn inherit_cpuset(parent: &Path, dir: &Path) {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if let (true, Ok(text)) = (dir.join("tasks").exists(), fs::read_to_string(parent.join(file))) {
            _ = fs::write(dir.join(file), text);
        }
    }
}

fn enable_controllers(dir: &Path) {
    for controller in ["cpu", "cpuset", "memory", "pids", "io"] {
        // Controllers that a v1 hierarchy has taken are missing here.
        _ = fs::write(dir.join("cgroup.subtree_control"), format!("+{controller}"));
    }
}
