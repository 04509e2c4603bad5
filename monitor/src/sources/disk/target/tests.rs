use std::fs;
use std::os::unix::fs::symlink;

use super::*;

/// A machine of files: the root of process 7, and the mount tables of that process and of the machine.
struct Machine {
    dir: tempfile::TempDir,
    target: Target,
}

impl Machine {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("7/root")).unwrap();
        fs::create_dir_all(dir.path().join("1")).unwrap();
        let (root, host) = (dir.path().join("7/root"), dir.path().join("1/root"));
        let tables = MountTables { own: dir.path().join("7/mountinfo"), machine: dir.path().join("1/mountinfo"), host };
        let target = Target { process: Some(7), root, layer: Layer::Named(tables), is_machine: false };
        Self { dir, target }
    }

    /// Writes a line about the root's mount into a table. `{id}` and `{device}` stand for its real ones.
    fn table(&self, process: u32, line: &str) {
        let root = rustix::fs::open(&self.target.root, OFlags::PATH, Mode::empty()).unwrap();
        let found = statx(&root, c"").unwrap();
        let line = line.replace("{id}", &mount_id(&root).unwrap().0.to_string());
        let line = line.replace("{device}", &format!("{}:{}", found.stx_dev_major, found.stx_dev_minor));
        fs::write(self.dir.path().join(format!("{process}/mountinfo")), line + "\n").unwrap();
    }

    fn upper(&self) -> Result<OwnedFd, String> {
        let root = self.target.open().map_err(|cause| cause.to_string())?;
        root.upper().map_err(|cause| cause.to_string())
    }
}

#[test]
fn the_upper_layer_is_the_one_of_the_machines_own_table() {
    let machine = Machine::new();
    fs::create_dir_all(machine.dir.path().join("1/root/layers/own")).unwrap();
    fs::create_dir_all(machine.dir.path().join("1/root/secret")).unwrap();
    machine.table(7, "{id} 1 {device} / / rw - overlay overlay rw,lowerdir=/l,upperdir=/secret");
    assert!(machine.upper().unwrap_err().contains("not among the machine's mounts"));
    machine.table(1, "3 1 {device} / /merged rw - overlay overlay rw,lowerdir=/l,upperdir=/layers/own");
    let upper = rustix::fs::fstat(machine.upper().unwrap()).unwrap();
    let own = fs::metadata(machine.dir.path().join("1/root/layers/own")).unwrap();
    assert_eq!(upper.st_ino, std::os::unix::fs::MetadataExt::ino(&own));
}

#[test]
fn where_no_layer_lies_over_an_image_the_cause_says_so() {
    let machine = Machine::new();
    machine.table(7, "{id} 1 {device} / / rw - ext4 /dev/vda rw");
    assert!(machine.upper().unwrap_err().contains("no overlay over an image"));
    let target = Target { layer: Layer::Unseen("why"), ..machine.target };
    assert_eq!(target.open().unwrap().upper().unwrap_err().as_str(), "why");
}

#[test]
fn a_filesystem_that_a_process_serves_is_not_asked() {
    let machine = Machine::new();
    for kind in ["fuse", "fuse.sshfs"] {
        machine.table(7, &format!("{{id}} 1 {{device}} / / rw - {kind} x rw"));
        assert!(machine.target.open().unwrap_err().as_str().contains("FUSE"));
    }
    // The table of a process that has ended, or that may not be read: the machine's words count.
    fs::remove_file(machine.dir.path().join("7/mountinfo")).unwrap();
    machine.table(1, "3 1 {device} / / rw - fuse.x x rw");
    assert!(machine.target.open().unwrap_err().as_str().contains("FUSE"));
    machine.table(1, "3 1 {device} / / rw - ext4 x rw");
    assert!(machine.target.open().is_ok());
}

#[test]
fn what_a_first_process_sees_in_a_chroot_is_not_the_root_of_the_container() {
    let machine = Machine::new();
    machine.table(1, "3 1 {device} / / rw - ext4 x rw");
    // A chroot shows the mounts below it, which may be none.
    machine.table(7, "{id}9 1 {device} / /dev rw - tmpfs x rw");
    assert!(machine.target.open().unwrap_err().as_str().contains("in a chroot"));
    fs::write(machine.dir.path().join("7/mountinfo"), "").unwrap();
    assert!(machine.target.open().unwrap_err().as_str().contains("in a chroot"));
}

#[test]
fn zero_inodes_and_zero_blocks_are_unknown() {
    let known = size(&statvfs([4, 2, 1], [10, 4]));
    assert_eq!((known.total_bytes, known.inodes_used, known.inodes_total), (Ok(4096), Ok(6), Ok(10)));
    let unknown = size(&statvfs([0, 0, 0], [0, 0]));
    assert!(unknown.total_bytes.is_err() && unknown.inodes_used.is_err() && unknown.inodes_total.is_err());
    assert!(unknown.available_bytes.is_err() && unknown.used_percent.is_err());
}

#[test]
fn a_filesystem_is_as_full_as_df_says() {
    let full = |blocks| {
        let found = size(&statvfs(blocks, [0, 0]));
        (found.available_bytes.unwrap(), found.used_percent.unwrap())
    };
    // 600 of 1000 blocks are used, 100 are kept for root: 600 of 900.
    assert_eq!(full([1000, 400, 300]), (300 * 1024, 6_666));
    assert_eq!(full([1000, 1000, 950]), (950 * 1024, 0));
    assert_eq!(full([1000, 50, 0]), (0, 10_000), "what is left is root's");
    assert_eq!(full([1000, 2000, 500]).1, 0, "a filesystem that tells nonsense");
    assert_eq!(full([u64::MAX, 0, u64::MAX]), (u64::MAX, 5_000));
}

/// Blocks of 1 KiB in all, free, and free for everybody; inodes in all, and free.
fn statvfs(blocks: [u64; 3], inodes: [u64; 2]) -> StatVfs {
    StatVfs {
        f_bsize: 4096,
        f_frsize: 1024,
        f_blocks: blocks[0],
        f_bfree: blocks[1],
        f_bavail: blocks[2],
        f_files: inodes[0],
        f_ffree: inodes[1],
        f_favail: inodes[1],
        f_fsid: 0,
        f_flag: rustix::fs::StatVfsMountFlags::empty(),
        f_namemax: 255,
    }
}

#[test]
fn a_root_that_is_gone_is_a_cause() {
    let machine = Machine::new();
    fs::remove_dir(&machine.target.root).unwrap();
    assert!(machine.target.open().unwrap_err().as_str().contains("7/root"));
}

#[test]
fn a_root_that_a_process_has_exchanged_is_told_from_the_one_that_it_had() {
    let dir = tempfile::tempdir().unwrap();
    let (link, exchange) = (dir.path().join("root"), dir.path().join("new"));
    for name in ["machine", "container"] {
        fs::create_dir(dir.path().join(name)).unwrap();
    }
    symlink("machine", &link).unwrap();
    let target = Target { process: None, root: link.clone(), layer: Layer::Unseen(""), is_machine: false };
    let root = target.open().unwrap();
    assert!(root.is_still_at(&link));
    symlink("container", &exchange).unwrap();
    fs::rename(&exchange, &link).unwrap();
    assert!(!root.is_still_at(&link));
    assert!(target.open().unwrap().is_still_at(&link));
    fs::remove_file(&link).unwrap();
    assert!(!root.is_still_at(&link), "its process has ended");
}
