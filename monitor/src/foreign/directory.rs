//! A directory below which somebody else may have put links, mounts, pipes and files of any length.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use rustix::fs::{Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::file::{READ, read_open};
use super::mount::{MountId, mount_id, named, on_mount};

/// A directory, and the mount below which its files are looked for.
#[derive(Debug)]
pub struct Directory {
    handle: OwnedFd,
    mount: MountId,
}

/// A file that was read.
#[derive(Debug)]
pub struct ForeignFile {
    /// Its content.
    pub bytes: Vec<u8>,
    /// The user whom it belongs to.
    pub owner: u32,
    /// Its version.
    pub version: FileVersion,
}

/// The version of a file, which any change replaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileVersion {
    inode: u64,
    size: i64,
    changed: (i64, i64),
}

impl FileVersion {
    #[expect(clippy::unnecessary_cast, reason = "the types differ between architectures")]
    fn of(stat: &Stat) -> Self {
        Self {
            inode: stat.st_ino,
            size: stat.st_size as i64,
            changed: (stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        }
    }
}

impl Directory {
    /// Opens a directory that only the machine's own users can replace: links in its path are followed.
    ///
    /// # Errors
    /// Returns the error of the system call.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = rustix::fs::open(path, flags, Mode::empty())?;
        Ok(Self { mount: mount_id(&handle)?, handle })
    }

    /// Opens a directory below this one. No component may be a link, lead upwards, or be a mount.
    ///
    /// # Errors
    /// Returns the error of the system call; `EXDEV` for a mount, `ELOOP` or `ENOTDIR` for a link.
    pub fn enter(&self, below: &Path) -> io::Result<Self> {
        Ok(Self { handle: self.walk(below)?, mount: self.mount })
    }

    /// Reads a regular file below this directory, of at most `most` bytes, that belongs to one of `owners`.
    ///
    /// # Errors
    /// As [`enter`](Self::enter); `EPERM` for the file of another user, `EINVAL` if it is not a regular file.
    pub fn read(&self, below: &Path, owners: &[u32], most: usize) -> io::Result<ForeignFile> {
        let (parent, name) = self.parent_of(below)?;
        // Checked before it is opened, and again afterwards: it may be replaced in between.
        regular(&named(self.mount, &parent, name)?, owners)?;
        let handle = rustix::fs::openat(&parent, name, READ | OFlags::NOFOLLOW, Mode::empty())?;
        let handle = on_mount(self.mount, handle)?;
        let stat = regular(&handle, owners)?;
        Ok(ForeignFile { bytes: read_open(handle.into(), most)?, owner: stat.st_uid, version: FileVersion::of(&stat) })
    }

    /// Returns the version of a file below this directory.
    ///
    /// # Errors
    /// As [`enter`](Self::enter).
    pub fn version(&self, below: &Path) -> io::Result<FileVersion> {
        let (parent, name) = self.parent_of(below)?;
        Ok(FileVersion::of(&rustix::fs::fstat(named(self.mount, &parent, name)?)?))
    }

    /// Returns the user whom the directory belongs to.
    ///
    /// # Errors
    /// Returns the error of the system call.
    pub fn owner(&self) -> io::Result<u32> {
        Ok(rustix::fs::fstat(&self.handle)?.st_uid)
    }

    /// Returns the names in the directory, in order, but no more than `most`.
    ///
    /// # Errors
    /// Returns the error of the system call.
    pub fn names(&self, most: usize) -> io::Result<Vec<OsString>> {
        let handle = rustix::fs::openat(&self.handle, ".", READ | OFlags::DIRECTORY, Mode::empty())?;
        let entries = Dir::new(handle)?.filter_map(Result::ok);
        let entries = entries.filter(|entry| !matches!(entry.file_name().to_bytes(), b"." | b".."));
        let mut names: Vec<OsString> =
            entries.take(most).map(|entry| OsStr::from_bytes(entry.file_name().to_bytes()).to_owned()).collect();
        names.sort();
        Ok(names)
    }

    fn walk(&self, below: &Path) -> io::Result<OwnedFd> {
        let mut at = rustix::io::dup(&self.handle)?;
        for component in below.components() {
            let Component::Normal(name) = component else { return Err(Errno::XDEV.into()) };
            at = named(self.mount, &at, name)?;
        }
        Ok(at)
    }

    fn parent_of<'a>(&self, below: &'a Path) -> io::Result<(OwnedFd, &'a OsStr)> {
        let name = below.file_name().ok_or(Errno::INVAL)?;
        Ok((self.walk(below.parent().unwrap_or(Path::new("")))?, name))
    }
}

fn regular(handle: &OwnedFd, owners: &[u32]) -> io::Result<Stat> {
    let stat = rustix::fs::fstat(handle)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile if owners.contains(&stat.st_uid) => Ok(stat),
        FileType::RegularFile => Err(Errno::PERM.into()),
        FileType::Symlink => Err(Errno::LOOP.into()),
        _ => Err(Errno::INVAL.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    fn errno<T>(result: io::Result<T>) -> Option<Errno> {
        result.err().and_then(|error| Errno::from_io_error(&error))
    }

    #[test]
    fn a_file_is_read_with_its_owner_and_its_version_changes_with_it() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("a")).unwrap();
        fs::write(dir.path().join("a/file"), "text").unwrap();
        let me = fs::metadata(dir.path()).unwrap().uid();
        let (opened, path) = (Directory::open(dir.path()).unwrap(), Path::new("a/file"));
        let found = opened.read(path, &[me], 4).unwrap();
        assert_eq!((found.bytes.as_slice(), found.owner, opened.owner().unwrap()), (&b"text"[..], me, me));
        assert_eq!(opened.version(path).unwrap(), found.version);
        assert_eq!(opened.read(path, &[me], 3).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(errno(opened.read(path, &[me + 1], 4)), Some(Errno::PERM), "another user's");
        fs::write(dir.path().join("a/file"), "other").unwrap();
        assert_ne!(opened.version(path).unwrap(), found.version);
        let inner = opened.enter(Path::new("a")).unwrap();
        assert_eq!(inner.names(9).unwrap(), ["file"]);
        assert!(inner.read(Path::new("file"), &[me], 9).is_ok());
    }

    #[test]
    fn nothing_leads_out_and_only_regular_files_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::create_dir_all(path("in/real")).unwrap();
        fs::write(path("out"), "secret").unwrap();
        symlink(path("out"), path("in/link")).unwrap();
        symlink("real", path("in/directory")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, path("in/pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        let me = fs::metadata(dir.path()).unwrap().uid();
        let opened = Directory::open(&path("in")).unwrap();
        let read = |name: &str| errno(opened.read(Path::new(name), &[me], 99));
        assert_eq!(
            [read("link"), read("pipe"), read("real")],
            [Some(Errno::LOOP), Some(Errno::INVAL), Some(Errno::INVAL)]
        );
        assert_eq!([read("../out"), read("/etc/passwd")], [Some(Errno::XDEV); 2]);
        assert_eq!(read("directory/file"), Some(Errno::NOTDIR));
        assert_eq!(read("gone"), Some(Errno::NOENT));
    }

    #[test]
    fn a_mount_is_not_entered() {
        let root = Directory::open(Path::new("/")).unwrap();
        assert_eq!(errno(root.enter(Path::new("proc/self"))), Some(Errno::XDEV));
        assert_eq!(errno(root.read(Path::new("proc/version"), &[0], 999)), Some(Errno::XDEV));
    }

    #[test]
    fn a_long_list_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        for name in 0..20 {
            fs::write(dir.path().join(format!("{name:02}")), "").unwrap();
        }
        assert_eq!(Directory::open(dir.path()).unwrap().names(7).unwrap().len(), 7);
    }
}
