//! One walk of a root filesystem, in short steps.

use std::collections::HashSet;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cause::{Cause, CauseKind};
use crate::snapshot::Stamp;

/// A walk works for so long …
const WORK: Duration = Duration::from_millis(4);
/// … and then pauses for so long: at most 4 % of one CPU.
pub(super) const PAUSE: Duration = Duration::from_millis(96);
/// A walk that takes longer is given up: the number would be old before it is there.
const LONGEST: Duration = Duration::from_secs(600);
/// More hard-linked files than this are not remembered; the walk then gives no number rather than a wrong one.
const MOST_LINKS: usize = 200_000;

/// An error that ends a walk without a number.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum WalkError {
    Stopped,
    Cause(Cause),
}

/// Allocated bytes of everything on the filesystem of the root, hard links once. `rest` is told how long a step
/// worked; it pauses, and says whether to go on. A directory that cannot be read makes the sum a guess, so it makes it
/// absent.
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
            // What vanished since it was listed takes no room.
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

/// `st_blocks` is in units of 512 bytes whatever the filesystem's block size (`stat(2)`).
fn allocated(found: &Metadata) -> u64 {
    found.blocks().saturating_mul(512)
}
