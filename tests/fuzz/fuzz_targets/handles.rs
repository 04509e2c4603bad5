//! Files by handle, below a directory in which somebody else has put links, sockets, directories and files of any owner and
//! length: exactly the regular files are read, and nothing outside.
#![no_main]

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, lchown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use libfuzzer_sys::fuzz_target;
use monitor::foreign::Directory;

/// The parts of the paths that are made.
const NAMES: [&str; 3] = ["overlay-containers", "containers.json", "userdata"];
/// What links lead to: outside by two ways, a file without an end, a file that blocks, and a name beside the link.
const AIMS: [&str; 6] = ["../../outside", "/proc/self/environ", "/dev/zero", "/dev/tty", "userdata", "."];
const SECRET: &[u8] = b"the secret";
/// The longest file that is read.
const MOST: usize = 64;
/// A user other than this process'.
const OTHER: u32 = 12_345;
const STEPS: usize = 12;

/// A directory for one input, removed when dropped.
struct Tree(PathBuf);

impl Drop for Tree {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.0);
    }
}

/// One step: what is made, where, and with which length or aim.
fn make(root: &Path, &[what, place, size]: &[u8; 3]) -> io::Result<()> {
    let paths = paths();
    let path = root.join(&paths[usize::from(place) % paths.len()]);
    match what % 7 {
        0 => fs::create_dir(path),
        // A link is not written through.
        1 => File::create_new(path)?.write_all(&vec![b'x'; usize::from(size)]),
        2 => symlink(AIMS[usize::from(size) % AIMS.len()], path),
        3 => UnixListener::bind(path).map(drop),
        4 => fs::hard_link(root.join("containers.json"), path),
        5 => lchown(&path, Some(OTHER), None),
        _ => fs::remove_file(path),
    }
}

/// All paths of one and of two parts.
fn paths() -> Vec<PathBuf> {
    let pairs = NAMES.into_iter().flat_map(|outer| NAMES.into_iter().map(move |inner| Path::new(outer).join(inner)));
    NAMES.into_iter().map(PathBuf::from).chain(pairs).collect()
}

/// True if the path leads to a regular file of `owner` that is not too long, by directories alone.
fn may_be_read(root: &Path, path: &Path, owner: u32) -> bool {
    let mut at = root.to_owned();
    let mut parts = path.iter().peekable();
    while let Some(part) = parts.next() {
        at.push(part);
        let Ok(found) = fs::symlink_metadata(&at) else { return false };
        let is_last = parts.peek().is_none();
        let is_file = found.is_file() && found.uid() == owner && found.len() <= MOST as u64;
        if !(if is_last { is_file } else { found.is_dir() }) {
            return false;
        }
    }
    true
}

fuzz_target!(|steps: &[u8]| {
    let tree = Tree(std::env::temp_dir().join(format!("system-monitor-handles-{}", std::process::id())));
    let root = tree.0.join("home");
    fs::create_dir_all(&root).expect("a directory");
    fs::write(tree.0.join("outside"), SECRET).expect("a file");
    for step in steps.as_chunks().0.iter().take(STEPS) {
        // What does not go, as a file in a directory that is missing, is left out.
        _ = make(&root, step);
    }
    let directory = Directory::open(&root).expect("it is there");
    let me = directory.owner().expect("it has an owner");
    assert!(directory.read(Path::new("../outside"), &[me], MOST).is_err());
    for path in paths() {
        let found = directory.read(&path, &[me], MOST);
        assert_eq!(found.is_ok(), may_be_read(&root, &path, me), "{}: {found:?}", path.display());
        if let Ok(found) = found {
            assert!(found.owner == me && found.bytes.len() <= MOST && found.bytes != SECRET);
            assert_eq!(directory.version(&path).ok(), Some(found.version));
        }
        _ = directory.enter(&path).and_then(|below| below.names(8));
    }
});
