//! Mirrors the backlog to disk, without ever waiting for the disk.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::backlog::{Backlog, StreamEntry};
use super::disk_store::{Change, DiskStore, DiskStoreError, Loaded};
use crate::snapshot::Stamp;
use crate::timer;

/// An entry that waits for longer than this is always copied: a server may accept reports and refuse the history.
const LONG: Duration = Duration::from_secs(2);

/// The pause after the disk has failed.
const COOLDOWN: Duration = Duration::from_secs(5);

/// The copy, and its known state.
#[derive(Debug)]
pub(super) struct DiskMirror {
    dir: PathBuf,
    /// `None` while a change is under way, and after one that failed.
    store: Option<DiskStore>,
    change: Option<JoinHandle<Changed>>,
    /// The numbers of the entries on disk.
    saved: BTreeSet<u64>,
    /// True if the contents of the disk are unknown and must be rewritten.
    anew: bool,
    failing: bool,
    paused_until: Option<Instant>,
}

/// The result of a change: the store, if it is still good, and the entries that it then holds.
type Changed = (Result<DiskStore, DiskStoreError>, BTreeSet<u64>);

impl DiskMirror {
    /// Opens the copy and reads what an earlier run has left: entries with their ages, oldest first. Blocks.
    pub(super) fn open(dir: &Path, now: Stamp) -> Option<(Self, Vec<StreamEntry>)> {
        let (store, found) = match DiskStore::open(dir) {
            Ok(opened) => opened,
            Err(error) => {
                tracing::warn!(%error, "Disk buffer unavailable, buffering in memory");
                return None;
            }
        };
        found.log_damage();
        let waiting = found.entries.len();
        if waiting > 0 {
            tracing::info!(entries = waiting, dir = %dir.display(), "Entries of an earlier run wait to be written");
        }
        let mirror = Self {
            dir: dir.to_owned(),
            store: Some(store),
            change: None,
            saved: found.entries.iter().map(|(entry, _)| entry.seq).collect(),
            anew: found.damaged > 0,
            failing: false,
            paused_until: None,
        };
        Some((mirror, aged(found.entries, now.mono)))
    }

    /// Returns whether a change is under way.
    pub(super) fn is_busy(&self) -> bool {
        self.change.is_some()
    }

    /// Waits for the change that is under way, and records its result.
    pub(super) async fn changed(&mut self) {
        let Some(change) = &mut self.change else { return };
        let changed = change.await;
        self.change = None;
        match changed {
            Ok((Ok(store), saved)) => {
                if std::mem::take(&mut self.failing) {
                    tracing::info!("Disk buffer is written again");
                }
                (self.store, self.saved, self.anew) = (Some(store), saved, false);
            }
            Ok((Err(error), _)) => self.fail(&error),
            Err(panic) => self.fail(&panic),
        }
    }

    fn fail(&mut self, error: &dyn std::error::Error) {
        if !std::mem::replace(&mut self.failing, true) {
            tracing::warn!(%error, "Disk buffer cannot be written, buffering in memory");
        }
        self.anew = true;
        self.paused_until = Some(timer::now() + COOLDOWN);
    }

    /// Starts to update the copy, unless an update is under way or needless. A new entry is copied only if it has to
    /// `wait`: normally the server has it before the disk could.
    pub(super) fn follow(&mut self, backlog: &Backlog, wait: bool, now: Stamp) {
        if self.is_busy() || self.paused_until.is_some_and(|until| timer::now() < until) {
            return;
        }
        let known = if self.anew { BTreeSet::new() } else { self.saved.clone() };
        let waiting: BTreeSet<u64> = backlog.entries().map(|entry| entry.seq).collect();
        let removed: Vec<u64> = known.difference(&waiting).copied().collect();
        let made = |entry: &StreamEntry| now.wall - now.mono.saturating_sub(entry.made);
        let added: Vec<(StreamEntry, SystemTime)> = backlog
            .entries()
            .filter(|entry| (wait || entry.made + LONG <= now.mono) && !known.contains(&entry.seq))
            .map(|entry| (entry.clone(), made(entry)))
            .collect();
        if removed.is_empty() && added.is_empty() {
            return;
        }
        let saved = known.intersection(&waiting).copied().chain(added.iter().map(|(entry, _)| entry.seq)).collect();
        let (change, store, dir) = (Change { anew: self.anew, added, removed }, self.store.take(), self.dir.clone());
        self.change = Some(tokio::task::spawn_blocking(move || {
            let done = store.map_or_else(|| DiskStore::open(&dir).map(|(store, _)| store), Ok);
            (done.and_then(|mut store| store.apply(&change).map(|()| store)), saved)
        }));
    }
}

impl Loaded {
    fn log_damage(&self) {
        if let Some(cause) = &self.aside {
            tracing::warn!(%cause, "Disk buffer cannot be read, moved aside");
        }
        if self.damaged > 0 {
            tracing::warn!(entries = self.damaged, "Entries of the disk buffer are damaged");
        }
    }
}

/// Ages entries of an earlier run as if the latest had been made now: the time without an agent is no reason to drop
/// them.
fn aged(entries: Vec<(StreamEntry, SystemTime)>, now: Duration) -> Vec<StreamEntry> {
    let latest = entries.last().map_or(SystemTime::UNIX_EPOCH, |(_, made)| *made);
    let age = |made: SystemTime| latest.duration_since(made).unwrap_or_default();
    entries.into_iter().map(|(entry, made)| StreamEntry { made: now.saturating_sub(age(made)), ..entry }).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::backlog::Outcome;
    use super::super::stream::{EntryId, Stream};
    use super::*;

    fn now() -> Stamp {
        Stamp { mono: Duration::from_secs(100), wall: SystemTime::UNIX_EPOCH + Duration::from_secs(5000) }
    }

    fn open(dir: &Path) -> (DiskMirror, Vec<StreamEntry>) {
        DiskMirror::open(dir, now()).expect("no mirror")
    }

    fn backlog(count: u64) -> Backlog {
        let mut backlog = Backlog::new(Duration::from_secs(3600));
        push(&mut backlog, 0..count);
        backlog
    }

    /// A backlog with an entry that was just made.
    fn fresh() -> Backlog {
        let mut backlog = Backlog::new(Duration::from_secs(3600));
        backlog.push(Stream::history("web"), EntryId { millis: 1, seq: 0 }, "{}".into(), now().mono);
        backlog
    }

    fn push(backlog: &mut Backlog, seconds: std::ops::Range<u64>) {
        for second in seconds {
            let id = EntryId { millis: second * 1000, seq: 0 };
            backlog.push(Stream::history("web"), id, format!("{{{second}}}").into(), Duration::from_secs(90 + second));
        }
    }

    async fn follow(mirror: &mut DiskMirror, backlog: &Backlog) {
        mirror.follow(backlog, true, now());
        mirror.changed().await;
    }

    fn texts(entries: &[StreamEntry]) -> Vec<&str> {
        entries.iter().map(|entry| &*entry.json).collect()
    }

    #[tokio::test]
    async fn what_waits_survives_and_what_is_written_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let (mut mirror, found) = open(dir.path());
        assert!(found.is_empty());
        let mut waiting = backlog(4);
        mirror.follow(&fresh(), false, now());
        assert!(!mirror.is_busy(), "nothing is copied while all goes well");
        follow(&mut mirror, &waiting).await;
        let first = waiting.entries().next().unwrap().clone();
        waiting.conclude(&first, Outcome::Written);
        mirror.follow(&waiting, false, now());
        mirror.changed().await;
        drop(mirror);
        let (_mirror, found) = open(dir.path());
        assert_eq!(texts(&found), ["{1}", "{2}", "{3}"]);
        let made: Vec<u64> = found.iter().map(|entry| entry.made.as_secs()).collect();
        assert_eq!(made, [98, 99, 100], "the latest is as if made now");
        let first = found[0].clone();
        assert_eq!(
            (first.stream, first.id.to_string().as_str(), first.doubtful),
            (Stream::history("web"), "1000-0", true)
        );
    }

    #[tokio::test]
    async fn a_second_agent_on_the_same_directory_goes_without() {
        let dir = tempfile::tempdir().unwrap();
        let (_mirror, _) = open(dir.path());
        assert!(DiskStore::open(dir.path()).unwrap_err().to_string().contains("another agent uses it"));
        assert!(DiskMirror::open(dir.path(), now()).is_none());
    }

    #[tokio::test]
    async fn what_is_no_store_or_damaged_or_of_another_version_is_moved_aside_or_skipped_and_never_a_panic() {
        let dir = tempfile::tempdir().unwrap();
        let (mut mirror, _) = open(dir.path());
        follow(&mut mirror, &backlog(40)).await;
        drop(mirror);
        let path = dir.path().join("backlog.redb");
        let good = crate::foreign::read(&path, 64 << 20).unwrap();
        let mut moved = 0;
        let torn: Vec<Vec<u8>> = [0, 1, 100, 4096, good.len() / 2, good.len() - 1]
            .map(|end| good[..end].to_vec())
            .into_iter()
            .chain((0..good.len()).step_by(good.len() / 20).map(|at| {
                let mut flipped = good.clone();
                flipped[at] ^= 0x10;
                flipped
            }))
            .chain([b"something else".repeat(1000)])
            .collect();
        for bytes in torn {
            fs::write(&path, bytes).unwrap();
            let (mut mirror, found) = open(dir.path());
            assert!(found.len() <= 40 && found.iter().all(|entry| entry.json.len() <= 4));
            let aside = dir.path().join("backlog.redb.aside");
            moved += u32::from(aside.exists());
            _ = fs::remove_file(aside);
            follow(&mut mirror, &backlog(3)).await;
            drop(mirror);
            assert_eq!(open(dir.path()).1.iter().filter(|entry| entry.seq < 3).count(), 3);
        }
        assert!(moved > 3, "{moved} moved aside");
    }

    #[tokio::test]
    async fn a_disk_that_refuses_costs_the_copy_alone_and_is_written_anew_later() {
        tokio::time::pause();
        let dir = tempfile::tempdir().unwrap();
        let (mut mirror, _) = open(dir.path());
        let mut waiting = backlog(2);
        follow(&mut mirror, &waiting).await;
        // A file in the place of the directory refuses everybody, root too.
        mirror.store = None;
        mirror.dir = dir.path().join("backlog.redb");
        push(&mut waiting, 2..3);
        follow(&mut mirror, &waiting).await;
        assert!(mirror.failing && mirror.store.is_none());
        mirror.follow(&waiting, true, now());
        assert!(!mirror.is_busy(), "it pauses");
        tokio::time::advance(COOLDOWN).await;
        mirror.dir = dir.path().to_owned();
        follow(&mut mirror, &waiting).await;
        assert!(!mirror.failing);
        drop(mirror);
        assert_eq!(texts(&open(dir.path()).1), ["{0}", "{1}", "{2}"]);
    }
}
