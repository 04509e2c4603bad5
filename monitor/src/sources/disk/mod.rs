//! Bytes used in the container's root filesystem, and the size of the underlying filesystem.
//!
//! The size is one `statfs(2)` every ten seconds. The used bytes take a walk, which runs at the lowest priority, in
//! short steps with long pauses, so that it slows down neither the tick nor the container's main process. Both run on
//! workers that can be given up (`measure.rs`): a filesystem may never answer.

mod beneath;
mod exclusion;
mod measure;
mod target;
mod walk;

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use self::measure::{Shared, State, run_sizes, run_walks};
use self::target::{Layer, MountTables, Target};
use super::source::{Source, SourceError};
use crate::cause::{Cause, CauseKind};
use crate::containers::{Roots, host_root};
use crate::metrics::{Metric, Origin, Rows};
use crate::readings::{Disk as Walked, Filesystem, Read};
use crate::snapshot::{Cgroup, Coverage, Scope, Snapshot, Stamp, Status};

/// Cause while no walk is complete.
const UNDER_WAY: &str = "the first walk of the root filesystem is under way";
/// Longest wait of a reading for the sizes of new containers.
const NEW_SIZES: Duration = Duration::from_millis(100);

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

/// Reports the latest sizes of filesystems and results of walks.
#[derive(Debug)]
pub struct Disk {
    roots: Roots,
    host: PathBuf,
    without: Cause,
    unseen: Cause,
    unanswered: Cause,
    walked_rows: Rows<fn(&Walked) -> Read>,
    size_rows: Rows<fn(&Filesystem) -> Read>,
    /// Its drop ends the threads.
    shared: Arc<Shared>,
}

impl Disk {
    /// Starts the threads that measure.
    pub fn new(plan: DiskPlan, roots: &Roots, clock: fn() -> Stamp) -> Self {
        let shared = Arc::<Shared>::default();
        let mut without = match plan.interval {
            Some(_) => Cause::new(CauseKind::Pending, UNDER_WAY),
            None => Cause::new(CauseKind::Disabled, "switched off by --disk-interval 0s"),
        };
        let mut unanswered = Cause::new(CauseKind::Pending, "the size of the root filesystem is being read");
        let cannot = |error| Cause::new(CauseKind::Failed, format!("a thread cannot start: {error}"));
        let sizes = Arc::downgrade(&shared);
        if let Err(error) = thread::Builder::new().name("disk-sizes".into()).spawn(move || run_sizes(&sizes, clock)) {
            unanswered = cannot(error);
        }
        for is_machine in [false, true] {
            let Some(interval) = plan.interval.filter(|_| plan.machine || !is_machine) else { continue };
            let (shared, exclude) = (Arc::downgrade(&shared), plan.exclude.clone());
            let walks = move || run_walks(&shared, &exclude, is_machine, interval, clock);
            if let Err(error) = thread::Builder::new().name("disk-walks".into()).spawn(walks) {
                without = cannot(error);
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
        let (roots, host) = (roots.clone(), host_root(roots));
        let unseen = Cause::new(CauseKind::Denied, "no process of the container can be seen");
        Self { roots, host, without, unseen, unanswered, walked_rows, size_rows, shared }
    }

    /// Returns the paths at which a container's filesystems are visible.
    fn wanted(&self, cgroup: &Cgroup, scope: Scope) -> Option<Target> {
        let (root, layer) = match (scope, cgroup.identity.is_root) {
            (Scope::SelfContainer, _) => {
                let why = "the container's own layer can be told from its image only on the host";
                ("/".into(), Layer::Unseen(why))
            }
            _ if cgroup.status == Status::Exited => return None,
            (Scope::Host, true) => (self.host.clone(), Layer::Unseen("a machine has no layer over an image")),
            (Scope::Host, false) => {
                let process = self.roots.proc.join(cgroup.first_process?.to_string());
                let tables = MountTables {
                    own: process.join("mountinfo"),
                    machine: self.roots.proc.join("1/mountinfo"),
                    host: self.host.clone(),
                };
                (process.join("root"), Layer::Named(tables))
            }
        };
        let process = cgroup.first_process;
        Some(Target { process, root, layer, is_machine: scope == Scope::Host && cgroup.identity.is_root })
    }

    /// Updates the targets to the current containers and their processes; true if one is new.
    fn look(&self, now: &Snapshot, state: &mut State) -> bool {
        let State { wanted, sizes, walks, silent } = state;
        wanted.retain(|id, _| now.cgroups.contains_key(id));
        let mut has_new = false;
        for (id, cgroup) in &now.cgroups {
            let is_known = |known: &Target| known.process == cgroup.first_process;
            if cgroup.status != Status::Exited && wanted.get(id).is_some_and(is_known) {
                continue;
            }
            sizes.remove(id);
            silent.remove(id);
            match self.wanted(cgroup, now.scope) {
                Some(new) => {
                    has_new = true;
                    wanted.insert(*id, new);
                }
                None => _ = wanted.remove(id),
            }
        }
        sizes.retain(|id, _| wanted.contains_key(id));
        walks.retain(|id, _| wanted.contains_key(id));
        silent.retain(|id| wanted.contains_key(id));
        has_new
    }
}

impl Source for Disk {
    fn name(&self) -> &'static str {
        "disk"
    }

    fn sample(&mut self, into: &mut Snapshot) -> Result<(), SourceError> {
        let has_new = into.coverage == Coverage::All && self.look(into, &mut self.shared.lock());
        let state = match has_new {
            true => {
                self.shared.notify();
                self.shared.await_sizes(NEW_SIZES)
            }
            false => self.shared.lock(),
        };
        for (id, cgroup) in &mut into.cgroups {
            let seen = state.wanted.get(id);
            let size = match (seen, state.sizes.get(id)) {
                (None, _) => Err(&self.unseen),
                (_, None) => Err(&self.unanswered),
                (_, Some(size)) => size.value.as_ref(),
            };
            cgroup.values.fill(&self.size_rows, |pick| size.map_err(Cause::clone).and_then(pick));
            let none = || Walked {
                used_bytes: Err(self.without.clone()),
                writable_bytes: Err(match seen {
                    Some(Target { layer: Layer::Unseen(why), .. }) => Cause::new(CauseKind::NotApplicable, *why),
                    _ => self.without.clone(),
                }),
            };
            let walked = state.walks.get(id).map_or_else(|| Cow::Owned(none()), |walk| Cow::Borrowed(&walk.value));
            cgroup.values.fill(&self.walked_rows, |pick| pick(&walked));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
