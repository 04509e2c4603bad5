//! Names and other facts of containers: from the environment of their first processes, from their runtimes' state
//! files, and from the runtimes' APIs.

mod environment;
mod files;
mod parts;
mod resolver;
mod socket;

pub use self::files::Files;
pub use self::resolver::{NameResolver, RuntimePaths};
