//! Errors of reading one file, and their causes.

use std::cell::RefCell;
use std::io;

use rustix::io::Errno;

use crate::cause::{Cause, CauseKind};
use crate::foreign;
use crate::sources::parse::ParseError;

/// An error of reading a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileError {
    Os(Errno),
    Parse(ParseError),
}

impl FileError {
    /// The error of a library function.
    pub(super) fn of(error: io::Error) -> Self {
        Self::Os(foreign::errno(&error))
    }

    fn kind(self) -> CauseKind {
        match self {
            Self::Os(errno) => CauseKind::of_error(&errno.into()),
            Self::Parse(ParseError::Missing(_)) => CauseKind::Missing,
            Self::Parse(_) => CauseKind::Invalid,
        }
    }

    fn describe(self, file: &str) -> String {
        match self {
            Self::Os(Errno::NOENT) => {
                format!("{file}: not there (an older kernel, or the controller is off for this cgroup)")
            }
            Self::Os(Errno::NODEV) => format!("{file}: the cgroup has ended"),
            Self::Os(Errno::OPNOTSUPP) => {
                format!("{file}: switched off in this kernel (for pressure: boot with psi=1)")
            }
            Self::Os(errno) => format!("{file}: {}", io::Error::from(errno)),
            Self::Parse(error) => format!("{file} {error}"),
        }
    }
}

/// The causes of file errors, created once for all cgroups.
#[derive(Debug, Default)]
pub(super) struct Causes(RefCell<Vec<(FileError, Cause)>>);

impl Causes {
    pub(super) fn of(&self, error: FileError, file: &str) -> Cause {
        let mut known = self.0.borrow_mut();
        if let Some((_, cause)) = known.iter().find(|(said, _)| *said == error) {
            return cause.clone();
        }
        let cause = Cause::new(error.kind(), error.describe(file));
        known.push((error, cause.clone()));
        cause
    }
}
