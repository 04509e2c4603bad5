//! Files that hold secrets, which are refused if everybody can read them.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::foreign;

/// Longest secret.
const LONGEST: usize = 1 << 20;
/// The permissions of others (`inode(7)`).
const EVERYBODY: u32 = 0o007;

/// Why the secret in a file is refused.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// It cannot be read.
    #[error("{} cannot be read: {}", .0.display(), .1)]
    Unreadable(PathBuf, #[source] io::Error),
    /// Everybody on this machine can read it, or write to it: it is no secret any more.
    #[error("everybody on this machine can read {} (mode {:03o}); chmod o= {}", .0.display(), .1, .0.display())]
    Open(PathBuf, u32),
}

/// Reads the secret in a file.
///
/// # Errors
/// See [`SecretError`].
pub fn read(path: &Path) -> Result<Vec<u8>, SecretError> {
    let cannot = |error| SecretError::Unreadable(path.to_owned(), error);
    let file = foreign::open(path).map_err(cannot)?;
    // The metadata of the open file, not of a file that gets its name a moment later.
    let metadata = file.metadata().map_err(cannot)?;
    if !metadata.is_file() {
        return Err(cannot(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")));
    }
    let mode = metadata.permissions().mode() & 0o777;
    if mode & EVERYBODY != 0 {
        return Err(SecretError::Open(path.to_owned(), mode));
    }
    foreign::read_open(file, LONGEST).map_err(cannot)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};

    use super::*;

    #[test]
    fn a_secret_that_everybody_can_read_is_refused_with_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        fs::write(&path, "hunter2").unwrap();
        let read_with = |mode| {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            read(&path).map_err(|error| error.to_string())
        };
        for mode in [0o600, 0o400, 0o440, 0o660] {
            assert_eq!(read_with(mode).unwrap(), b"hunter2", "{mode:o}");
        }
        for mode in [0o604, 0o644, 0o602, 0o777] {
            let error = read_with(mode).unwrap_err();
            assert!(error.ends_with(&format!("(mode {mode:03o}); chmod o= {}", path.display())), "{error}");
        }
        let other = read(Path::new("/dev/null")).unwrap_err().to_string();
        assert!(other.contains("not a regular file"), "{other}");
        assert!(read(&dir.path().join("gone")).unwrap_err().to_string().contains("gone cannot be read"));
    }
}
