//! The threads that measure root filesystems. None of them touches one itself: each asks a worker that can be given up,
//! so that the source, which waits for their state alone, is never held up.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use super::beneath::Beneath;
use super::target::Target;
use super::walk::{PAUSE, WalkError, walk};
use crate::cause::{Cause, CauseKind};
use crate::foreign::{Pulse, Worker};
use crate::mutex::lock;
use crate::readings::{Disk as Walked, Filesystem};
use crate::snapshot::{CgroupId, Stamp};
use crate::sources::bpf;

/// Minimum ratio of the interval between two walks to the time that a walk works: on a large tree all walks together
/// take less than a four-thousandth of a CPU …
const SHARE: u32 = 4000;
/// … times the number of containers that share them, up to this number: one per cent of a CPU.
const MOST_SHARES: u32 = 40;
/// Interval at which the threads look for due targets.
const LOOK: Duration = Duration::from_secs(1);
/// Minimum age of a size before it is read again: sizes change rarely, and reading one costs as much as ten files.
const SIZES: Duration = Duration::from_secs(10);
/// Longest wait for a size.
const SIZE_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest wait for a step of a walk, which is a few system calls on a disk that may be busy.
const STEP_TIMEOUT: Duration = Duration::from_secs(30);

/// The state that the source and its threads share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// Notified when there are new targets, and when a size is known.
    changed: Condvar,
}

/// The root filesystems to measure, and the latest results.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) wanted: BTreeMap<CgroupId, Target>,
    pub(super) sizes: BTreeMap<CgroupId, Measured<Result<Filesystem, Cause>>>,
    pub(super) walks: BTreeMap<CgroupId, Measured<Walked>>,
    /// Filesystems that do not answer: no other thread asks them.
    pub(super) silent: BTreeSet<CgroupId>,
}

/// A result, and the earliest time of the next one.
#[derive(Debug)]
pub(super) struct Measured<T> {
    pub(super) value: T,
    pub(super) due: Duration,
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub(super) fn notify(&self) {
        self.changed.notify_all();
    }

    /// Waits until each target that can be asked has a size, but no longer than `most`.
    pub(super) fn await_sizes(&self, most: Duration) -> MutexGuard<'_, State> {
        let lacks = |state: &mut State| {
            let known = |id| state.sizes.contains_key(id) || state.silent.contains(id);
            !state.wanted.keys().all(known)
        };
        let (state, _) =
            self.changed.wait_timeout_while(self.lock(), most, lacks).unwrap_or_else(PoisonError::into_inner);
        state
    }

    fn pause(&self, most: Duration) {
        // It does not matter whether somebody notified or the time is over.
        drop(self.changed.wait_timeout(self.lock(), most));
    }
}

impl State {
    /// Returns the target to measure now: one that was never measured, else the one overdue the longest.
    pub(super) fn next(
        &self,
        now: Duration,
        due: impl Fn(&Self, &CgroupId) -> Option<Duration>,
        is_mine: impl Fn(&Target) -> bool,
    ) -> Option<(CgroupId, Target)> {
        let due = |id: &CgroupId| due(self, id).unwrap_or(Duration::ZERO);
        let wanted = self.wanted.iter().filter(|(id, target)| is_mine(target) && !self.silent.contains(id));
        let (id, target) = wanted.filter(|(id, _)| due(id) <= now).min_by_key(|(id, _)| due(id))?;
        Some((*id, target.clone()))
    }

    /// Stores a result of a target that is still wanted.
    fn still_wants(&self, id: CgroupId, asked: &Target) -> bool {
        self.wanted.get(&id).is_some_and(|wanted| wanted.process == asked.process)
    }
}

/// Names of roots that this thread has given up, until its workers return.
struct GivenUp(BTreeSet<CgroupId>);

impl GivenUp {
    /// Records a root that does not answer. Returns the cause for its numbers.
    fn add(&mut self, shared: &Shared, id: CgroupId, error: &io::Error) -> Cause {
        if error.kind() == io::ErrorKind::TimedOut {
            self.0.insert(id);
            shared.lock().silent.insert(id);
            tracing::warn!(cgroup = id.0, %error, "A container's root filesystem does not answer: it is asked no more");
        }
        Cause::new(CauseKind::Failed, format!("the root filesystem: {error}"))
    }

    /// Asks those again whose workers have returned.
    fn forgive(&mut self, shared: &Shared, worker: &Worker) {
        if !self.0.is_empty() && !worker.has_given_up() {
            let mut state = shared.lock();
            for id in std::mem::take(&mut self.0) {
                state.silent.remove(&id);
                state.sizes.remove(&id);
                state.walks.remove(&id);
            }
        }
    }
}

/// Reads sizes until the source is dropped.
pub(super) fn run_sizes(shared: &Weak<Shared>, clock: fn() -> Stamp) {
    let mut worker = Worker::new("disk-size", bpf::leave_descriptors);
    let mut given_up = GivenUp(BTreeSet::new());
    while let Some(shared) = shared.upgrade() {
        given_up.forgive(&shared, &worker);
        let due = |state: &State, id: &CgroupId| state.sizes.get(id).map(|size| size.due);
        let next = shared.lock().next(clock().mono, due, |_| true);
        let Some((id, target)) = next else {
            shared.pause(LOOK);
            continue;
        };
        let asked = target.clone();
        let answer = worker.ask(SIZE_TIMEOUT, move |_| asked.open()?.filesystem(asked.root.display()));
        let value = answer.unwrap_or_else(|error| Err(given_up.add(&shared, id, &error)));
        let mut state = shared.lock();
        if state.still_wants(id, &target) {
            state.sizes.insert(id, Measured { value, due: clock().mono + SIZES });
        }
        drop(state);
        shared.notify();
    }
}

/// Walks root filesystems until the source is dropped: that of the machine, or those of containers, which must not wait
/// for its millions of files.
pub(super) fn run_walks(
    shared: &Weak<Shared>,
    exclude: &[PathBuf],
    is_machine: bool,
    interval: Duration,
    clock: fn() -> Stamp,
) {
    let mut worker = Worker::new("disk-walk", prepare_walks);
    let mut given_up = GivenUp(BTreeSet::new());
    while let Some(held) = shared.upgrade() {
        given_up.forgive(&held, &worker);
        let due = |state: &State, id: &CgroupId| state.walks.get(id).map(|walk| walk.due);
        let next = held.lock().next(clock().mono, due, |target| target.is_machine == is_machine);
        let Some((id, target)) = next else {
            held.pause(LOOK);
            continue;
        };
        drop(held);
        let (asked, exclude, source) = (target.clone(), exclude.to_vec(), Weak::clone(shared));
        let answer = worker.ask(STEP_TIMEOUT, move |pulse| measure(&asked, &exclude, clock, pulse, &source));
        let Some(shared) = shared.upgrade() else { return };
        let (walked, worked) = match answer {
            Ok(WalkEnd::Walked(walked, worked)) => (walked, worked),
            Ok(WalkEnd::Moved) => {
                shared.pause(LOOK);
                continue;
            }
            Ok(WalkEnd::Unwanted) => return,
            Err(error) => (absent(&given_up.add(&shared, id, &error)), Duration::ZERO),
        };
        let mut state = shared.lock();
        let sharing = u32::try_from(state.wanted.len()).unwrap_or(u32::MAX).clamp(1, MOST_SHARES);
        let due = clock().mono + interval.max(worked * (SHARE / sharing));
        if state.still_wants(id, &target) {
            state.walks.insert(id, Measured { value: walked, due });
        }
    }
}

/// Best effort: without the lowest priority a walk still pauses.
fn prepare_walks() {
    bpf::leave_descriptors();
    _ = rustix::process::nice(19);
}

/// The end of a walk.
enum WalkEnd {
    /// The result, and the time that the walk worked.
    Walked(Walked, Duration),
    /// The process has got another root, or has ended.
    Moved,
    /// Nobody waits for the result.
    Unwanted,
}

/// Walks a root and its upper layer. A process that its runtime has just started still has the machine's root for a
/// moment, and is given the container's.
fn measure(
    target: &Target,
    exclude: &[PathBuf],
    clock: fn() -> Stamp,
    pulse: &Pulse<WalkEnd>,
    source: &Weak<Shared>,
) -> WalkEnd {
    let mut worked = Duration::ZERO;
    let root = match target.open() {
        Ok(root) => root,
        Err(cause) => return WalkEnd::Walked(absent(&cause), worked),
    };
    let mut bytes = |top, exclude: &[PathBuf]| {
        let beneath = Beneath::new(top).map_err(|error| Cause::io(target.root.display(), &error));
        let walked = beneath.map_err(WalkError::Cause).and_then(|beneath| {
            walk(top, beneath, exclude, clock, |step| {
                worked += step;
                thread::sleep(PAUSE);
                pulse.beat() && source.strong_count() > 0 && root.is_still_at(&target.root)
            })
        });
        match walked {
            Ok(bytes) => Some(Ok(bytes)),
            Err(WalkError::Cause(cause)) => Some(Err(cause)),
            Err(WalkError::Stopped) => None,
        }
    };
    let used_bytes = bytes(&root.handle, exclude);
    let writable_bytes = match root.upper() {
        Ok(upper) if used_bytes.is_some() => bytes(&upper, &[]),
        Ok(_) => None,
        Err(cause) => Some(Err(cause)),
    };
    match used_bytes.zip(writable_bytes) {
        Some((used_bytes, writable_bytes)) if root.is_still_at(&target.root) => {
            WalkEnd::Walked(Walked { used_bytes, writable_bytes }, worked)
        }
        _ if source.strong_count() > 0 => WalkEnd::Moved,
        _ => WalkEnd::Unwanted,
    }
}

fn absent(cause: &Cause) -> Walked {
    Walked { used_bytes: Err(cause.clone()), writable_bytes: Err(cause.clone()) }
}
