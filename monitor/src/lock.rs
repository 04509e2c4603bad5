//! A directory that one process on the machine can hold at a time.
//!
//! The lock is `flock(2)` on the directory, which root alone can open; the kernel releases it when its holder ends, so
//! that nothing has to be cleaned up after an agent that was killed. A symbolic link in the directory names the holder,
//! because the BPF file system can store a text in no other way.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags};

/// Name of the link that names the holder.
pub const HOLDER: &str = "agent";

/// The permission bits of everybody but the owner.
const OTHERS: u32 = 0o077;

/// A held directory; dropping it releases the lock.
#[derive(Debug)]
pub struct DirectoryLock {
    dir: PathBuf,
    _held: OwnedFd,
}

/// Why a directory cannot be held.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another agent holds it.
    #[error("another agent runs on this machine: {0}")]
    Held(String),
    /// Other users have or had access to it.
    #[error("{} {}", .0.display(), .1)]
    Unsafe(PathBuf, String),
    /// A system call failed.
    #[error("{}: {}", .0.display(), .1)]
    Io(PathBuf, io::Error),
}

impl LockError {
    /// The remedy for the operator.
    pub fn remedy(&self) -> String {
        match self {
            Self::Held(_) => "stop it first, or start this one with --pin off".to_owned(),
            Self::Unsafe(dir, _) => format!("find out who created {}, and remove it", dir.display()),
            Self::Io(..) => "start the agent as root, or with --pin off".to_owned(),
        }
    }
}

impl DirectoryLock {
    /// Takes the lock under the name `holder`. Creates the directory, for this user alone, if it does not exist.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn acquire(dir: &Path, holder: &str) -> Result<Self, LockError> {
        let failed = |error: rustix::io::Errno| LockError::Io(dir.to_owned(), error.into());
        match rustix::fs::mkdir(dir, Mode::RWXU) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(failed(error)),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let held = rustix::fs::open(dir, flags, Mode::empty()).map_err(failed)?;
        let stat = rustix::fs::fstat(&held).map_err(failed)?;
        let user = rustix::process::geteuid().as_raw();
        if stat.st_uid != user {
            return Err(LockError::Unsafe(dir.to_owned(), format!("belongs to user {}, not to {user}", stat.st_uid)));
        }
        if stat.st_mode & OTHERS != 0 {
            return Err(LockError::Unsafe(dir.to_owned(), "is open to other users".to_owned()));
        }
        let link = dir.join(HOLDER);
        match rustix::fs::flock(&held, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let other = fs::read_link(&link).map(|text| text.to_string_lossy().into_owned());
                return Err(LockError::Held(other.unwrap_or_else(|_| "it has not named itself yet".to_owned())));
            }
            Err(error) => return Err(failed(error)),
        }
        let named = match fs::remove_file(&link) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => symlink(holder, &link),
        };
        named.map_err(|error| LockError::Io(link, error))?;
        Ok(Self { dir: dir.to_owned(), _held: held })
    }

    /// Removes the directory, which must hold nothing but the link.
    ///
    /// # Errors
    /// The error of the system call that failed.
    pub fn remove(self) -> io::Result<()> {
        fs::remove_file(self.dir.join(HOLDER))?;
        fs::remove_dir(&self.dir)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_second_one_learns_who_the_first_is_and_comes_in_when_that_has_gone() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("held");
        let first = DirectoryLock::acquire(&dir, "pid 1").unwrap();
        let second = DirectoryLock::acquire(&dir, "pid 2").unwrap_err();
        assert_eq!(second.to_string(), "another agent runs on this machine: pid 1");
        drop(first);
        let second = DirectoryLock::acquire(&dir, "pid 2").unwrap();
        assert_eq!(fs::read_link(dir.join(HOLDER)).unwrap(), Path::new("pid 2"));
        second.remove().unwrap();
        assert!(!dir.exists());
    }

    #[test]
    fn a_directory_that_others_can_reach_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("open");
        fs::create_dir(&dir).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(DirectoryLock::acquire(&dir, "me").unwrap_err().to_string().contains("open to other users"));
        let link = parent.path().join("link");
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
        symlink(&dir, &link).unwrap();
        assert!(matches!(DirectoryLock::acquire(&link, "me"), Err(LockError::Io(..))));
    }
}
