//! Walk over the directories of a cgroup tree.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::snapshot::CgroupId;

/// One cgroup of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    /// The inode of its directory.
    pub id: CgroupId,
    /// Its path below the tree's root, empty for the root itself.
    pub path: PathBuf,
    /// Its parent; the root is its own parent.
    pub parent: CgroupId,
}

/// Lists all cgroups of a tree, parents before children. Directories removed meanwhile are left out.
///
/// A directory has two links plus one per child directory (`kernfs`), so those without children are not opened.
///
/// # Errors
/// If the root cannot be read, or if descriptors or memory run out: what was found by then is only a part of the tree.
pub fn tree(root: &Path) -> io::Result<Vec<Directory>> {
    let stat = rustix::fs::stat(root)?;
    let mut found = vec![Directory { id: CgroupId(stat.st_ino), path: PathBuf::new(), parent: CgroupId(stat.st_ino) }];
    let mut left = vec![0];
    while let Some(at) = left.pop() {
        let (parent, path) = (found[at].id, found[at].path.clone());
        let children = match children(&root.join(&path)) {
            Ok(children) => children,
            Err(error) if at == 0 || is_shortage(&error) => return Err(error),
            // It was removed meanwhile, or nobody may look into it.
            Err(_) => continue,
        };
        for (name, id, has_children) in children {
            if has_children {
                left.push(found.len());
            }
            found.push(Directory { id, path: path.join(OsStr::from_bytes(&name)), parent });
        }
    }
    Ok(found)
}

/// True for an error that passes: the same directory can be read later.
fn is_shortage(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM))
}

/// Returns the child directories, by id; none if the directory was removed.
pub fn child_names(dir: &Path) -> HashMap<CgroupId, OsString> {
    let mut names = HashMap::new();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let entries = rustix::fs::open(dir, flags, Mode::empty()).and_then(|handle| Dir::read_from(&handle));
    for entry in entries.into_iter().flatten().flatten() {
        let name = entry.file_name().to_bytes();
        if entry.file_type() == FileType::Directory && name != b"." && name != b".." {
            names.insert(CgroupId(entry.ino()), OsStr::from_bytes(name).to_owned());
        }
    }
    names
}

/// Returns name and id of each child directory, and true if it has children itself.
fn children(dir: &Path) -> io::Result<Vec<(Vec<u8>, CgroupId, bool)>> {
    let handle = rustix::fs::open(dir, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut children = Vec::new();
    for entry in Dir::read_from(&handle)? {
        let entry = entry?;
        let name = entry.file_name();
        if entry.file_type() != FileType::Directory || matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        if let Ok(stat) = rustix::fs::statat(&handle, name, AtFlags::SYMLINK_NOFOLLOW) {
            children.push((name.to_bytes().to_vec(), CgroupId(stat.st_ino), stat.st_nlink > 2));
        }
    }
    Ok(children)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn every_directory_is_found_behind_the_one_that_it_is_in() {
        let dir = tempfile::tempdir().unwrap();
        for path in ["a/b/c", "a/d", "e"] {
            fs::create_dir_all(dir.path().join(path)).unwrap();
        }
        fs::write(dir.path().join("a/file"), "").unwrap();
        fs::create_dir(dir.path().join(OsStr::from_bytes(b"bad\xff"))).unwrap();
        let found = tree(dir.path()).unwrap();
        let mut paths: Vec<_> = found.iter().map(|directory| directory.path.as_os_str().as_bytes().to_vec()).collect();
        paths.sort();
        assert_eq!(paths, [&b""[..], b"a", b"a/b", b"a/b/c", b"a/d", b"bad\xff", b"e"]);
        for (at, directory) in found.iter().enumerate() {
            assert_eq!(directory.id.0, fs::metadata(dir.path().join(&directory.path)).unwrap().ino());
            assert!(found[..=at].iter().any(|before| before.id == directory.parent), "{directory:?}");
        }
    }

    #[test]
    fn what_is_deeper_than_any_path_is_left_out_and_the_rest_is_found() {
        let (dir, name) = (tempfile::tempdir().unwrap(), "d".repeat(255));
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut inmost = rustix::fs::open(dir.path(), flags, Mode::empty()).unwrap();
        for _ in 0..40 {
            rustix::fs::mkdirat(&inmost, name.as_str(), Mode::RWXU).unwrap();
            inmost = rustix::fs::openat(&inmost, name.as_str(), flags, Mode::empty()).unwrap();
        }
        fs::create_dir(dir.path().join("e")).unwrap();
        // 15 names of this length and the directory around them fit into the 4096 bytes of a path.
        let found = tree(dir.path()).unwrap();
        assert!((15..20).contains(&found.len()), "{}", found.len());
        assert!(found.iter().any(|directory| directory.path == Path::new("e")));
    }

    #[test]
    fn the_directories_in_one_are_known_by_their_ids() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        let id = CgroupId(fs::metadata(dir.path().join("a")).unwrap().ino());
        assert_eq!(child_names(dir.path()), HashMap::from([(id, "a".into())]));
        assert!(child_names(Path::new("/nonexistent")).is_empty());
    }

    #[test]
    fn a_tree_that_is_not_there_is_an_error() {
        assert!(tree(Path::new("/nonexistent")).is_err());
    }
}
