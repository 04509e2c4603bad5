//! Names of containers, and what else is known of them: from the environment of their first processes, from the files that
//! their runtimes keep, and from the runtimes' own interfaces.

mod environment;
mod files;
mod resolver;
mod socket;

pub use self::files::Files;
pub use self::resolver::{NameResolver, RuntimePaths};
