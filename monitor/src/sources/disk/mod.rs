//! Bytes used in the container's root filesystem, and the size of the underlying filesystem.
//!
//! The size is one `statfs(2)` every ten seconds. The used bytes take a walk, which runs on a thread of its own at the
//! lowest priority, in short steps with long pauses, so that it slows down neither the tick nor the container's main
//! process.

mod walk;
mod walker;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use self::walker::{Layer, WalkTarget, Walks, run_walks};
use super::source::{Source, SourceError};
use crate::cause::{Cause, CauseKind};
use crate::containers::{Roots, host_root};
use crate::metrics::{Metric, Origin, Rows};
use crate::mutex::lock;
use crate::readings::{Disk as Walked, Filesystem, Read};
use crate::snapshot::{Cgroup, CgroupId, Coverage, Scope, Snapshot, Stamp, Status};

/// Minimum age of a size before it is read again: sizes change rarely, and reading one costs as much as ten files.
const SIZES: Duration = Duration::from_secs(10);
/// Cause while no walk is complete.
const UNDER_WAY: &str = "the first walk of the root filesystem is under way";

/// The settings of the walks.
#[derive(Clone, Debug)]
pub struct DiskPlan {
    /// Directories that are skipped, by their paths inside the containers.
    pub exclude: Vec<PathBuf>,
    /// Interval between two walks of one root filesystem; `None` disables them.
    pub interval: Option<Duration>,
    /// True if the machine is walked too, by a thread of its own: containers must not wait for its millions of files.
    pub machine: bool,
}

/// Reads the sizes of filesystems, and the results of the latest walks.
#[derive(Debug)]
pub struct Disk {
    roots: Roots,
    host: PathBuf,
    without: Cause,
    unseen: Cause,
    /// The size of each filesystem, and the time of its read.
    sizes: HashMap<CgroupId, (Duration, Result<Filesystem, Cause>)>,
    walked_rows: Rows<fn(&Walked) -> Read>,
    size_rows: Rows<fn(&Filesystem) -> u64>,
    shared: Arc<Mutex<Walks>>,
    /// Senders whose drop ends the walks.
    _stops: Vec<Sender<()>>,
}

impl Disk {
    /// Starts the walks.
    pub fn new(plan: DiskPlan, roots: &Roots, clock: fn() -> Stamp) -> Self {
        let shared = Arc::<Mutex<Walks>>::default();
        let mut without = match plan.interval {
            Some(_) => Cause::new(CauseKind::Pending, UNDER_WAY),
            None => Cause::new(CauseKind::Disabled, "switched off by --disk-interval 0s"),
        };
        let mut stops = Vec::new();
        for is_machine in [false, true] {
            let Some(interval) = plan.interval.filter(|_| plan.machine || !is_machine) else { continue };
            let (walked, plan) = (Arc::clone(&shared), plan.clone());
            let (stop, stopped) = mpsc::channel();
            stops.push(stop);
            let walks = move || run_walks(&plan.exclude, is_machine, interval, clock, &stopped, &walked);
            if let Err(error) = thread::Builder::new().name("disk-walk".into()).spawn(walks) {
                without = Cause::new(CauseKind::Failed, format!("the disk walk thread cannot start: {error}"));
            }
        }
        let walked_rows = Metric::fed_by(|origin| match origin {
            Origin::Disk(pick) => Some(*pick),
            _ => None,
        });
        let size_rows = Metric::fed_by(|origin| match origin {
            Origin::Filesystem(pick) => Some(*pick),
            _ => None,
        });
        let (roots, host, sizes) = (roots.clone(), host_root(roots), HashMap::new());
        let unseen = Cause::new(CauseKind::Denied, "no process of the container can be seen");
        Self { roots, host, without, unseen, sizes, walked_rows, size_rows, shared, _stops: stops }
    }

    /// Returns the paths at which a container's filesystems are visible.
    fn wanted(&self, cgroup: &Cgroup, scope: Scope) -> Option<WalkTarget> {
        let (root, layer) = match (scope, cgroup.identity.is_root) {
            (Scope::SelfContainer, _) => {
                let why = "the container's own layer can be told from its image only on the host";
                ("/".into(), Layer::Unseen(why))
            }
            _ if cgroup.status == Status::Exited => return None,
            (Scope::Host, true) => (self.host.clone(), Layer::Unseen("a machine has no layer over an image")),
            (Scope::Host, false) => {
                let process = self.roots.proc.join(cgroup.first_process?.to_string());
                let layer = Layer::Named { mounts: process.join("mountinfo"), host: self.host.clone() };
                // The trailing dot follows the link to the directory.
                (process.join("root/."), layer)
            }
        };
        let process = cgroup.first_process;
        Some(WalkTarget { process, root, layer, is_machine: scope == Scope::Host && cgroup.identity.is_root })
    }
}

impl Source for Disk {
    fn name(&self) -> &'static str {
        "disk"
    }

    fn sample(&mut self, into: &mut Snapshot) -> Result<(), SourceError> {
        let shared = Arc::clone(&self.shared);
        let mut shared = lock(&shared);
        if into.coverage == Coverage::All {
            self.look(into, &mut shared.wanted);
        }
        let Walks { wanted, found } = &mut *shared;
        found.retain(|id, _| wanted.contains_key(id));
        for (id, cgroup) in &mut into.cgroups {
            let seen = wanted.get(id);
            let size = match seen {
                Some(wanted) => size(&mut self.sizes, *id, wanted, into.taken.mono),
                None => &Err(self.unseen.clone()),
            };
            cgroup.values.fill(&self.size_rows, |pick| size.as_ref().map(pick).map_err(Cause::clone));
            let none = || Walked {
                used_bytes: Err(self.without.clone()),
                writable_bytes: Err(match seen {
                    Some(WalkTarget { layer: Layer::Unseen(why), .. }) => Cause::new(CauseKind::NotApplicable, *why),
                    _ => self.without.clone(),
                }),
            };
            let walked = found.get(id).map_or_else(|| Cow::Owned(none()), |found| Cow::Borrowed(&found.walked));
            cgroup.values.fill(&self.walked_rows, |pick| pick(&walked));
        }
        Ok(())
    }
}

impl Disk {
    /// Updates the walk targets to the current containers and their processes.
    fn look(&mut self, now: &Snapshot, wanted: &mut BTreeMap<CgroupId, WalkTarget>) {
        wanted.retain(|id, _| now.cgroups.contains_key(id));
        self.sizes.retain(|id, _| now.cgroups.contains_key(id));
        for (id, cgroup) in &now.cgroups {
            let is_known = |known: &WalkTarget| known.process == cgroup.first_process;
            if cgroup.status != Status::Exited && wanted.get(id).is_some_and(is_known) {
                continue;
            }
            self.sizes.remove(id);
            match self.wanted(cgroup, now.scope) {
                Some(new) => _ = wanted.insert(*id, new),
                None => _ = wanted.remove(id),
            }
        }
    }
}

/// Returns the result of `statfs(2)`, cached for [`SIZES`].
fn size<'a>(
    sizes: &'a mut HashMap<CgroupId, (Duration, Result<Filesystem, Cause>)>,
    id: CgroupId,
    wanted: &WalkTarget,
    now: Duration,
) -> &'a Result<Filesystem, Cause> {
    let known = sizes.entry(id).or_insert_with(|| (now, filesystem(&wanted.root)));
    if now.abs_diff(known.0) >= SIZES {
        *known = (now, filesystem(&wanted.root));
    }
    &known.1
}

fn filesystem(root: &Path) -> Result<Filesystem, Cause> {
    let found = rustix::fs::statvfs(root)
        .map_err(|error| Cause::io(format_args!("statfs {}", root.display()), &error.into()))?;
    Ok(Filesystem {
        total_bytes: found.f_blocks.saturating_mul(found.f_frsize),
        inodes_used: found.f_files.saturating_sub(found.f_ffree),
        inodes_total: found.f_files,
    })
}

#[cfg(test)]
mod tests;
