//! One walk of a root filesystem, in short steps.

use std::collections::HashSet;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cause::{Cause, CauseKind};
use crate::snapshot::Stamp;

/// Duration of a step …
const WORK: Duration = Duration::from_millis(4);
/// … and of the pause after it: at most 4 % of one CPU.
pub(super) const PAUSE: Duration = Duration::from_millis(96);
/// Longest walk; a longer one is abandoned, since its result would be outdated.
const LONGEST: Duration = Duration::from_secs(600);
/// Limit of remembered hard-linked files; beyond it the walk fails rather than return a wrong sum.
const MOST_LINKS: usize = 200_000;

/// An error that ends a walk without a result.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum WalkError {
    Stopped,
    Cause(Cause),
}

/// Returns the allocated bytes of all files on the root's filesystem, hard links counted once. `rest` receives the
/// duration of a step, pauses, and returns false to stop. An unreadable directory is an error, since the sum would be a
/// guess.
pub(super) fn walk(
    top: &Path,
    exclude: &[PathBuf],
    clock: fn() -> Stamp,
    mut rest: impl FnMut(Duration) -> bool,
) -> Result<u64, WalkError> {
    let failed = |path: &Path, error: &std::io::Error| {
        let text = format!("{}: {error}; run as root, or leave it out with --disk-exclude", path.display());
        WalkError::Cause(Cause::new(CauseKind::of_error(error), text))
    };
    let root = fs::symlink_metadata(top).map_err(|error| failed(top, &error))?;
    let (began, mut step) = (clock().mono, clock().mono);
    let mut used = allocated(&root);
    let mut links = HashSet::new();
    let mut left = vec![top.to_owned()];
    while let Some(dir) = left.pop() {
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(failed(&dir, &error)),
        };
        for entry in entries.flatten() {
            // A file that was removed after it was listed uses no space.
            let Ok(found) = entry.metadata() else { continue };
            if found.dev() != root.dev() || exclude.contains(&entry.path()) {
                continue;
            }
            if found.is_dir() {
                left.push(entry.path());
            } else if found.nlink() > 1 && !links.insert(found.ino()) {
                continue;
            }
            used = used.saturating_add(allocated(&found));
            let now = clock().mono;
            if now.saturating_sub(step) >= WORK {
                if links.len() > MOST_LINKS || now.saturating_sub(began) > LONGEST {
                    let text = format!("too much to walk at {}; leave parts out with --disk-exclude", dir.display());
                    return Err(WalkError::Cause(Cause::new(CauseKind::Failed, text)));
                }
                if !rest(now.saturating_sub(step)) {
                    return Err(WalkError::Stopped);
                }
                step = clock().mono;
            }
        }
    }
    Ok(used)
}

/// `st_blocks` is in units of 512 bytes, independent of the filesystem's block size (`stat(2)`).
fn allocated(found: &Metadata) -> u64 {
    found.blocks().saturating_mul(512)
}
