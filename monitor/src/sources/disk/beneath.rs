//! Access to the files of a directory that neither leaves its mount nor asks a file system that is mounted in it.
//!
//! `openat2(2)` refuses a mount before its file system is asked, and `statx(2)` tells the mount of a file. Where one of
//! them is missing, a handle that only names the file tells its mount by `/proc/thread-self/fdinfo`.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, Statx, StatxFlags};
use rustix::io::Errno;

use crate::foreign::{MountId, NAME, errno, mount_id, named};

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);
const RESOLVE: ResolveFlags = ResolveFlags::NO_XDEV.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::BENEATH);

/// The facts about a file that a walk uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attributes {
    pub(super) is_directory: bool,
    pub(super) device: (u32, u32),
    pub(super) inode: u64,
    pub(super) links: u64,
    /// `st_blocks` is in units of 512 bytes, independent of the filesystem's block size (`stat(2)`).
    pub(super) allocated: u64,
}

/// The mount that a walk stays on, and the ways of this kernel to stay on it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beneath {
    mount: MountId,
    resolves: bool,
    tells_mounts: bool,
}

impl Beneath {
    /// Finds the mount of a directory, and which system calls work here.
    ///
    /// # Errors
    /// If the mount of a handle cannot be told.
    pub(super) fn new(root: &OwnedFd) -> std::io::Result<Self> {
        let resolves = rustix::fs::openat2(root, c".", NAME, Mode::empty(), RESOLVE).is_ok();
        let tells_mounts = statx(root, c"").is_ok_and(|found| tells_mount(&found));
        Ok(Self { mount: mount_id(root)?, resolves, tells_mounts })
    }

    /// The same mount, by the ways of the oldest kernels.
    #[cfg(test)]
    pub(super) fn by_names(self) -> Self {
        Self { resolves: false, tells_mounts: false, ..self }
    }

    /// Opens a directory in `parent`.
    ///
    /// # Errors
    /// `EXDEV` if it is a mount; otherwise the error of the system call.
    pub(super) fn directory(&self, parent: &OwnedFd, name: &CStr) -> Result<OwnedFd, Errno> {
        if self.resolves {
            return rustix::fs::openat2(parent, name, DIRECTORY, Mode::empty(), RESOLVE);
        }
        let named = self.named(parent, name)?;
        // The directory of the handle, whatever has its name by now.
        rustix::fs::openat(named, c".", DIRECTORY, Mode::empty())
    }

    /// Opens the directory that contains `child`, if it still is the one with these numbers.
    ///
    /// # Errors
    /// `ESTALE` if `child` was moved; otherwise the error of the system call.
    pub(super) fn parent(&self, child: &OwnedFd, device: (u32, u32), inode: u64) -> Result<OwnedFd, Errno> {
        let parent = rustix::fs::openat(child, c"..", DIRECTORY, Mode::empty())?;
        if mount_id(&parent).ok() != Some(self.mount) {
            return Err(Errno::STALE);
        }
        let found = Attributes::of(&rustix::fs::fstat(&parent)?);
        if (found.device, found.inode) == (device, inode) { Ok(parent) } else { Err(Errno::STALE) }
    }

    /// Returns the attributes of a file in `parent`.
    ///
    /// # Errors
    /// `EXDEV` if it is a mount; otherwise the error of the system call.
    pub(super) fn attributes(&self, parent: &OwnedFd, name: &CStr) -> Result<Attributes, Errno> {
        if self.tells_mounts {
            let found = statx(parent, name)?;
            let is_here = tells_mount(&found) && found.stx_mnt_id == self.mount.0;
            return if is_here { Ok(Attributes::of_statx(&found)) } else { Err(Errno::XDEV) };
        }
        let named = if self.resolves {
            rustix::fs::openat2(parent, name, NAME, Mode::empty(), ResolveFlags::NO_XDEV | ResolveFlags::BENEATH)?
        } else {
            self.named(parent, name)?
        };
        Ok(Attributes::of(&rustix::fs::fstat(named)?))
    }

    fn named(&self, parent: &OwnedFd, name: &CStr) -> Result<OwnedFd, Errno> {
        named(self.mount, parent, name).map_err(|error| errno(&error))
    }
}

/// Asks for attributes as they are cached, so that a file system that does not answer is not waited for.
pub(super) fn statx(parent: impl AsFd, name: &CStr) -> Result<Statx, Errno> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT | AtFlags::STATX_DONT_SYNC;
    rustix::fs::statx(parent, name, flags, StatxFlags::BASIC_STATS | StatxFlags::MNT_ID)
}

fn tells_mount(found: &Statx) -> bool {
    found.stx_mask & StatxFlags::MNT_ID.bits() != 0
}

impl Attributes {
    #[expect(clippy::unnecessary_cast, clippy::cast_sign_loss, reason = "the types differ between architectures")]
    pub(super) fn of(stat: &Stat) -> Self {
        Self {
            is_directory: FileType::from_raw_mode(stat.st_mode).is_dir(),
            device: (rustix::fs::major(stat.st_dev), rustix::fs::minor(stat.st_dev)),
            inode: stat.st_ino,
            links: stat.st_nlink as u64,
            allocated: (stat.st_blocks as u64).saturating_mul(512),
        }
    }

    fn of_statx(found: &Statx) -> Self {
        Self {
            is_directory: FileType::from_raw_mode(found.stx_mode.into()).is_dir(),
            device: (found.stx_dev_major, found.stx_dev_minor),
            inode: found.stx_ino,
            links: found.stx_nlink.into(),
            allocated: found.stx_blocks.saturating_mul(512),
        }
    }
}
