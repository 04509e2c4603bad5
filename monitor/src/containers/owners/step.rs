//! The commands of claims, and their answers.

use tokio::time::Instant;

/// A command for the key of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// The name that the container goes by.
    pub(super) name: String,
    pub(super) rank: usize,
    /// The name whose key it is about.
    pub(crate) claimed: String,
    /// The command.
    pub(crate) kind: StepKind,
    pub(super) at: Instant,
}

/// The commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StepKind {
    /// Deletes the key, which is ours.
    Release,
    /// Reads the key, to find a claim of an earlier run.
    Look,
    /// Sets the key unless it exists.
    Take,
    /// Reads the key.
    Read,
    /// Sets the key if it exists: it is ours.
    Renew,
}

/// The answer to a command.
#[derive(Debug)]
pub(crate) enum Reply {
    /// It was carried out.
    Done,
    /// The key is not there, or was not set.
    Nothing,
    /// The content of the key.
    Owner(Vec<u8>),
    /// Something that no agent has written.
    Foreign,
}
