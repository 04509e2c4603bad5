//! Causes of absent numbers: a kind that code decides by, and words for an operator.

use std::fmt;
use std::io;
use std::sync::Arc;

use rustix::io::Errno;

/// The words of [`CauseKind::NoLimit`], under which readers of the JSON know it.
const NO_LIMIT_SET: &str = "no limit is set";

/// The words for a limit that may be set above what is visible.
const NOT_VISIBLE_HERE: &str = "no limit is set here; those of the levels above are not visible from here";

/// Kinds of causes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CauseKind {
    /// The limit is not set.
    NoLimit,
    /// A rate needs a second reading.
    FirstReading,
    /// A measurement that takes longer than a reading has not finished yet.
    Pending,
    /// A setting switches it off.
    Disabled,
    /// It does not exist for a container of this sort.
    NotApplicable,
    /// No source on this host reads it.
    NoSource,
    /// An eBPF program that it takes is not attached.
    NotAttached,
    /// The eBPF programs have missed events, so that a sum would be too small.
    LostEvents,
    /// A file, or a line of it, is not there.
    Missing,
    /// This kernel does not have it, or has it switched off.
    Unsupported,
    /// The kernel denies access.
    Denied,
    /// The container, or its process, has exited.
    Exited,
    /// A value contradicts others, or is not in the expected format.
    Invalid,
    /// Reading failed for another reason.
    Failed,
    /// Known by its words only: another agent has written it.
    Unknown,
}

/// The cause of an absent number. Made once when the reason appears, then shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause(Arc<Inner>);

#[derive(Debug, PartialEq, Eq)]
struct Inner {
    kind: CauseKind,
    text: String,
    is_plain: bool,
}

impl Cause {
    /// A cause with the words that an operator sees.
    pub fn new(kind: CauseKind, text: impl Into<String>) -> Self {
        let text = text.into();
        let is_plain = text.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\');
        Self(Arc::new(Inner { kind, text, is_plain }))
    }

    /// An error of the operating system about `what`.
    pub fn io(what: impl fmt::Display, error: &io::Error) -> Self {
        Self::new(CauseKind::of_error(error), format!("{what}: {error}"))
    }

    /// A limit that is not set.
    pub fn no_limit() -> Self {
        Self::new(CauseKind::NoLimit, NO_LIMIT_SET)
    }

    /// A limit that is not set as far as can be seen: an agent in a cgroup namespace sees no level above its own.
    pub fn not_visible() -> Self {
        Self::new(CauseKind::NoLimit, NOT_VISIBLE_HERE)
    }

    /// A cause read back from a report, which holds the words alone.
    pub fn written(text: &str) -> Self {
        let is_limit = [NO_LIMIT_SET, NOT_VISIBLE_HERE].contains(&text);
        Self::new(if is_limit { CauseKind::NoLimit } else { CauseKind::Unknown }, text)
    }

    /// Its kind.
    pub fn kind(&self) -> CauseKind {
        self.0.kind
    }

    /// The words.
    pub fn as_str(&self) -> &str {
        &self.0.text
    }

    /// True if the words need no escapes in JSON.
    pub(crate) fn is_plain(&self) -> bool {
        self.0.is_plain
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl CauseKind {
    /// The kind of an error of the operating system.
    pub fn of_error(error: &io::Error) -> Self {
        match error.kind() {
            _ if [Some(Errno::NODEV), Some(Errno::SRCH)].contains(&Errno::from_io_error(error)) => Self::Exited,
            io::ErrorKind::NotFound => Self::Missing,
            io::ErrorKind::PermissionDenied => Self::Denied,
            io::ErrorKind::Unsupported => Self::Unsupported,
            _ => Self::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_the_operating_system_has_a_kind() {
        let kind = |errno: Errno| CauseKind::of_error(&errno.into());
        assert_eq!(kind(Errno::NOENT), CauseKind::Missing);
        assert_eq!(kind(Errno::ACCESS), CauseKind::Denied);
        assert_eq!(kind(Errno::PERM), CauseKind::Denied);
        assert_eq!(kind(Errno::OPNOTSUPP), CauseKind::Unsupported);
        assert_eq!(kind(Errno::NODEV), CauseKind::Exited);
        assert_eq!(kind(Errno::IO), CauseKind::Failed);
    }

    #[test]
    fn a_limit_that_is_not_set_is_known_by_the_words_that_an_agent_has_written() {
        assert_eq!(Cause::written(Cause::no_limit().as_str()), Cause::no_limit());
        assert_eq!(Cause::written("memory.max: Permission denied").kind(), CauseKind::Unknown);
    }
}
