//! What the container's root filesystem holds, and how large the filesystem under it is.
//!
//! The size is one `statfs(2)` every ten seconds. What it holds takes a walk, which runs on a thread of its own at the lowest
//! priority and in short steps with long pauses, so that neither the tick nor the container's main process feels it.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::source::{Source, SourceError};
use crate::cause::{Cause, CauseKind};
use crate::containers::mounts::{self, Mount};
use crate::containers::{Roots, host_root};
use crate::metrics::{Metric, Origin, Rows};
use crate::readings::{Disk as Walked, Filesystem, Read};
use crate::snapshot::{Cgroup, CgroupId, Coverage, Scope, Snapshot, Stamp, Status};

/// A walk works for so long …
const WORK: Duration = Duration::from_millis(4);
/// … and then pauses for so long: at most 4 % of one CPU.
const PAUSE: Duration = Duration::from_millis(96);
/// The time between two walks is at least so many times what one works: on a large tree all walks together stay
/// below a four-thousandth of a CPU …
const SHARE: u32 = 4000;
/// … times the containers that share them, at most so many: one per cent of a CPU.
const MOST_SHARES: u32 = 40;
/// Sizes change rarely, and asking for one costs as much as ten files: it is done no more often than this.
const SIZES: Duration = Duration::from_secs(10);
/// How often the walker looks whether something is due.
const LOOK: Duration = Duration::from_secs(1);
/// A walk that takes longer is given up: the number would be old before it is there.
const LONGEST: Duration = Duration::from_secs(600);
/// More hard-linked files than this are not remembered; the walk then gives no number rather than a wrong one.
const MOST_LINKS: usize = 200_000;

/// Why there is no number yet.
const UNDER_WAY: &str = "the first walk of the root filesystem is under way";

/// What to walk.
#[derive(Clone, Debug)]
pub struct DiskPlan {
    /// Directories that are left out, as the containers see them.
    pub exclude: Vec<PathBuf>,
    /// Time between two walks of one root filesystem; `None` for none.
    pub interval: Option<Duration>,
    /// Whether the machine is walked too: by a thread of its own, since no container shall wait for its millions of files.
    pub machine: bool,
}

/// Reads the filesystems, and what the latest walks of them found.
#[derive(Debug)]
pub struct Disk {
    roots: Roots,
    host: PathBuf,
    without: Cause,
    unseen: Cause,
    /// What was said of each filesystem, and when.
    sizes: HashMap<CgroupId, (Duration, Result<Filesystem, Cause>)>,
    walked_rows: Rows<fn(&Walked) -> Read>,
    size_rows: Rows<fn(&Filesystem) -> u64>,
    shared: Arc<Mutex<Shared>>,
    /// Dropping them ends the walks.
    _stops: Vec<Sender<()>>,
}

/// What the readings and the walker tell each other.
#[derive(Debug, Default)]
struct Shared {
    wanted: BTreeMap<CgroupId, Wanted>,
    found: BTreeMap<CgroupId, Found>,
}

/// What is to be walked of a container.
#[derive(Clone, Debug)]
struct Wanted {
    /// The process through which it is seen.
    process: Option<u32>,
    /// Where its root filesystem is seen.
    root: PathBuf,
    layer: Layer,
    is_machine: bool,
}

/// Where the layer is that a container's own writes go to, over its image.
#[derive(Clone, Debug)]
enum Layer {
    /// Not to be seen, for this reason.
    Unseen(&'static str),
    /// Named by the mount table of the container's first process, as a path of the machine.
    Named { mounts: PathBuf, host: PathBuf },
}

impl Layer {
    /// The directory (`Documentation/filesystems/overlayfs.rst`, "upperdir").
    fn directory(&self) -> Result<PathBuf, Cause> {
        let (table, host) = match self {
            Self::Unseen(why) => return Err(Cause::new(CauseKind::NotApplicable, *why)),
            Self::Named { mounts, host } => (mounts, host),
        };
        let text = fs::read(table).map_err(|error| Cause::io(table.display(), &error))?;
        // What is mounted last hides what was before.
        let root = mounts::parse(&text).into_iter().rfind(|mount| mount.point == Path::new("/"));
        let upper = root.as_ref().filter(|mount| mount.kind == "overlay").and_then(Mount::upper);
        let upper = upper.ok_or_else(|| {
            Cause::new(CauseKind::NotApplicable, "the container's root filesystem is no overlay over an image")
        })?;
        Ok(host.join(upper.strip_prefix("/").unwrap_or(&upper)))
    }
}

/// What a walk found, and when the next one may begin.
#[derive(Debug)]
struct Found {
    walked: Walked,
    due: Duration,
}

impl Disk {
    /// Starts the walks.
    pub fn new(plan: DiskPlan, roots: &Roots, clock: fn() -> Stamp) -> Self {
        let shared = Arc::<Mutex<Shared>>::default();
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
            let walks = move || walk_for_ever(&plan, is_machine, interval, clock, &stopped, &walked);
            if let Err(error) = thread::Builder::new().name("disk-walk".into()).spawn(walks) {
                without = Cause::new(CauseKind::Failed, format!("the thread that walks cannot start: {error}"));
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

    /// Where a container's filesystems are seen.
    fn wanted(&self, cgroup: &Cgroup, scope: Scope) -> Option<Wanted> {
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
                // With the dot it is the directory, without it the link.
                (process.join("root/."), layer)
            }
        };
        let process = cgroup.first_process;
        Some(Wanted { process, root, layer, is_machine: scope == Scope::Host && cgroup.identity.is_root })
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn walk_for_ever(
    plan: &DiskPlan,
    is_machine: bool,
    interval: Duration,
    clock: fn() -> Stamp,
    stopped: &Receiver<()>,
    shared: &Mutex<Shared>,
) {
    // Best effort: without it the walk still pauses.
    let _nice = rustix::process::nice(19);
    let pause = |long| stopped.recv_timeout(long) == Err(RecvTimeoutError::Timeout);
    loop {
        let next = lock(shared).next(is_machine, clock().mono);
        let Some((id, Wanted { root, layer, .. })) = next else {
            // The first walk shall not wait for what comes with the first reading.
            if pause(if lock(shared).wanted.is_empty() { PAUSE } else { LOOK }) {
                continue;
            }
            return;
        };
        let mut worked = Duration::ZERO;
        let mut measure = |top: &Path, exclude: &[PathBuf]| {
            let found = walk(top, exclude, clock, |step| {
                worked += step;
                pause(PAUSE)
            });
            match found {
                Err(Failure::Stopped) => None,
                Err(Failure::Cause(cause)) => Some(Err(cause)),
                Ok(used) => Some(Ok(used)),
            }
        };
        let exclude: Vec<PathBuf> =
            plan.exclude.iter().map(|path| root.join(path.strip_prefix("/").unwrap_or(path))).collect();
        let Some(used_bytes) = measure(&root, &exclude) else { return };
        let writable_bytes = match layer.directory() {
            Err(cause) => Some(Err(cause)),
            Ok(directory) => measure(&directory, &[]),
        };
        let Some(writable_bytes) = writable_bytes else { return };
        let mut shared = lock(shared);
        let sharing = u32::try_from(shared.wanted.len()).unwrap_or(u32::MAX).clamp(1, MOST_SHARES);
        let due = clock().mono + interval.max(worked * (SHARE / sharing));
        shared.found.insert(id, Found { walked: Walked { used_bytes, writable_bytes }, due });
    }
}

impl Shared {
    /// What is to be walked now: what never was, then what is due the longest.
    fn next(&self, is_machine: bool, now: Duration) -> Option<(CgroupId, Wanted)> {
        let due = |id: &CgroupId| self.found.get(id).map_or(Duration::ZERO, |found| found.due);
        let wanted = self.wanted.iter().filter(|(id, wanted)| wanted.is_machine == is_machine && due(id) <= now);
        let next = wanted.min_by_key(|(id, _)| due(id))?;
        Some((*next.0, next.1.clone()))
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Failure {
    Stopped,
    Cause(Cause),
}

/// Allocated bytes of everything on the filesystem of the root, hard links once. `rest` is told how long a step
/// worked; it pauses, and says whether to go on. A directory that cannot be read makes the sum a guess, so it makes it absent.
fn walk(
    top: &Path,
    exclude: &[PathBuf],
    clock: fn() -> Stamp,
    mut rest: impl FnMut(Duration) -> bool,
) -> Result<u64, Failure> {
    let failed = |path: &Path, error: &std::io::Error| {
        let text = format!("{}: {error}; run as root, or leave it out with --disk-exclude", path.display());
        Failure::Cause(Cause::new(CauseKind::of_error(error), text))
    };
    let root = fs::symlink_metadata(top).map_err(|error| failed(top, &error))?;
    let (began, mut step) = (clock().mono, clock().mono);
    let mut used = allocated(&root);
    let mut links = HashSet::new();
    let mut left = vec![top.to_owned()];
    while let Some(dir) = left.pop() {
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(failed(&dir, &error)),
        };
        for entry in entries.flatten() {
            // What vanished since it was listed takes no room.
            let Ok(found) = entry.metadata() else { continue };
            if found.dev() != root.dev() || exclude.contains(&entry.path()) {
                continue;
            }
            if found.is_dir() {
                left.push(entry.path());
            } else if found.nlink() > 1 && !links.insert(found.ino()) {
                continue;
            }
            used = used.saturating_add(allocated(&found));
            let now = clock().mono;
            if now.saturating_sub(step) >= WORK {
                if links.len() > MOST_LINKS || now.saturating_sub(began) > LONGEST {
                    let text = format!("too much to walk at {}; leave parts out with --disk-exclude", dir.display());
                    return Err(Failure::Cause(Cause::new(CauseKind::Failed, text)));
                }
                if !rest(now.saturating_sub(step)) {
                    return Err(Failure::Stopped);
                }
                step = clock().mono;
            }
        }
    }
    Ok(used)
}

/// `st_blocks` is in units of 512 bytes whatever the filesystem's block size (`stat(2)`).
fn allocated(found: &Metadata) -> u64 {
    found.blocks().saturating_mul(512)
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
        let Shared { wanted, found } = &mut *shared;
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
                    Some(Wanted { layer: Layer::Unseen(why), .. }) => Cause::new(CauseKind::NotApplicable, *why),
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
    /// Brings what is to be walked in step with the containers that there are, and with their processes.
    fn look(&mut self, now: &Snapshot, wanted: &mut BTreeMap<CgroupId, Wanted>) {
        wanted.retain(|id, _| now.cgroups.contains_key(id));
        self.sizes.retain(|id, _| now.cgroups.contains_key(id));
        for (id, cgroup) in &now.cgroups {
            let is_known = |known: &Wanted| known.process == cgroup.first_process;
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

/// What `statfs(2)` says, or has said of late.
fn size<'a>(
    sizes: &'a mut HashMap<CgroupId, (Duration, Result<Filesystem, Cause>)>,
    id: CgroupId,
    wanted: &Wanted,
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
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[expect(clippy::disallowed_methods, reason = "tests may look at the clock")]
    fn clock() -> Stamp {
        let wall = SystemTime::now();
        Stamp { mono: wall.duration_since(SystemTime::UNIX_EPOCH).unwrap(), wall }
    }

    fn walked(root: &Path, exclude: &[&str]) -> Result<u64, Failure> {
        let exclude: Vec<_> = exclude.iter().map(|path| root.join(path)).collect();
        walk(root, &exclude, clock, |_| true)
    }

    fn du(root: &Path, exclude: &[&str]) -> u64 {
        let mut command = std::process::Command::new("du");
        command.args(["-s", "-x", "-B1"]).arg(root);
        for path in exclude {
            command.arg(format!("--exclude={}", root.join(path).display()));
        }
        let out = String::from_utf8(command.output().unwrap().stdout).unwrap();
        out.split_whitespace().next().unwrap().parse().unwrap()
    }

    #[test]
    fn it_counts_what_du_counts_with_hard_links_holes_and_exclusions() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::create_dir(root.join("data")).unwrap();
        fs::write(root.join("a/file"), vec![7; 300_000]).unwrap();
        fs::write(root.join("data/big"), vec![7; 900_000]).unwrap();
        fs::write(root.join("data-too"), vec![7; 50_000]).unwrap();
        fs::hard_link(root.join("a/file"), root.join("a/b/again")).unwrap();
        std::os::unix::fs::symlink("/usr", root.join("link")).unwrap();
        fs::File::create(root.join("sparse")).unwrap().set_len(1 << 30).unwrap();
        assert_eq!(walked(root, &[]), Ok(du(root, &[])));
        let without = walked(root, &["data"]);
        assert_eq!(without, Ok(du(root, &["data"])), "data-too is another directory");
    }

    #[test]
    fn what_cannot_be_walked_is_named_with_its_cure() {
        let Err(Failure::Cause(cause)) = walked(Path::new("/nonexistent"), &[]) else { panic!() };
        let text = cause.as_str();
        assert!(text.starts_with("/nonexistent: ") && text.contains("--disk-exclude"), "{text}");
    }

    #[test]
    fn a_walk_can_be_stopped() {
        fn slow() -> Stamp {
            static CALLS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
            let calls = CALLS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Stamp { mono: Duration::from_millis(calls * 10), wall: SystemTime::UNIX_EPOCH }
        }
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "x").unwrap();
        assert_eq!(walk(dir.path(), &[], slow, |_| false), Err(Failure::Stopped));
    }

    #[test]
    fn the_first_readings_say_that_the_walk_is_under_way_and_later_ones_have_its_numbers() {
        // A machine with one container, whose first process has a root directory over a layer.
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, bytes: &[u8]| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        };
        write("7/root/data/file", &[7; 100_000]);
        write("1/root/layers/own/file", &[7; 20_000]);
        let table = "1 2 0:3 / / rw - ext4 /dev/vda rw\n3 1 0:4 / / rw - overlay overlay rw,lowerdir=/layers/image,upperdir=/layers/own\n";
        write("7/mountinfo", table.as_bytes());
        let roots = Roots { proc: dir.path().to_owned(), ..Roots::default() };
        let plan = DiskPlan { exclude: Vec::new(), interval: Some(Duration::from_secs(60)), machine: false };
        let mut disk = Disk::new(plan, &roots, clock);
        let mut read = |metric| {
            let mut into = Snapshot::new(clock());
            into.scope = Scope::Host;
            into.cgroups.entry(CgroupId(1)).or_default().first_process = Some(7);
            disk.sample(&mut into).unwrap();
            let values = &into.cgroups[&CgroupId(1)].values;
            assert!(values.get(Metric::DiskTotal).unwrap().unwrap() > 0);
            values.get(metric).unwrap().map_err(ToString::to_string)
        };
        let deadline = clock().mono + Duration::from_secs(10);
        while let Err(cause) = read(Metric::DiskUsage) {
            assert!(cause.contains("under way") && clock().mono < deadline, "{cause}");
            thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(read(Metric::DiskUsage), Ok(du(&dir.path().join("7/root"), &[])));
        assert_eq!(read(Metric::DiskWritable), Ok(du(&dir.path().join("1/root/layers/own"), &[])));
    }

    #[test]
    fn where_no_layer_lies_over_an_image_the_cause_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let mounts = dir.path().join("mountinfo");
        fs::write(&mounts, "1 2 0:3 / / rw - ext4 /dev/vda rw\n").unwrap();
        let named = Layer::Named { mounts, host: "/".into() };
        assert!(named.directory().unwrap_err().as_str().contains("no overlay"));
        assert_eq!(Layer::Unseen("why").directory().unwrap_err().as_str(), "why");
    }

    #[test]
    fn what_was_never_walked_comes_first_and_nothing_before_it_is_due() {
        let found =
            |due| Found { walked: Walked { used_bytes: Ok(1), writable_bytes: Ok(1) }, due: Duration::from_secs(due) };
        let mut shared = Shared::default();
        assert!(shared.next(false, Duration::from_secs(9)).is_none());
        for id in 1..=3 {
            let wanted =
                Wanted { process: None, root: format!("/{id}").into(), layer: Layer::Unseen(""), is_machine: id == 2 };
            shared.wanted.insert(CgroupId(id), wanted);
        }
        shared.found = [(CgroupId(1), found(5)), (CgroupId(3), found(4))].into();
        let next = |shared: &Shared, now| shared.next(false, Duration::from_secs(now)).map(|(id, _)| id.0);
        assert_eq!((next(&shared, 9), next(&shared, 4), next(&shared, 3)), (Some(3), Some(3), None));
        shared.found.remove(&CgroupId(1));
        assert_eq!(next(&shared, 9), Some(1));
        assert_eq!(shared.next(true, Duration::ZERO).map(|(id, _)| id.0), Some(2), "the machine has its own walker");
    }
}
