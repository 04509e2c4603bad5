//! What the container's root filesystem holds, and how large the filesystem under it is.
//!
//! The size is one `statfs(2)` per reading. What it holds takes a walk, which runs on a thread of its own at the lowest
//! priority and in short steps with long pauses, so that neither the tick nor the container's main process feels it.

use std::collections::HashSet;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::{Source, SourceError};
use crate::metrics::{Metric, Origin};
use crate::readings::{Disk as Walked, Filesystem};
use crate::snapshot::{Cause, Snapshot, Stamp};

/// A walk works for so long …
const WORK: Duration = Duration::from_millis(4);
/// … and then pauses for so long: at most 4 % of one CPU.
const PAUSE: Duration = Duration::from_millis(96);
/// The time between two walks is at least so many times what one works: on a large tree all walks together stay
/// below a four-thousandth of a CPU.
const SHARE: u32 = 4000;
/// A walk that takes longer is given up: the number would be old before it is there.
const LONGEST: Duration = Duration::from_secs(600);
/// More hard-linked files than this are not remembered; the walk then gives no number rather than a wrong one.
const MOST_LINKS: usize = 200_000;

/// Why there is no number yet.
pub const UNDER_WAY: &str = "the first walk of the root filesystem is under way";

/// What to walk.
#[derive(Clone, Debug)]
pub struct DiskPlan {
    /// The root filesystem.
    pub root: PathBuf,
    /// Directories that are left out.
    pub exclude: Vec<PathBuf>,
    /// Time between two walks; `None` for none.
    pub interval: Option<Duration>,
}

/// Reads the filesystem, and what the latest walk of it found.
#[derive(Debug)]
pub struct Disk {
    root: PathBuf,
    latest: Arc<Mutex<Walked>>,
    /// Dropping it ends the walks.
    _stop: Sender<()>,
}

impl Disk {
    /// Starts the walks.
    pub fn new(plan: DiskPlan, clock: fn() -> Stamp) -> Self {
        let first = if plan.interval.is_some() { UNDER_WAY } else { "switched off by --disk-interval 0s" };
        let latest = Arc::new(Mutex::new(Walked { used_bytes: Err(Cause::new(first)) }));
        let (stop, stopped) = mpsc::channel();
        let root = plan.root.clone();
        if let Some(interval) = plan.interval {
            let walked = Arc::clone(&latest);
            let walks = move || walk_for_ever(&plan, interval, clock, &stopped, &walked);
            if let Err(error) = thread::Builder::new().name("disk-walk".into()).spawn(walks) {
                set(&latest, Err(Cause::new(format!("the thread that walks cannot start: {error}"))));
            }
        }
        Self { root, latest, _stop: stop }
    }
}

fn set(latest: &Mutex<Walked>, used_bytes: Result<u64, Cause>) {
    latest.lock().unwrap_or_else(PoisonError::into_inner).used_bytes = used_bytes;
}

fn walk_for_ever(
    plan: &DiskPlan,
    interval: Duration,
    clock: fn() -> Stamp,
    stopped: &Receiver<()>,
    latest: &Mutex<Walked>,
) {
    // Best effort: without it the walk still pauses.
    let _nice = rustix::process::nice(19);
    loop {
        let mut worked = Duration::ZERO;
        let found = walk(plan, clock, |step| {
            worked += step;
            stopped.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout)
        });
        match found {
            Err(Failure::Stopped) => return,
            Err(Failure::Cause(text)) => set(latest, Err(Cause::new(text))),
            Ok(used) => set(latest, Ok(used)),
        }
        if stopped.recv_timeout(interval.max(worked * SHARE)) != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Failure {
    Stopped,
    Cause(String),
}

/// Allocated bytes of everything on the filesystem of the root, hard links once. `rest` is told how long a step
/// worked; it pauses, and says whether to go on. A directory that cannot be read makes the sum a guess, so it makes it absent.
fn walk(plan: &DiskPlan, clock: fn() -> Stamp, mut rest: impl FnMut(Duration) -> bool) -> Result<u64, Failure> {
    let failed = |path: &Path, error: &std::io::Error| {
        Failure::Cause(format!("{}: {error}; run as root, or leave it out with --disk-exclude", path.display()))
    };
    let root = fs::symlink_metadata(&plan.root).map_err(|error| failed(&plan.root, &error))?;
    let (began, mut step) = (clock().mono, clock().mono);
    let mut used = allocated(&root);
    let mut links = HashSet::new();
    let mut left = vec![plan.root.clone()];
    while let Some(dir) = left.pop() {
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(failed(&dir, &error)),
        };
        for entry in entries.flatten() {
            // What vanished since it was listed takes no room.
            let Ok(found) = entry.metadata() else { continue };
            if found.dev() != root.dev() || plan.exclude.contains(&entry.path()) {
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
                    return Err(Failure::Cause(format!(
                        "too much to walk at {}; leave parts out with --disk-exclude",
                        dir.display()
                    )));
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
        let walked = self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let filesystem = rustix::fs::statvfs(&self.root).map(|found| Filesystem {
            total_bytes: found.f_blocks.saturating_mul(found.f_frsize),
            inodes_used: found.f_files.saturating_sub(found.f_ffree),
            inodes_total: found.f_files,
        });
        let filesystem = filesystem
            .map_err(|error| Cause::new(format!("statfs {}: {}", self.root.display(), std::io::Error::from(error))));
        for cgroup in into.cgroups.values_mut() {
            for (metric, rank, origin) in Metric::origins() {
                let read = match origin {
                    Origin::Disk(pick) => pick(&walked),
                    Origin::Filesystem(pick) => filesystem.as_ref().map(pick).map_err(Cause::clone),
                    _ => continue,
                };
                match read {
                    Ok(value) => cgroup.values.put(metric, rank, value),
                    Err(cause) => cgroup.values.miss(metric, rank, cause),
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::snapshot::CgroupId;

    #[expect(clippy::disallowed_methods, reason = "tests may look at the clock")]
    fn clock() -> Stamp {
        let wall = SystemTime::now();
        Stamp { mono: wall.duration_since(SystemTime::UNIX_EPOCH).unwrap(), wall }
    }

    fn plan(root: &Path, exclude: &[&str]) -> DiskPlan {
        DiskPlan {
            root: root.into(),
            exclude: exclude.iter().map(|path| root.join(path)).collect(),
            interval: Some(Duration::from_secs(60)),
        }
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
        assert_eq!(walk(&plan(root, &[]), clock, |_| true), Ok(du(root, &[])));
        let without = walk(&plan(root, &["data"]), clock, |_| true);
        assert_eq!(without, Ok(du(root, &["data"])), "data-too is another directory");
    }

    #[test]
    fn what_cannot_be_walked_is_named_with_its_cure() {
        let Err(Failure::Cause(text)) = walk(&plan(Path::new("/nonexistent"), &[]), clock, |_| true) else { panic!() };
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
        assert_eq!(walk(&plan(dir.path(), &[]), slow, |_| false), Err(Failure::Stopped));
    }

    #[test]
    fn the_first_readings_say_that_the_walk_is_under_way_and_later_ones_have_its_number() {
        let dir = tempfile::tempdir().unwrap();
        let mut disk = Disk::new(plan(dir.path(), &[]), clock);
        let mut used = || {
            let mut into = Snapshot::new(clock());
            into.cgroups.entry(CgroupId(1)).or_default();
            disk.sample(&mut into).unwrap();
            let values = &into.cgroups[&CgroupId(1)].values;
            assert!(values.get(Metric::DiskTotal).unwrap().unwrap() > 0);
            values.get(Metric::DiskUsage).unwrap().map_err(ToString::to_string)
        };
        let deadline = clock().mono + Duration::from_secs(10);
        while let Err(cause) = used() {
            assert!(cause.contains("under way") && clock().mono < deadline, "{cause}");
            thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(used(), Ok(du(dir.path(), &[])));
    }
}
