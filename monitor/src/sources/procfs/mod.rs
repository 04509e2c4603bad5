//! Source for `/proc` (`Documentation/filesystems/proc.rst`): processes of a cgroup, network interfaces, the machine.

mod machine;

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::source::{Source, SourceError};
use crate::cause::{Cause, CauseKind};
use crate::containers::Roots;
use crate::containers::own::FIRST_PID_NAMESPACE;
use crate::metrics::{Metric, Origin, Rows};
use crate::proc_text::{self, Stat};
use crate::readings::{Interfaces, Machine, MachineMemory, Read, Tasks};
use crate::snapshot::{Cgroup, CgroupId, Coverage, Identity, Scope, Snapshot, Status};
use crate::sources::processes::{Process, Processes};

/// Samples after which a process' limit of descriptors is read again.
const LIMITS: u64 = 12;

/// Reads `/proc`.
#[derive(Debug)]
pub struct Procfs {
    roots: Roots,
    own_pid_namespace: bool,
    sizes: bool,
    ticks_per_second: u32,
    limits: HashMap<(u32, u64), (u64, u64)>,
    /// Cached directories that list the processes of each cgroup; finding one takes a dozen lookups.
    lists: HashMap<CgroupId, PathBuf>,
    readings: u64,
    rows: Feeds,
}

/// The rows that `/proc` feeds.
#[derive(Debug)]
struct Feeds {
    tasks: Rows<fn(&Tasks) -> Read>,
    interfaces: Rows<fn(&Interfaces) -> u64>,
    machine: Rows<fn(&Machine) -> Read>,
    root: Rows<fn(&MachineMemory) -> Read>,
}

impl Default for Feeds {
    fn default() -> Self {
        /// Returns the rows of one kind of origin.
        macro_rules! rows {
            ($kind:ident) => {
                Metric::fed_by(|origin| match origin {
                    Origin::$kind(pick) => Some(*pick),
                    _ => None,
                })
            };
        }
        Self { tasks: rows!(Tasks), interfaces: rows!(Interfaces), machine: rows!(Machine), root: rows!(Root) }
    }
}

impl Procfs {
    /// Detects the features of this kernel's `/proc`.
    pub fn new(roots: &Roots) -> Self {
        let own = roots.proc.join("self");
        Self {
            own_pid_namespace: fs::metadata(own.join("ns/pid")).is_ok_and(|ns| ns.ino() != FIRST_PID_NAMESPACE),
            // Since Linux 6.2 the size of the directory is the number of descriptors; before it is 0.
            sizes: fs::metadata(own.join("fd")).is_ok_and(|dir| dir.size() > 0),
            ticks_per_second: u32::try_from(rustix::param::clock_ticks_per_second()).unwrap_or(100).max(1),
            roots: roots.clone(),
            limits: HashMap::new(),
            lists: HashMap::new(),
            readings: 0,
            rows: Feeds::default(),
        }
    }

    /// Returns the processes of a cgroup: in a pid namespace of its own, and for the machine, the same as `ps`; else
    /// those listed in the cgroup's directory and its descendants. If no cgroup is known, the machine is watched.
    fn pids(&mut self, id: CgroupId, identity: &Identity, scope: Scope) -> Result<Vec<u32>, Cause> {
        let mut pids = BTreeSet::new();
        let has_directories = identity.v2.is_some() || !identity.v1.is_empty();
        let is_machine = scope == Scope::Host && identity.is_root;
        if self.own_pid_namespace || is_machine || !has_directories {
            let entries =
                fs::read_dir(&self.roots.proc).map_err(|error| Cause::io(self.roots.proc.display(), &error))?;
            pids.extend(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()));
        } else {
            // The processes of the machine must not be attributed to this cgroup.
            let known = self.lists.get(&id).filter(|dir| dir.join("cgroup.procs").exists()).cloned();
            let known = known.or_else(|| directory(identity).map(Path::to_owned));
            let dir = known.ok_or_else(|| Cause::new(CauseKind::Exited, "cgroup.procs: the cgroup has ended"))?;
            members(&dir, &mut pids).map_err(|error| Cause::io("cgroup.procs", &error))?;
            self.lists.insert(id, dir);
        }
        Ok(pids.into_iter().collect())
    }

    fn tasks(&mut self, id: CgroupId, cgroup: &mut Cgroup, scope: Scope, now: Duration) -> Tasks {
        if cgroup.status == Status::Exited {
            return no_tasks(&ended());
        }
        let pids = match self.pids(id, &cgroup.identity, scope) {
            Ok(pids) => pids,
            Err(cause) => return no_tasks(&cause),
        };
        let mut sum = if pids.is_empty() { Processes::none() } else { Processes::default() };
        for pid in pids {
            let dir = self.roots.proc.join(pid.to_string());
            // Processes that exited after they were listed are not counted, nor those outside the reader's pid
            // namespace, which are listed as 0.
            let Ok(text) = fs::read(dir.join("stat")) else { continue };
            match proc_text::stat(&text) {
                Some(stat) if stat.is_alive() => self.process(pid, &dir, stat, &mut sum),
                _ => {}
            }
        }
        cgroup.first_process = sum.first();
        sum.tasks(now)
    }

    /// Returns the interfaces of a container: its own, or those in the network namespace of its first process, unless
    /// that is the machine's, whose interfaces are shared.
    fn interfaces(&self, cgroup: &Cgroup, scope: Scope) -> Result<Interfaces, Cause> {
        let pid = match (scope, cgroup.identity.is_root, cgroup.first_process) {
            _ if cgroup.status == Status::Exited => return Err(ended()),
            (Scope::SelfContainer, ..) => "self".to_owned(),
            (Scope::Host, true, _) => "1".to_owned(),
            (Scope::Host, false, Some(pid)) => pid.to_string(),
            (Scope::Host, false, None) => {
                return Err(Cause::new(CauseKind::Denied, "no process of the container can be seen"));
            }
        };
        let namespace = |pid: &str| fs::metadata(self.roots.proc.join(pid).join("ns/net")).map(|ns| ns.ino()).ok();
        if scope == Scope::Host && !cgroup.identity.is_root && namespace(&pid) == namespace("1") {
            return Err(Cause::new(
                CauseKind::NotApplicable,
                "it shares the machine's network; only eBPF tells what is its own",
            ));
        }
        let text = fs::read(self.roots.proc.join(&pid).join("net/dev"))
            .map_err(|error| Cause::io(format_args!("/proc/{pid}/net/dev"), &error))?;
        proc_text::interfaces(&text)
            .ok_or_else(|| Cause::new(CauseKind::Invalid, format!("/proc/{pid}/net/dev is not a table of interfaces")))
    }

    fn process(&mut self, pid: u32, dir: &Path, stat: Stat, sum: &mut Processes) {
        let started = Duration::from_secs(stat.started) / self.ticks_per_second;
        sum.add(Process { pid, is_init: self.own_pid_namespace && pid == 1, started, threads: stat.threads });
        let open = match self.descriptors(dir) {
            Ok(open) => open,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => {
                let remedy = "run as the container's user, as root, or on Linux 6.2 or later";
                return sum
                    .refuse(|| Cause::new(CauseKind::of_error(&error), format!("/proc/{pid}/fd: {error}; {remedy}")));
            }
        };
        sum.add_descriptors(open, self.limit(pid, dir, stat.started));
    }

    fn descriptors(&self, dir: &Path) -> io::Result<u64> {
        if self.sizes {
            return fs::metadata(dir.join("fd")).map(|dir| dir.size());
        }
        Ok(fs::read_dir(dir.join("fd"))?.flatten().count() as u64)
    }

    fn limit(&mut self, pid: u32, dir: &Path, started: u64) -> Option<u64> {
        let now = self.readings;
        if let Some((limit, read)) = self.limits.get(&(pid, started))
            && now - read < LIMITS
        {
            return Some(*limit);
        }
        let limit = proc_text::descriptor_limit(&fs::read(dir.join("limits")).ok()?)?;
        self.limits.insert((pid, started), (limit, now));
        Some(limit)
    }
}

impl Source for Procfs {
    fn name(&self) -> &'static str {
        "procfs"
    }

    fn sample(&mut self, into: &mut Snapshot) -> Result<(), SourceError> {
        let now = into.taken.mono;
        let machine = machine::read(&self.roots);
        into.host.values.fill(&self.rows.machine, |pick| pick(&machine));
        self.lists.retain(|id, _| into.coverage == Coverage::Exited || into.cgroups.contains_key(id));
        for (id, cgroup) in &mut into.cgroups {
            if cgroup.values.want(&self.rows.tasks) {
                let tasks = self.tasks(*id, cgroup, into.scope, now);
                cgroup.values.fill(&self.rows.tasks, |pick| pick(&tasks));
            }
            if cgroup.values.want(&self.rows.interfaces) {
                let interfaces = self.interfaces(cgroup, into.scope);
                let of = |pick: &fn(&Interfaces) -> u64| interfaces.as_ref().map(pick).map_err(Cause::clone);
                cgroup.values.fill(&self.rows.interfaces, of);
            }
            if cgroup.identity.is_root {
                let memory = machine::memory(&self.roots);
                cgroup.values.fill(&self.rows.root, |pick| pick(&memory));
            }
        }
        self.readings += u64::from(into.coverage == Coverage::All);
        if self.readings.is_multiple_of(LIMITS) {
            let now = self.readings;
            self.limits.retain(|_, (_, read)| now - *read <= LIMITS);
        }
        Ok(())
    }
}

/// Cause of values that only living containers have, in the last report.
fn ended() -> Cause {
    Cause::new(CauseKind::Exited, "the container has ended")
}

fn no_tasks(cause: &Cause) -> Tasks {
    let none = || Err(cause.clone());
    Tasks { processes: none(), threads: none(), descriptors: none(), nearest_limit: none(), uptime: none() }
}

/// Returns the directory that lists the processes, in the tree where the container is deepest: on a hybrid host it can
/// be at the root of the others.
fn directory(identity: &Identity) -> Option<&Path> {
    identity
        .v2
        .iter()
        .chain(identity.v1.values())
        .map(PathBuf::as_path)
        .filter(|dir| dir.join("cgroup.procs").exists())
        .max_by_key(|dir| {
            let below = |tree: &Path| tree.join("cgroup.procs").exists();
            dir.ancestors().take_while(|dir| below(dir)).count()
        })
}

/// Returns the processes of a cgroup and its descendants. A directory that is removed meanwhile has none.
fn members(dir: &Path, pids: &mut BTreeSet<u32>) -> io::Result<()> {
    let vanished = |error: &io::Error| {
        error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error())
    };
    match fs::read_to_string(dir.join("cgroup.procs")) {
        Ok(text) => pids.extend(text.lines().filter_map(|line| line.parse::<u32>().ok())),
        Err(error) if vanished(&error) => return Ok(()),
        Err(error) => return Err(error),
    }
    // A cgroup directory has two links plus one per child directory.
    if fs::metadata(dir).is_ok_and(|found| found.nlink() == 2) {
        return Ok(());
    }
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if vanished(&error) => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            members(&entry.path(), pids)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
