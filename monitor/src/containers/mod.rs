//! Containers: their cgroups, directories and names. The sources use this module; it does not depend on them.

pub mod change;
pub mod follow;
pub mod glob;
pub mod hierarchies;
pub mod info;
pub mod inotify;
pub mod mounts;
pub mod name_template;
pub mod names;
pub mod own;
pub mod owners;
pub mod registry;
mod roots;
pub mod rules;
pub mod runtime_path;
pub mod walk;

pub use self::roots::{Roots, host_root};
