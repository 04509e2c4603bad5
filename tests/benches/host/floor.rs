//! The floor that the kernel sets: the files of all containers, kept open and reopened.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use monitor::snapshot::Snapshot;
use monitor::sources::Source;
use monitor::sources::cgroup::CgroupFiles;

use crate::clock::stamp;
use crate::machine::descriptors;

/// The most files of a container.
const MOST_FILES: usize = 40;

/// The files of all containers, read by their source, kept open, and reopened.
pub struct Floor {
    pub snapshot: Snapshot,
    source: CgroupFiles,
    pub kept: Vec<(PathBuf, File)>,
    buffer: Vec<u8>,
}

impl Floor {
    pub fn of(snapshot: &Snapshot) -> Self {
        let mut empty = Snapshot::new(stamp());
        // Only as many containers as the limit of descriptors allows to open twice.
        for (id, cgroup) in snapshot.cgroups.iter().take(descriptors() / 2 / MOST_FILES) {
            empty.cgroups.entry(*id).or_default().identity = Arc::clone(&cgroup.identity);
        }
        let source = CgroupFiles::new(descriptors() / 2, Path::new("/sys"));
        let mut floor = Self { snapshot: empty, source, kept: Vec::new(), buffer: vec![0; 16_384] };
        let known: Vec<PathBuf> = open_files().into_iter().map(|(path, _)| path).collect();
        let before = known.len();
        let mut empty = floor.snapshot.clone();
        floor.source(&mut empty);
        // The descriptors of the source are higher than those that were open before.
        let mut seen: BTreeMap<PathBuf, usize> = BTreeMap::new();
        known.into_iter().for_each(|path| *seen.entry(path).or_default() += 1);
        for (path, file) in open_files() {
            match seen.get_mut(&path) {
                Some(more) if *more > 0 => *more -= 1,
                _ => floor.kept.push((path, file)),
            }
        }
        assert!(!floor.kept.is_empty(), "{before} files are open");
        floor
    }

    pub fn source(&mut self, into: &mut Snapshot) {
        self.source.sample(into).unwrap();
    }

    pub fn pread(&mut self) {
        for (_, file) in &self.kept {
            _ = file.read_at(&mut self.buffer, 0);
        }
    }

    pub fn anew(&mut self) {
        for (path, _) in &self.kept {
            _ = File::open(path).and_then(|file| file.read_at(&mut self.buffer, 0));
        }
    }
}

/// The descriptors of this process that lie in a cgroup tree, reopened.
fn open_files() -> Vec<(PathBuf, File)> {
    let entries = fs::read_dir("/proc/self/fd").unwrap().flatten();
    let paths: Vec<PathBuf> = entries.filter_map(|entry| fs::read_link(entry.path()).ok()).collect();
    paths
        .into_iter()
        .filter(|path| path.starts_with("/sys/fs/cgroup") && path.is_file())
        .filter_map(|path| Some((path.clone(), File::open(path).ok()?)))
        .collect()
}
