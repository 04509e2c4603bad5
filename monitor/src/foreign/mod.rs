//! Files and texts that somebody else controls: read within bounds, by handles, and never waited for without end.
//!
//! A container chooses its environment, its mounts and its names; a user writes the state files of the containers that
//! he started. This module is the one way to them (`clippy.toml` forbids the others):
//!
//! - [`read`] and [`records`] read files of the kernel whose length a container controls;
//! - [`Directory`] opens what lies below a directory without following a link and without entering a mount;
//! - [`Worker`] asks what may never answer on a thread that can be given up;
//! - [`text`] bounds names, images and labels.

mod directory;
mod file;
mod mount;
pub mod text;
mod worker;

pub use self::directory::{Directory, FileVersion, ForeignFile};
pub use self::file::{errno, open, read, read_open, records};
pub use self::mount::{MountId, NAME, mount_id, named};
pub use self::worker::{Pulse, Worker};
