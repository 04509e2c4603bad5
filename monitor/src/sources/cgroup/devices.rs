//! Block devices that lie on others (LVM, dm-crypt, md, loop): what goes through one is counted for it, and again for
//! the device below (`Documentation/ABI/stable/sysfs-block`).

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::plan::FilePlan;
use crate::metrics::Format;

/// The devices in `/sys/dev/block`.
#[derive(Debug)]
pub(super) struct BlockDevices {
    dir: PathBuf,
    /// For each device that was seen, by `MAJOR:MINOR`: true if it lies on others.
    stacked: HashMap<Vec<u8>, bool>,
}

impl BlockDevices {
    pub(super) fn new(sys: &Path) -> Self {
        Self { dir: sys.join("dev/block"), stacked: HashMap::new() }
    }

    /// Forgets the devices: a number may have been given to another one.
    pub(super) fn forget(&mut self) {
        self.stacked.clear();
    }

    /// Removes the lines of stacked devices from a file with a line per device, if a device below has one too; returns
    /// the length that is left.
    pub(super) fn count_once(&mut self, plan: &FilePlan, buffer: &mut [u8], length: usize) -> usize {
        if !matches!(plan.file.format, Format::Nested("*", _) | Format::Operation(_)) {
            return length;
        }
        let text = &buffer[..length];
        let (stacked, base): (Vec<&[u8]>, Vec<&[u8]>) = lines(text).partition(|line| self.is_stacked(line));
        if stacked.is_empty() || !base.iter().any(|line| is_used(line)) {
            return length;
        }
        let left = base.join(&b'\n');
        buffer[..left.len()].copy_from_slice(&left);
        left.len()
    }

    fn is_stacked(&mut self, line: &[u8]) -> bool {
        let device = line.split(|&byte| byte == b' ').next().unwrap_or_default();
        if let Some(known) = self.stacked.get(device) {
            return *known;
        }
        let Some(dir) =
            std::str::from_utf8(device).ok().filter(|name| name.contains(':')).map(|name| self.dir.join(name))
        else {
            return false;
        };
        let has_slaves = fs::read_dir(dir.join("slaves")).is_ok_and(|mut slaves| slaves.next().is_some());
        let is_stacked = has_slaves || dir.join("loop/backing_file").exists();
        self.stacked.insert(device.to_vec(), is_stacked);
        is_stacked
    }
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty())
}

/// True if a line of a device has a count other than 0.
fn is_used(line: &[u8]) -> bool {
    let is_device = line.first().is_some_and(u8::is_ascii_digit);
    let counts = line.split(|&byte| byte == b' ').skip(1).filter_map(|word| word.rsplit(|&byte| byte == b'=').next());
    is_device
        && counts
            .into_iter()
            .any(|count| count.iter().all(u8::is_ascii_digit) && count.iter().any(|&digit| digit != b'0'))
}
