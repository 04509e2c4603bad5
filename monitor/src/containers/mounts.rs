//! The mount table (`/proc/PID/mountinfo`, `Documentation/filesystems/proc.rst` section 3.5).

use std::ffi::OsString;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use crate::foreign;

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The directory of the file system that is the root of this mount.
    pub root: PathBuf,
    /// The mount point.
    pub point: PathBuf,
    /// `cgroup2`, `cgroup`, `overlay`, …
    pub kind: String,
    /// The options of the file system itself; for a v1 hierarchy they name its controllers.
    pub options: Vec<String>,
}

impl Mount {
    /// True if it is the v2 hierarchy.
    pub fn is_v2(&self) -> bool {
        self.kind == "cgroup2"
    }

    /// True if it is the v1 hierarchy of a controller.
    pub fn has_controller(&self, controller: &str) -> bool {
        self.kind == "cgroup" && self.options.iter().any(|option| option == controller)
    }

    /// Returns the upper directory of an overlay.
    pub fn upper(&self) -> Option<PathBuf> {
        self.options.iter().find_map(|option| option.strip_prefix("upperdir=")).map(|word| path(word.as_bytes()))
    }

    /// Returns the location of a path of the file system in this mount, if it is visible.
    pub fn locate(&self, path: &Path) -> Option<PathBuf> {
        path.strip_prefix(&self.root)
            .ok()
            .map(|below| if below.as_os_str().is_empty() { self.point.clone() } else { self.point.join(below) })
    }
}

/// The first and the third column of a line of the mount table: the number of the mount, and the device of its file
/// system, as major and minor number.
pub fn id_and_device(line: &[u8]) -> Option<(u64, (u32, u32))> {
    let mut words = line.split(|&byte| byte == b' ').map(std::str::from_utf8);
    let id = words.next()?.ok()?.parse().ok()?;
    let (major, minor) = words.nth(1)?.ok()?.split_once(':')?;
    Some((id, (major.parse().ok()?, minor.parse().ok()?)))
}

/// Bytes of a mount table that are read; whoever may mount can make it hundreds of mebibytes long.
const LONGEST: u64 = 64 << 20;

/// Hands over a mount table line by line, in constant memory, until `each` breaks off. A table that cannot be read has
/// no lines, and of one that is too long only the first ones are read.
pub fn lines(table: &Path, each: impl FnMut(&[u8]) -> ControlFlow<()>) {
    // What was read counts: mounts that are missing are absent with a cause where they are needed.
    _ = foreign::records(table, b'\n', LONGEST, each);
}

/// Reads the mounts of a table that `is_wanted` accepts, in its order.
pub fn read(table: &Path, is_wanted: impl Fn(&Mount) -> bool) -> Vec<Mount> {
    let mut mounts = Vec::new();
    lines(table, |line| {
        mounts.extend(mount(line).filter(&is_wanted));
        ControlFlow::Continue(())
    });
    mounts
}

/// Parses the mount table, in its order. Malformed lines are skipped.
pub fn parse(table: &[u8]) -> Vec<Mount> {
    table.split(|&byte| byte == b'\n').filter_map(mount).collect()
}

/// Parses one line of the mount table.
pub fn mount(line: &[u8]) -> Option<Mount> {
    let mut words = line.split(|&byte| byte == b' ');
    let root = path(words.nth(3)?);
    let point = path(words.next()?);
    let mut tail = words.skip_while(|word| *word != b"-").skip(1);
    let kind = String::from_utf8_lossy(tail.next()?).into_owned();
    let options = tail.nth(1)?;
    let options =
        options.split(|&byte| byte == b',').map(|option| String::from_utf8_lossy(option).into_owned()).collect();
    Some(Mount { root, point, kind, options })
}

/// Decodes the kernel's octal escapes of space, tab, newline and backslash.
fn path(word: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((&first, tail)) = rest.split_first() {
        match octal(rest) {
            Some(byte) => {
                bytes.push(byte);
                rest = &rest[4..];
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

fn octal(text: &[u8]) -> Option<u8> {
    match text {
        [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..] => {
            Some((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TABLE: &[u8] = b"\
25 30 0:23 / /sys rw,nosuid - sysfs sysfs rw
31 25 0:27 /docker/abc /sys/fs/cgroup/memory ro,nosuid master:10 - cgroup cgroup rw,memory
32 25 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
33 25 0:29 / /sys/fs/cgroup/uni\\040fied rw shared:3 - cgroup2 cgroup2 rw,nsdelegate
nonsense
";

    #[test]
    fn the_cgroup_trees_are_found() {
        let mounts = parse(TABLE);
        assert_eq!(mounts.len(), 4);
        assert!(mounts[1].has_controller("memory") && !mounts[1].is_v2());
        assert!(mounts[2].has_controller("cpuacct") && mounts[2].has_controller("cpu"));
        assert!(mounts[3].is_v2());
        assert_eq!(mounts[3].point, Path::new("/sys/fs/cgroup/uni fied"));
        let known: Vec<_> = TABLE.split(|&byte| byte == b'\n').map(id_and_device).collect();
        assert_eq!((known[1], known[4]), (Some((31, (0, 27))), None));
    }

    #[test]
    fn a_path_is_seen_only_through_a_mount_of_one_of_its_ancestors() {
        let memory = &parse(TABLE)[1];
        assert_eq!(memory.locate(Path::new("/docker/abc/x")), Some("/sys/fs/cgroup/memory/x".into()));
        assert_eq!(memory.locate(Path::new("/docker/abc")), Some("/sys/fs/cgroup/memory".into()));
        assert_eq!(memory.locate(Path::new("/docker/abcd")), None);
    }

    proptest! {
        #[test]
        fn any_table_is_read_without_panic(table in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _total = parse(&table);
        }

        #[test]
        fn an_escaped_path_is_read_back(name in "[ -~]{1,20}") {
            let escaped = name.replace('\\', "\\134").replace(' ', "\\040");
            let mounts = parse(format!("1 2 0:3 / /{escaped} rw - cgroup2 none rw\n").as_bytes());
            prop_assert_eq!(&mounts[0].point, &PathBuf::from(format!("/{name}")));
        }
    }
}
