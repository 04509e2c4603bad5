//! Maps and links that outlive the agent, pinned in a directory of the BPF file system.
//!
//! ```text
//! <directory>/agent                who holds it (see `crate::lock`)
//! <directory>/<object>/maps/*      by the maps' names
//! <directory>/<object>/links/*     by the programs' names
//! <directory>/<object>/programs/*  those that may miss events, likewise
//! ```

use std::fs;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use aya::Ebpf;
use aya::maps::{Array, Map, MapData};
use aya::programs::links::FdLink;
use bytemuck::Zeroable;
use monitor_common::{LAYOUT, Meta};

use super::{growable, sys};
use crate::lock::{self, DirectoryLock, LockError};
use crate::refusal::without_bpf_fs;

/// `BPF_FS_MAGIC` (`include/uapi/linux/magic.h`).
const BPF_FS: i64 = 0xcafe_4a11;

/// The map that describes the pinned maps.
const META: &str = "META";

/// The kinds of pins, in the order of their removal: links first, so that nothing counts into removed maps.
const KINDS: [&str; 3] = ["links", "programs", "maps"];

/// The maps that are pinned: neither a program's constants nor its ring buffers.
fn is_lasting(map: &str) -> bool {
    !map.contains('.') && map != "AYA_LOGS"
}

/// A directory of pins, locked for this agent while this value lives.
#[derive(Debug)]
pub struct Pins {
    dir: PathBuf,
    _lock: DirectoryLock,
}

/// Errors of opening the directory of pins.
#[derive(Debug, thiserror::Error)]
pub enum PinsError {
    /// The directory lies in no BPF file system.
    #[error("{}", without_bpf_fs(.0).cause)]
    NoBpfFs(PathBuf),
    /// It contains a file that this program did not create.
    #[error("{} is not this program's", .0.display())]
    Foreign(PathBuf),
    /// It is locked, owned or writable by somebody else.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// An error of the system.
    #[error("{}: {}", .0.display(), .1)]
    Io(PathBuf, io::Error),
}

impl PinsError {
    /// Returns the remedy.
    pub fn remedy(&self) -> String {
        match self {
            Self::NoBpfFs(dir) => without_bpf_fs(dir).remedy.unwrap_or_default(),
            Self::Foreign(path) => format!("remove {}, or name another directory with --pin", path.display()),
            Self::Lock(error) => error.remedy(),
            Self::Io(..) => "start the agent as root, or with --pin off".to_owned(),
        }
    }
}

impl Pins {
    /// Locks the directory for the agent named `me`, and creates it if missing.
    ///
    /// # Errors
    /// See [`PinsError`].
    pub fn open(dir: &Path, me: &str) -> Result<Self, PinsError> {
        let parent = dir.parent().unwrap_or(dir);
        let stat = rustix::fs::statfs(parent).map_err(|error| PinsError::Io(parent.to_owned(), error.into()))?;
        if stat.f_type != BPF_FS {
            return Err(PinsError::NoBpfFs(dir.to_owned()));
        }
        let lock = DirectoryLock::acquire(dir, me)?;
        match foreign(dir) {
            Ok(None) => Ok(Self { dir: dir.to_owned(), _lock: lock }),
            Ok(Some(path)) => Err(PinsError::Foreign(path)),
            Err(error) => Err(PinsError::Io(dir.to_owned(), error)),
        }
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns the pins of one object that counts in and below the cgroup `scope`. Pins that this agent cannot take
    /// over are removed, with a warning.
    pub(super) fn object(&self, name: &str, scope: u64) -> io::Result<PinnedObject> {
        let mut kept = PinnedObject { dir: self.dir.join(name), since: None };
        match kept.found(scope) {
            FoundPins::Nothing => {}
            FoundPins::Whole(meta) => kept.since = Some(meta.since),
            FoundPins::Unusable(why) => {
                tracing::warn!(dir = %kept.dir.display(), cause = %why, "Pinned maps removed: counting starts at zero");
                remove(&kept.dir)?;
            }
        }
        for dir in [kept.maps(), kept.links(), kept.programs()] {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        }
        Ok(kept)
    }

    /// Removes the pins of objects that this version does not know.
    pub(super) fn forget_others(&self, known: &[&str]) -> io::Result<()> {
        for name in names(&self.dir)? {
            if name != lock::HOLDER && !known.contains(&name.as_str()) {
                tracing::info!(object = name, "Pins of another version removed: this version does not know the object");
                remove(&self.dir.join(name))?;
            }
        }
        Ok(())
    }

    /// Removes all pins, and returns their names.
    ///
    /// # Errors
    /// A pin that cannot be removed.
    pub fn detach(self) -> Result<Vec<String>, PinsError> {
        let failed = |error| PinsError::Io(self.dir.clone(), error);
        let mut removed = Vec::new();
        for object in names(&self.dir).map_err(failed)? {
            if object != lock::HOLDER {
                removed.extend(remove(&self.dir.join(object)).map_err(failed)?);
            }
        }
        self._lock.remove().map_err(failed)?;
        Ok(removed)
    }
}

/// The state of an object's pins.
enum FoundPins {
    Nothing,
    Whole(Meta),
    Unusable(String),
}

/// The pins of one object.
#[derive(Debug)]
pub(super) struct PinnedObject {
    dir: PathBuf,
    /// The time from which the taken-over maps have counted, in nanoseconds of Unix time.
    since: Option<u64>,
}

impl PinnedObject {
    /// Returns the directory of its pinned maps.
    pub(super) fn maps(&self) -> PathBuf {
        self.dir.join("maps")
    }

    fn links(&self) -> PathBuf {
        self.dir.join("links")
    }

    fn programs(&self) -> PathBuf {
        self.dir.join("programs")
    }

    fn found(&self, scope: u64) -> FoundPins {
        if !self.dir.exists() {
            return FoundPins::Nothing;
        }
        match read_meta(&self.maps().join(META)) {
            Err(error) => FoundPins::Unusable(format!("the map {META} cannot be read: {error}")),
            Ok(Meta { layout: 0, .. }) => FoundPins::Unusable("the set of pins is not complete".to_owned()),
            Ok(meta) if meta.layout != LAYOUT => {
                FoundPins::Unusable(format!("it has layout {}, and this version reads layout {LAYOUT}", meta.layout))
            }
            Ok(meta) if meta.scope != scope => FoundPins::Unusable("it counts another cgroup".to_owned()),
            Ok(meta) => FoundPins::Whole(meta),
        }
    }

    /// Returns the time from which the taken-over maps have counted.
    pub(super) fn since(&self) -> Option<u64> {
        self.since
    }

    /// Returns the pinned maps to take over, by name.
    pub(super) fn found_maps(&self) -> io::Result<Vec<(String, PathBuf)>> {
        let dir = self.maps();
        let names = names(&dir)?.into_iter().filter(|name| growable::number(name).is_none());
        Ok(names.map(|name| (name.clone(), dir.join(name))).collect())
    }

    /// Returns the pinned link of this program.
    pub(super) fn link(&self, program: &str) -> Option<OwnedFd> {
        sys::open_pinned(&self.links().join(program)).ok()
    }

    /// Returns the pinned program behind the link.
    pub(super) fn program(&self, name: &str) -> Option<OwnedFd> {
        sys::open_pinned(&self.programs().join(name)).ok()
    }

    /// Pins a program that is about to get a link.
    pub(super) fn keep_program(&self, name: &str, program: BorrowedFd<'_>) -> io::Result<()> {
        let path = self.programs().join(name);
        // A leftover program without a link may occupy the path.
        _ = fs::remove_file(&path);
        sys::pin(program, &path)
    }

    /// Pins a new link.
    pub(super) fn keep_link(&self, program: &str, link: FdLink) -> io::Result<OwnedFd> {
        let path = self.links().join(program);
        // A link to a removed cgroup may occupy the path.
        _ = fs::remove_file(&path);
        link.pin(&path).map_err(io::Error::other)?;
        sys::open_pinned(&path)
    }

    /// Pins the remaining maps, and removes pins unknown to this version and those of programs that are switched off.
    /// Then it marks the pins as complete.
    pub(super) fn complete(
        &self,
        ebpf: &mut Ebpf,
        programs: &[&str],
        off: &[&str],
        scope: u64,
        since: u64,
    ) -> io::Result<()> {
        let is_lasting = |map: &str| is_lasting(map) && !off.iter().any(|program| program.eq_ignore_ascii_case(map));
        let maps: Vec<&str> = ebpf.maps().map(|(name, _)| name).filter(|name| is_lasting(name)).collect();
        keep_only(&self.links(), |name| programs.contains(&name))?;
        keep_only(&self.programs(), |name| programs.contains(&name))?;
        keep_only(&self.maps(), |name| maps.contains(&name) || growable::number(name).is_some())?;
        for (name, map) in ebpf.maps().filter(|(name, _)| is_lasting(name)) {
            let path = self.maps().join(name);
            if !path.exists() {
                map.pin(&path).map_err(io::Error::other)?;
            }
        }
        let map = ebpf.map_mut(META).ok_or_else(|| io::Error::other("the object has no map META"))?;
        let mut map = Array::<_, [u64; 3]>::try_from(map).map_err(io::Error::other)?;
        map.set(0, bytemuck::cast::<Meta, [u64; 3]>(Meta { layout: LAYOUT, scope, since }), 0).map_err(io::Error::other)
    }
}

fn read_meta(path: &Path) -> io::Result<Meta> {
    let map = MapData::from_pin(path).map_err(io::Error::other)?;
    let size = map.info().map_err(io::Error::other)?.value_size();
    if size as usize != size_of::<Meta>() {
        // A later version may have a larger description.
        return Ok(Meta { layout: u64::MAX, ..Meta::zeroed() });
    }
    let map = Array::<_, [u64; 3]>::try_from(Map::Array(map)).map_err(io::Error::other)?;
    Ok(bytemuck::cast(map.get(&0, 0).map_err(io::Error::other)?))
}

/// Returns the first file in the directory that no version of this program creates.
fn foreign(dir: &Path) -> io::Result<Option<PathBuf>> {
    for name in names(dir)? {
        let path = dir.join(&name);
        if name == lock::HOLDER {
            continue;
        }
        if !fs::symlink_metadata(&path)?.is_dir() {
            return Ok(Some(path));
        }
        if let Some(other) = names(&path)?.into_iter().find(|name| !KINDS.contains(&name.as_str())) {
            return Ok(Some(path.join(other)));
        }
    }
    Ok(None)
}

fn names(dir: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        names.push(entry?.file_name().into_string().map_err(|_| io::Error::other("a file name is not valid UTF-8"))?);
    }
    names.sort();
    Ok(names)
}

fn keep_only(dir: &Path, is_wanted: impl Fn(&str) -> bool) -> io::Result<()> {
    names(dir)?.into_iter().filter(|name| !is_wanted(name)).try_for_each(|name| fs::remove_file(dir.join(name)))
}

/// Removes the directory of an object, and returns the names of its pins.
fn remove(object: &Path) -> io::Result<Vec<String>> {
    let what = object.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut removed = Vec::new();
    for kind in KINDS {
        let dir = object.join(kind);
        if !dir.exists() {
            continue;
        }
        for name in names(&dir)? {
            fs::remove_file(dir.join(&name))?;
            removed.push(format!("{} {name} of {what}", kind.trim_end_matches('s')));
        }
        fs::remove_dir(dir)?;
    }
    fs::remove_dir(object)?;
    Ok(removed)
}
