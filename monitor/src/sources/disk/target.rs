//! The root filesystem of a container, and the file system calls that are safe on it.

use std::fmt::Display;
use std::io;
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, StatVfs};

use super::beneath::statx;
use crate::cause::{Cause, CauseKind};
use crate::containers::mounts::{self, Mount};
use crate::foreign::{self, MountId, mount_id};
use crate::readings::{Filesystem, Read};

/// The root filesystem of a container.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// The process through which it is visible.
    pub(super) process: Option<u32>,
    /// The path at which its root filesystem is visible.
    pub(super) root: PathBuf,
    pub(super) layer: Layer,
    pub(super) is_machine: bool,
}

/// The location of the overlay's upper layer, which holds the container's own writes.
#[derive(Clone, Debug)]
pub(super) enum Layer {
    /// Not visible, for this reason.
    Unseen(&'static str),
    /// A directory of the machine.
    Named(MountTables),
}

/// The mount tables in which the root of a container may be found.
#[derive(Clone, Debug)]
pub(super) struct MountTables {
    /// That of its first process. It tells what is not asked, and is trusted in nothing else.
    pub(super) own: PathBuf,
    /// The machine's.
    pub(super) machine: PathBuf,
    /// The root directory of the machine.
    pub(super) host: PathBuf,
}

/// An open root, which may be asked.
#[derive(Debug)]
pub(super) struct Root {
    pub(super) handle: OwnedFd,
    /// The filesystem that it lies on, or why no layer of it is visible.
    mount: Result<RootMount, &'static str>,
}

/// The filesystem of a root.
#[derive(Debug)]
struct RootMount {
    tables: MountTables,
    /// The major and the minor number of its device.
    device: (u32, u32),
    /// `overlay`, `ext4`, …; `None` if no mount table that can be read has it.
    kind: Option<String>,
}

impl Target {
    /// Opens the root without asking its filesystem, unless that is one which a process of the container may serve: if
    /// that does not answer, the kernel cannot even end the thread.
    ///
    /// # Errors
    /// The cause of absence.
    pub(super) fn open(&self) -> Result<Root, Cause> {
        let failed = |error: io::Error| Cause::io(self.root.display(), &error);
        let handle = open(&self.root).map_err(&failed)?;
        let mount = match &self.layer {
            Layer::Unseen(why) => Err(*why),
            Layer::Named(tables) => Ok(tables.mount(&handle, failed)?),
        };
        Ok(Root { handle, mount })
    }
}

impl MountTables {
    /// Finds the mount of a root that may be asked. The machine's table is read only where the other one cannot be: it
    /// has a line for each container.
    fn mount(&self, root: &OwnedFd, failed: impl Fn(io::Error) -> Cause) -> Result<RootMount, Cause> {
        let found = statx(root, c"").map_err(|errno| failed(errno.into()))?;
        let device = (found.stx_dev_major, found.stx_dev_minor);
        let id = mount_id(root).map_err(&failed)?;
        let mount = match find(&self.own, |known, _| MountId(known) == id) {
            None if is_readable(&self.own) => {
                let text = "its first process is in a chroot, from which the root of the container is not visible";
                return Err(Cause::new(CauseKind::NotApplicable, text));
            }
            None => self.on_machine(device),
            own => own,
        };
        let kind = mount.map(|mount| mount.kind);
        // Block devices have a major number; what has none may be served by anybody.
        let is_safe = match kind.as_deref() {
            Some(kind) => kind != "fuse" && !kind.starts_with("fuse."),
            None => device.0 != 0,
        };
        if !is_safe {
            let text = "not asked: its root filesystem is served by a process (FUSE), and one that does not answer cannot be given up";
            return Err(Cause::new(CauseKind::NotApplicable, text));
        }
        Ok(RootMount { tables: self.clone(), device, kind })
    }

    fn on_machine(&self, device: (u32, u32)) -> Option<Mount> {
        find(&self.machine, |_, known| known == device)
    }
}

impl RootMount {
    /// Returns the overlay, as the machine's own table knows it.
    fn overlay(&self) -> Result<Mount, Cause> {
        let overlay = self.tables.on_machine(self.device).filter(|mount| mount.kind == "overlay");
        overlay.ok_or_else(|| match self.kind.as_deref() {
            Some("overlay") => Cause::new(CauseKind::Missing, "its overlay is not among the machine's mounts"),
            _ => Cause::new(CauseKind::NotApplicable, "the container's root filesystem is no overlay over an image"),
        })
    }
}

/// Returns the last mount of a table that `is` accepts by its number and device. A later mount hides an earlier one.
fn find(table: &Path, is: impl Fn(u64, (u32, u32)) -> bool) -> Option<Mount> {
    let mut found = None;
    mounts::lines(table, |line| {
        if mounts::id_and_device(line).is_some_and(|(id, device)| is(id, device)) {
            found = mounts::mount(line);
        }
        ControlFlow::Continue(())
    });
    found
}

/// True if a table can be read. It lists the mounts below the root of its process, which of a process in a chroot are
/// some or none, and not the one that its root lies in (`Documentation/filesystems/proc.rst` section 3.5).
fn is_readable(table: &Path) -> bool {
    foreign::records(table, b'\n', 1, |_| ControlFlow::Break(())).is_ok()
}

/// Opens a directory without asking its filesystem.
fn open(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(CWD, path, flags, Mode::empty())?)
}

impl Root {
    /// True if this directory is the one at a path.
    pub(super) fn is_still_at(&self, path: &Path) -> bool {
        let identity = |handle: &OwnedFd| {
            let found = statx(handle, c"").ok()?;
            Some((mount_id(handle).ok()?, found.stx_dev_major, found.stx_dev_minor, found.stx_ino))
        };
        let own = identity(&self.handle);
        own.is_some() && open(path).is_ok_and(|now| identity(&now) == own)
    }

    /// Returns the directory of the upper layer (`Documentation/filesystems/overlayfs.rst`, "upperdir"), by its name in
    /// the machine's own mount table: a container can write any name into its own.
    ///
    /// # Errors
    /// The cause of absence.
    pub(super) fn upper(&self) -> Result<OwnedFd, Cause> {
        let mount = self.mount.as_ref().map_err(|why| Cause::new(CauseKind::NotApplicable, *why))?;
        let without = || Cause::new(CauseKind::NotApplicable, "the container's overlay has no writable layer");
        let upper = mount.overlay()?.upper().ok_or_else(without)?;
        let path = mount.tables.host.join(upper.strip_prefix("/").unwrap_or(&upper));
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::open(&path, flags, Mode::empty()).map_err(|errno| Cause::io(path.display(), &errno.into()))
    }

    /// Returns the size of the filesystem.
    ///
    /// # Errors
    /// The cause of absence.
    pub(super) fn filesystem(&self, name: impl Display) -> Result<Filesystem, Cause> {
        let found = rustix::fs::fstatvfs(&self.handle)
            .map_err(|errno| Cause::io(format_args!("statfs {name}"), &errno.into()))?;
        Ok(size(&found))
    }
}

/// A filesystem without a bound, or without a fixed number of inodes, says zero.
fn size(found: &StatVfs) -> Filesystem {
    let bounded = |total: u64, value: u64, what| -> Read {
        (total > 0).then_some(value).ok_or_else(|| Cause::new(CauseKind::Unsupported, what))
    };
    const NO_SIZE: &str = "the filesystem tells no size";
    const NO_INODES: &str = "the filesystem tells no number of inodes";
    let of_size = |value| bounded(found.f_blocks, value, NO_SIZE);
    let of_inodes = |value| bounded(found.f_files, value, NO_INODES);
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    Filesystem {
        total_bytes: of_size(bytes(found.f_blocks)),
        available_bytes: of_size(bytes(found.f_bavail)),
        used_percent: of_size(used_percent(found)),
        inodes_used: of_inodes(found.f_files.saturating_sub(found.f_ffree)),
        inodes_total: of_inodes(found.f_files),
    }
}

/// Hundredths of a percent of the blocks that processes without privileges can use, as `df` counts: blocks kept for
/// privileged ones are neither used nor available.
fn used_percent(found: &StatVfs) -> u64 {
    let used = u128::from(found.f_blocks.saturating_sub(found.f_bfree));
    let usable = (used + u128::from(found.f_bavail)).max(1);
    u64::try_from(used * 10_000 / usable).unwrap_or(10_000)
}

#[cfg(test)]
mod tests;
