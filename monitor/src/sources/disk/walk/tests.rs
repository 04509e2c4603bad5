use std::fs;
use std::path::Path;
use std::time::SystemTime;

use rustix::fs::{Mode, OFlags};

use super::*;

#[expect(clippy::disallowed_methods, reason = "tests may look at the clock")]
fn clock() -> Stamp {
    let wall = SystemTime::now();
    Stamp { mono: wall.duration_since(SystemTime::UNIX_EPOCH).unwrap(), wall }
}

fn open(path: &Path) -> OwnedFd {
    rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap()
}

/// Walks by the ways of this kernel and by those of the oldest ones, which agree.
fn walked(root: &Path, exclude: &[&str]) -> Result<u64, WalkError> {
    let exclude: Vec<PathBuf> = exclude.iter().map(PathBuf::from).collect();
    let root = open(root);
    let beneath = Beneath::new(&root).unwrap();
    let [new, old] = [beneath, beneath.by_names()].map(|beneath| walk(&root, beneath, &exclude, clock, |_| true));
    assert_eq!(new, old);
    new
}

fn du(root: &Path, exclude: &[&str]) -> u64 {
    let mut command = std::process::Command::new("du");
    command.args(["-s", "-x", "-B1"]).arg(root);
    for path in exclude {
        command.arg(format!("--exclude={}", root.join(path).display()));
    }
    let out = String::from_utf8(command.output().unwrap().stdout).unwrap();
    out.split_whitespace().next().unwrap().parse().unwrap()
}

/// Makes `depth` directories one in the other, each with a file beside the next one; no path can name the last.
fn nest(root: &Path, depth: usize) -> u64 {
    let mut at = open(root);
    let mut bytes = 0;
    for _ in 0..depth {
        rustix::fs::mkdirat(&at, "d".repeat(200), Mode::RWXU).unwrap();
        let file = rustix::fs::openat(&at, "file", OFlags::CREATE | OFlags::WRONLY, Mode::RWXU).unwrap();
        rustix::io::write(&file, &[7; 5000]).unwrap();
        rustix::fs::fsync(&file).unwrap();
        bytes += Attributes::of(&rustix::fs::fstat(&file).unwrap()).allocated;
        at = rustix::fs::openat(&at, "d".repeat(200), OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        bytes += Attributes::of(&rustix::fs::fstat(&at).unwrap()).allocated;
    }
    bytes
}

#[test]
fn it_counts_what_du_counts_with_hard_links_holes_and_exclusions() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    fs::create_dir_all(root.join("a/b")).unwrap();
    fs::create_dir(root.join("data")).unwrap();
    fs::write(root.join("a/file"), vec![7; 300_000]).unwrap();
    fs::write(root.join("data/big"), vec![7; 900_000]).unwrap();
    fs::write(root.join("data-too"), vec![7; 50_000]).unwrap();
    for link in ["a/b/again", "a/b/once-more", "third"] {
        fs::hard_link(root.join("a/file"), root.join(link)).unwrap();
    }
    std::os::unix::fs::symlink("/usr", root.join("link")).unwrap();
    fs::File::create(root.join("sparse")).unwrap().set_len(1 << 30).unwrap();
    assert_eq!(walked(root, &[]), Ok(du(root, &[])));
    assert_eq!(walked(root, &["/data"]), Ok(du(root, &["data"])), "data-too is another directory");
    assert_eq!(walked(root, &["a/b", "nothing/there"]), Ok(du(root, &["a/b"])));
}

#[test]
fn what_is_deeper_than_any_path_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let own = Attributes::of(&rustix::fs::fstat(open(dir.path())).unwrap()).allocated;
    // Deeper than the levels that keep their handles, and longer than PATH_MAX.
    let below = nest(dir.path(), KEPT + 40);
    assert_eq!(walked(dir.path(), &[]), Ok(own + below));
}

#[test]
fn many_long_names_take_bounded_memory() {
    // Each level has more names than are remembered at a time.
    let dir = tempfile::tempdir().unwrap();
    let mut at = open(dir.path());
    for level in 0..3 {
        for name in 0..20 {
            rustix::fs::mkdirat(&at, format!("{name:0240}"), Mode::RWXU).unwrap();
        }
        let next = format!("{level:0240}");
        at = rustix::fs::openat(&at, next, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
    }
    let root = open(dir.path());
    let beneath = Beneath::new(&root).unwrap();
    let attributes = Attributes::of(&rustix::fs::fstat(&root).unwrap());
    let exclusions = Exclusions::new(&[]);
    let top = Level::new(beneath.directory(&root, c".").unwrap(), &attributes, exclusions.all());
    let mut walk = Walk {
        beneath,
        exclusions,
        clock,
        rest: |_| true,
        began: Duration::ZERO,
        step: clock().mono + Duration::from_secs(3600),
        used: attributes.allocated,
        links: HashMap::new(),
        // As if other levels had nearly used up the room.
        names: MOST_NAMES - 500,
        levels: vec![top],
        root: &attributes,
    };
    let mut buffer = vec![MaybeUninit::uninit(); BUFFER];
    walk.read(&mut buffer).unwrap();
    let level = &walk.levels[0];
    assert_eq!((level.pending.len(), level.is_read, level.is_elsewhere), (2, false, true));
    assert_eq!(walk.run(), Ok(du(dir.path(), &[])));
}

#[test]
fn a_directory_that_is_moved_away_meanwhile_ends_only_its_own_part() {
    let dir = tempfile::tempdir().unwrap();
    nest(dir.path(), KEPT + 2);
    fs::write(dir.path().join("last"), vec![7; 70_000]).unwrap();
    let root = open(dir.path());
    let beneath = Beneath::new(&root).unwrap();
    let (attributes, elsewhere) = (Attributes::of(&rustix::fs::fstat(&root).unwrap()), tempfile::tempdir().unwrap());
    let moved = rustix::fs::openat(&root, "d".repeat(200), OFlags::RDONLY, Mode::empty()).unwrap();
    let wrong = Attributes { inode: attributes.inode + 1, ..attributes };
    assert!(beneath.parent(&moved, attributes.device, attributes.inode).is_ok());
    assert_eq!(beneath.parent(&moved, wrong.device, wrong.inode).unwrap_err(), Errno::STALE);
    fs::rename(dir.path().join("d".repeat(200)), elsewhere.path().join("moved")).unwrap();
    assert_eq!(beneath.parent(&moved, attributes.device, attributes.inode).unwrap_err(), Errno::STALE);
}

#[test]
fn a_mount_is_neither_entered_nor_asked() {
    let root = open(Path::new("/"));
    let beneath = Beneath::new(&root).unwrap();
    for beneath in [beneath, beneath.by_names()] {
        assert_eq!(beneath.directory(&root, c"proc").unwrap_err(), Errno::XDEV);
        assert_eq!(beneath.attributes(&root, c"proc").unwrap_err(), Errno::XDEV);
    }
}

#[test]
fn what_cannot_be_walked_is_named_with_its_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let WalkError::Cause(cause) = failed(&open(dir.path()), Some(c"secret"), Errno::ACCESS) else { panic!() };
    let text = cause.as_str();
    let path = dir.path().join("secret").display().to_string();
    assert!(text.starts_with(&format!("{path}: ")) && text.contains("--disk-exclude"), "{text}");
}

#[test]
fn a_walk_can_be_stopped() {
    fn slow() -> Stamp {
        static CALLS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let calls = CALLS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Stamp { mono: Duration::from_millis(calls * 10), wall: SystemTime::UNIX_EPOCH }
    }
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "x").unwrap();
    let root = open(dir.path());
    let beneath = Beneath::new(&root).unwrap();
    assert_eq!(walk(&root, beneath, &[], slow, |_| false), Err(WalkError::Stopped));
}
