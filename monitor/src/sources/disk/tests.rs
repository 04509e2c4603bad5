use std::fs;
use std::time::SystemTime;

use super::walk::{WalkError, walk};
use super::walker::FinishedWalk;
use super::*;

#[expect(clippy::disallowed_methods, reason = "tests may look at the clock")]
fn clock() -> Stamp {
    let wall = SystemTime::now();
    Stamp { mono: wall.duration_since(SystemTime::UNIX_EPOCH).unwrap(), wall }
}

fn walked(root: &Path, exclude: &[&str]) -> Result<u64, WalkError> {
    let exclude: Vec<_> = exclude.iter().map(|path| root.join(path)).collect();
    walk(root, &exclude, clock, |_| true)
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

#[test]
fn it_counts_what_du_counts_with_hard_links_holes_and_exclusions() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    fs::create_dir_all(root.join("a/b")).unwrap();
    fs::create_dir(root.join("data")).unwrap();
    fs::write(root.join("a/file"), vec![7; 300_000]).unwrap();
    fs::write(root.join("data/big"), vec![7; 900_000]).unwrap();
    fs::write(root.join("data-too"), vec![7; 50_000]).unwrap();
    fs::hard_link(root.join("a/file"), root.join("a/b/again")).unwrap();
    std::os::unix::fs::symlink("/usr", root.join("link")).unwrap();
    fs::File::create(root.join("sparse")).unwrap().set_len(1 << 30).unwrap();
    assert_eq!(walked(root, &[]), Ok(du(root, &[])));
    let without = walked(root, &["data"]);
    assert_eq!(without, Ok(du(root, &["data"])), "data-too is another directory");
}

#[test]
fn what_cannot_be_walked_is_named_with_its_cure() {
    let Err(WalkError::Cause(cause)) = walked(Path::new("/nonexistent"), &[]) else { panic!() };
    let text = cause.as_str();
    assert!(text.starts_with("/nonexistent: ") && text.contains("--disk-exclude"), "{text}");
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
    assert_eq!(walk(dir.path(), &[], slow, |_| false), Err(WalkError::Stopped));
}

#[test]
fn the_first_readings_say_that_the_walk_is_under_way_and_later_ones_have_its_numbers() {
    // A machine with one container, whose first process has an overlay as its root directory.
    let dir = tempfile::tempdir().unwrap();
    let write = |path: &str, bytes: &[u8]| {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    write("7/root/data/file", &[7; 100_000]);
    write("1/root/layers/own/file", &[7; 20_000]);
    let table = "1 2 0:3 / / rw - ext4 /dev/vda rw\n3 1 0:4 / / rw - overlay overlay rw,lowerdir=/layers/image,upperdir=/layers/own\n";
    write("7/mountinfo", table.as_bytes());
    let roots = Roots { proc: dir.path().to_owned(), ..Roots::default() };
    let plan = DiskPlan { exclude: Vec::new(), interval: Some(Duration::from_secs(60)), machine: false };
    let mut disk = Disk::new(plan, &roots, clock);
    let mut read = |metric| {
        let mut into = Snapshot::new(clock());
        into.scope = Scope::Host;
        into.cgroups.entry(CgroupId(1)).or_default().first_process = Some(7);
        disk.sample(&mut into).unwrap();
        let values = &into.cgroups[&CgroupId(1)].values;
        assert!(values.get(Metric::DiskTotal).unwrap().unwrap() > 0);
        values.get(metric).unwrap().map_err(ToString::to_string)
    };
    let deadline = clock().mono + Duration::from_secs(10);
    while let Err(cause) = read(Metric::DiskUsage) {
        assert!(cause.contains("under way") && clock().mono < deadline, "{cause}");
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(read(Metric::DiskUsage), Ok(du(&dir.path().join("7/root"), &[])));
    assert_eq!(read(Metric::DiskWritable), Ok(du(&dir.path().join("1/root/layers/own"), &[])));
}

#[test]
fn where_no_layer_lies_over_an_image_the_cause_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let mounts = dir.path().join("mountinfo");
    fs::write(&mounts, "1 2 0:3 / / rw - ext4 /dev/vda rw\n").unwrap();
    let named = Layer::Named { mounts, host: "/".into() };
    assert!(named.directory().unwrap_err().as_str().contains("no overlay"));
    assert_eq!(Layer::Unseen("why").directory().unwrap_err().as_str(), "why");
}

#[test]
fn what_was_never_walked_comes_first_and_nothing_before_it_is_due() {
    let found = |due| FinishedWalk {
        walked: Walked { used_bytes: Ok(1), writable_bytes: Ok(1) },
        due: Duration::from_secs(due),
    };
    let mut shared = Walks::default();
    assert!(shared.next(false, Duration::from_secs(9)).is_none());
    for id in 1..=3 {
        let wanted =
            WalkTarget { process: None, root: format!("/{id}").into(), layer: Layer::Unseen(""), is_machine: id == 2 };
        shared.wanted.insert(CgroupId(id), wanted);
    }
    shared.found = [(CgroupId(1), found(5)), (CgroupId(3), found(4))].into();
    let next = |shared: &Walks, now| shared.next(false, Duration::from_secs(now)).map(|(id, _)| id.0);
    assert_eq!((next(&shared, 9), next(&shared, 4), next(&shared, 3)), (Some(3), Some(3), None));
    shared.found.remove(&CgroupId(1));
    assert_eq!(next(&shared, 9), Some(1));
    assert_eq!(shared.next(true, Duration::ZERO).map(|(id, _)| id.0), Some(2), "the machine has its own walker");
}
