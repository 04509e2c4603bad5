//! What only one agent of a machine may hold: a directory that is ours, with a lock that ends with its holder.
//!
//! The lock is `flock(2)` on the directory, which root alone can open; a symbolic link in it says who holds it, because
//! in the BPF file system nothing else can hold a text. Nobody has to clean up after an agent that was killed.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags};

/// Name of the link that says who holds the directory.
pub const HOLDER: &str = "agent";

/// The permission bits of everybody but the owner.
const OTHERS: u32 = 0o077;

/// Holds a directory.
#[derive(Debug)]
pub struct Lock {
    dir: PathBuf,
    _held: OwnedFd,
}

/// Why a directory cannot be held.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another agent holds it.
    #[error("another agent runs on this machine: {0}")]
    Held(String),
    /// Others than this user have or had access.
    #[error("{} {}", .0.display(), .1)]
    Unsafe(PathBuf, String),
    /// What the system said.
    #[error("{}: {}", .0.display(), .1)]
    Io(PathBuf, io::Error),
}

impl Error {
    /// What to do.
    pub fn cure(&self) -> String {
        match self {
            Self::Held(_) => "stop it first, or start this one with --pin off".to_owned(),
            Self::Unsafe(dir, _) => format!("find out who made {}, and remove it", dir.display()),
            Self::Io(..) => "start the agent as root, or with --pin off".to_owned(),
        }
    }
}

impl Lock {
    /// Takes hold of a directory for somebody who calls himself `me`; makes it, for this user alone, if it is not there.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn take(dir: &Path, me: &str) -> Result<Self, Error> {
        let failed = |error: rustix::io::Errno| Error::Io(dir.to_owned(), error.into());
        match rustix::fs::mkdir(dir, Mode::RWXU) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(failed(error)),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let held = rustix::fs::open(dir, flags, Mode::empty()).map_err(failed)?;
        let stat = rustix::fs::fstat(&held).map_err(failed)?;
        let user = rustix::process::geteuid().as_raw();
        if stat.st_uid != user {
            return Err(Error::Unsafe(dir.to_owned(), format!("belongs to user {}, not to {user}", stat.st_uid)));
        }
        if stat.st_mode & OTHERS != 0 {
            return Err(Error::Unsafe(dir.to_owned(), "is open to other users".to_owned()));
        }
        let agent = dir.join(HOLDER);
        match rustix::fs::flock(&held, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let holder = fs::read_link(&agent).map(|text| text.to_string_lossy().into_owned());
                return Err(Error::Held(holder.unwrap_or_else(|_| "it has not said yet which".to_owned())));
            }
            Err(error) => return Err(failed(error)),
        }
        let said = match fs::remove_file(&agent) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => symlink(me, &agent),
        };
        said.map_err(|error| Error::Io(agent, error))?;
        Ok(Self { dir: dir.to_owned(), _held: held })
    }

    /// Removes the directory, which must be empty but for the lock.
    ///
    /// # Errors
    /// What the system said.
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
        let first = Lock::take(&dir, "pid 1").unwrap();
        let second = Lock::take(&dir, "pid 2").unwrap_err();
        assert_eq!(second.to_string(), "another agent runs on this machine: pid 1");
        drop(first);
        let second = Lock::take(&dir, "pid 2").unwrap();
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
        assert!(Lock::take(&dir, "me").unwrap_err().to_string().contains("open to other users"));
        let link = parent.path().join("link");
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
        symlink(&dir, &link).unwrap();
        assert!(matches!(Lock::take(&link, "me"), Err(Error::Io(..))));
    }
}
