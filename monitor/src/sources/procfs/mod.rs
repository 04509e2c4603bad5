//! Source for `/proc` (`Documentation/filesystems/proc.rst`): processes of a cgroup, network interfaces, the machine.

mod inside;
mod machine;
mod members;
mod network;

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use self::inside::Insides;
use self::members::Members;
use self::network::Traffic;
use super::source::{Source, SourceError};
use crate::cause::{Cause, CauseKind};
use crate::containers::Roots;
use crate::containers::mounts::{self, Mount};
use crate::containers::own::FIRST_PID_NAMESPACE;
use crate::foreign;
use crate::metrics::{Metric, Origin, Rows};
use crate::proc_text::{self, Stat};
use crate::readings::{Interfaces, Machine, MachineMemory, Read, Tasks};
use crate::snapshot::{Cgroup, CgroupId, Coverage, Identity, Scope, Snapshot, Status};
use crate::sources::network_namespace;
use crate::sources::processes::{Process, Processes};

/// Samples after which a process' limit of descriptors is read again.
const LIMITS: u64 = 12;
/// Longest text of `/proc`: a network namespace may have thousands of interfaces.
const LONGEST: usize = 4 << 20;

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
    traffic: Traffic,
    unshared: Unshared,
    insides: Insides,
    readings: u64,
    rows: Feeds,
}

/// Causes of an unknown number of containers that share a network namespace.
#[derive(Debug)]
struct Unshared {
    by_cgroup: Cause,
    out_of_sight: Cause,
}

impl Default for Unshared {
    fn default() -> Self {
        let cause = |text| Cause::new(CauseKind::NotApplicable, text);
        Self {
            by_cgroup: cause("eBPF counts the container's own traffic, whoever shares its network namespace"),
            out_of_sight: cause("only an agent of scope host sees which containers share a network namespace"),
        }
    }
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
            traffic: Traffic::default(),
            unshared: Unshared::default(),
            insides: Insides::default(),
            readings: 0,
            rows: Feeds::default(),
        }
    }

    /// Returns the processes of a cgroup, from its directory and its descendants: those of a neighbour in the same pid
    /// namespace are not its own. Of the machine, and without a directory, those that `/proc` lists.
    fn pids(&mut self, id: CgroupId, identity: &Identity, scope: Scope) -> Result<Listed, Cause> {
        let has_directories = identity.v2.is_some() || !identity.v1.is_empty();
        if scope == Scope::Host && identity.is_root || !has_directories {
            return self.listed();
        }
        let known = self.lists.get(&id).filter(|dir| dir.join("cgroup.procs").exists()).cloned();
        let known = known.or_else(|| members::directory(identity).map(Path::to_owned));
        let Some(dir) = known else {
            return match self.own_pid_namespace {
                true => self.listed(),
                // The processes of the machine must not be attributed to this cgroup.
                false => Err(Cause::new(CauseKind::Exited, "cgroup.procs: the cgroup has ended")),
            };
        };
        let Members { pids, has_foreign } =
            Members::of(&dir, &self.roots.proc).map_err(|error| Cause::io("cgroup.procs", &error))?;
        if self.own_pid_namespace && self.own_pid().is_some_and(|own| !pids.contains(&own)) {
            // A directory that does not list the agent is not that of its container.
            return self.listed();
        }
        if pids.is_empty() && has_foreign {
            let text = "its processes are in a pid namespace that /proc here does not show";
            return Err(Cause::new(CauseKind::Denied, text));
        }
        self.lists.insert(id, dir.clone());
        Ok(Listed { pids: pids.into_iter().collect(), dir: Some(dir) })
    }

    /// Returns the processes that `/proc` lists.
    fn listed(&self) -> Result<Listed, Cause> {
        let entries = fs::read_dir(&self.roots.proc).map_err(|error| Cause::io(self.roots.proc.display(), &error))?;
        let pid = |entry: fs::DirEntry| entry.file_name().to_str()?.parse::<u32>().ok();
        Ok(Listed { pids: entries.flatten().filter_map(pid).collect(), dir: None })
    }

    fn own_pid(&self) -> Option<u32> {
        fs::read_link(self.roots.proc.join("self")).ok()?.to_str()?.parse().ok()
    }

    fn tasks(&mut self, id: CgroupId, cgroup: &mut Cgroup, scope: Scope, now: Duration) -> Tasks {
        if cgroup.status == Status::Exited {
            return no_tasks(&ended());
        }
        let Listed { pids, dir: list } = match self.pids(id, &cgroup.identity, scope) {
            Ok(listed) => listed,
            Err(cause) => return no_tasks(&cause),
        };
        let mut sum = if pids.is_empty() { Processes::none() } else { Processes::default() };
        let mut unseen = Vec::new();
        for pid in pids {
            let dir = self.roots.proc.join(pid.to_string());
            match foreign::read(&dir.join("stat"), LONGEST).map(|text| proc_text::stat(&text)) {
                Ok(Some(stat)) if stat.living_threads() > 0 => self.process(pid, &dir, stat, &mut sum),
                Ok(_) => {}
                Err(_) => unseen.push(pid),
            }
        }
        if let Some(pid) = self.hidden(&unseen, list.as_deref()) {
            sum.hide(self.hiding(pid));
        }
        cgroup.first_process = sum.first();
        sum.tasks(now)
    }

    /// Returns one of the processes that could not be read although it has not ended.
    fn hidden(&self, unseen: &[u32], list: Option<&Path>) -> Option<u32> {
        let Some(list) = list else {
            // Of a machine whose first process is hidden others are too.
            let first = self.roots.proc.join("1");
            let is_hidden = self.hidepid().is_some() && foreign::read(&first.join("stat"), LONGEST).is_err();
            return is_hidden.then_some(1);
        };
        let still = (!unseen.is_empty()).then(|| Members::of(list, &self.roots.proc).ok()).flatten()?;
        unseen.iter().copied().find(|pid| still.pids.contains(pid))
    }

    fn hiding(&self, pid: u32) -> Cause {
        let text = match self.hidepid() {
            Some(option) => format!(
                "/proc is mounted with {option}, which hides process {pid} and others; run as root, or add the agent's \
                 group to the mount (gid=)"
            ),
            None => format!("process {pid} cannot be seen in /proc, which shows another pid namespace"),
        };
        Cause::new(CauseKind::Denied, text)
    }

    /// Returns the option of `/proc` that hides processes of other users, if it is set.
    fn hidepid(&self) -> Option<String> {
        let is_proc = |mount: &Mount| mount.kind == "proc" && mount.point == self.roots.proc;
        let mount = mounts::read(&self.roots.proc.join("self/mountinfo"), is_proc).pop()?;
        mount.options.into_iter().find(|option| option.starts_with("hidepid=") && !option.ends_with(['0', 'f']))
    }

    /// Reads the traffic that nothing else has counted. Returns the network namespace whose traffic it is.
    fn fill_traffic(&mut self, id: CgroupId, cgroup: &mut Cgroup, scope: Scope) -> Result<u64, Cause> {
        if !cgroup.values.want(&self.rows.interfaces) {
            return Err(self.unshared.by_cgroup.clone());
        }
        let interfaces = self.interfaces(id, cgroup, scope);
        let of = |pick: &fn(&Interfaces) -> u64| interfaces.as_ref().map(|(i, _)| pick(i)).map_err(Cause::clone);
        cgroup.values.fill(&self.rows.interfaces, of);
        interfaces?.1.ok_or_else(|| self.unshared.out_of_sight.clone())
    }

    /// Returns the traffic of a container: of its own namespace, or of that of its first process, unless that is the
    /// machine's, which is shared. The namespace is returned too, if it is known.
    fn interfaces(&mut self, id: CgroupId, cgroup: &Cgroup, scope: Scope) -> Result<(Interfaces, Option<u64>), Cause> {
        if cgroup.status == Status::Exited {
            return Err(ended());
        }
        let unseen = || Cause::new(CauseKind::Denied, "no process of the container can be seen");
        let pid = network_namespace::process(cgroup, scope).ok_or_else(unseen)?;
        let mut own = None;
        if scope == Scope::Host && !cgroup.identity.is_root {
            let namespace = network::of_process(&self.roots.proc, &pid)?;
            if namespace == network::of_machine(&self.roots.proc)? {
                return Err(Cause::new(
                    CauseKind::NotApplicable,
                    "it shares the machine's network; only eBPF tells what is its own",
                ));
            }
            own = Some(namespace);
        }
        Ok((self.traffic.read(id, &self.roots.proc.join(&pid), own)?, own))
    }

    fn process(&mut self, pid: u32, dir: &Path, stat: Stat, sum: &mut Processes) {
        let started = Duration::from_secs(stat.started) / self.ticks_per_second;
        sum.add(Process { pid, is_init: self.own_pid_namespace && pid == 1, started, threads: stat.living_threads() });
        let open = match self.descriptors(&files(dir, stat)) {
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
        let limit = proc_text::descriptor_limit(&foreign::read(&dir.join("limits"), LONGEST).ok()?)?;
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
        let meminfo = machine::meminfo(&self.roots);
        let machine = machine::read(&self.roots, &meminfo);
        into.host.values.fill(&self.rows.machine, |pick| pick(&machine));
        self.lists.retain(|id, _| into.coverage == Coverage::Exited || into.cgroups.contains_key(id));
        self.insides.retain(|id| into.coverage == Coverage::Exited || into.cgroups.contains_key(id));
        self.traffic.retain(|id| into.coverage == Coverage::Exited || into.cgroups.contains_key(id));
        let mut namespaces: Vec<(CgroupId, u64)> = Vec::new();
        for (id, cgroup) in &mut into.cgroups {
            if cgroup.values.want(&self.rows.tasks) {
                let tasks = self.tasks(*id, cgroup, into.scope, now);
                cgroup.values.fill(&self.rows.tasks, |pick| pick(&tasks));
            }
            if let Some(oldest) =
                cgroup.first_process.filter(|_| into.scope == Scope::Host && is_isolated(&cgroup.identity))
            {
                cgroup.first_process = Some(self.insides.of(*id, cgroup, oldest, &self.roots.proc));
            }
            match self.fill_traffic(*id, cgroup, into.scope) {
                Ok(namespace) => namespaces.push((*id, namespace)),
                Err(cause) => cgroup.values.miss(Metric::NetworkSharers, 0, cause),
            }
            if cgroup.identity.is_root {
                let memory = machine::memory(&self.roots, &meminfo);
                cgroup.values.fill(&self.rows.root, |pick| pick(&memory));
            }
        }
        if into.coverage == Coverage::All {
            share(&namespaces, into);
        }
        self.readings += u64::from(into.coverage == Coverage::All);
        if self.readings.is_multiple_of(LIMITS) {
            let now = self.readings;
            self.limits.retain(|_, (_, read)| now - *read <= LIMITS);
        }
        Ok(())
    }
}

/// True for what a runtime has isolated: neither the machine, nor a unit or a cgroup of it.
fn is_isolated(identity: &Identity) -> bool {
    identity.runtime.as_deref().is_some_and(|runtime| !["systemd", "cgroup"].contains(&runtime))
}

/// Cause of values that only living containers have, in the last report.
fn ended() -> Cause {
    Cause::new(CauseKind::Exited, "the container has ended")
}

fn no_tasks(cause: &Cause) -> Tasks {
    let none = || Err(cause.clone());
    Tasks { processes: none(), threads: none(), descriptors: none(), nearest_limit: none(), uptime: none() }
}

/// Returns the directory of a thread that has the descriptors of the process.
fn files(dir: &Path, stat: Stat) -> PathBuf {
    let lives = |dir: &PathBuf| {
        let stat = foreign::read(&dir.join("stat"), LONGEST).ok().and_then(|text| proc_text::stat(&text));
        stat.is_some_and(|stat| !stat.has_lost_first_thread())
    };
    let threads = || fs::read_dir(dir.join("task")).into_iter().flatten().flatten().map(|entry| entry.path());
    let other = stat.has_lost_first_thread().then(|| threads().find(lives)).flatten();
    other.unwrap_or_else(|| dir.to_owned())
}

/// Tells each container whose traffic was read how many share its network namespace.
fn share(namespaces: &[(CgroupId, u64)], into: &mut Snapshot) {
    let mut shared: HashMap<u64, u64> = HashMap::new();
    namespaces.iter().for_each(|(_, namespace)| *shared.entry(*namespace).or_default() += 1);
    for (id, namespace) in namespaces {
        if let Some(cgroup) = into.cgroups.get_mut(id) {
            cgroup.values.put(Metric::NetworkSharers, 0, shared[namespace]);
        }
    }
}

/// The processes of a cgroup, and the directory that lists them.
struct Listed {
    pids: Vec<u32>,
    dir: Option<PathBuf>,
}

#[cfg(test)]
mod tests;
