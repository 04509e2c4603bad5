use std::fs;
use std::path::Path;
use std::time::SystemTime;

use super::measure::Measured;
use super::*;
use crate::snapshot::CgroupId;

#[expect(clippy::disallowed_methods, reason = "tests may look at the clock")]
fn clock() -> Stamp {
    let wall = SystemTime::now();
    Stamp { mono: wall.duration_since(SystemTime::UNIX_EPOCH).unwrap(), wall }
}

fn du(root: &Path) -> u64 {
    let output = std::process::Command::new("du").args(["-s", "-x", "-B1"]).arg(root).output().unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    out.split_whitespace().next().unwrap().parse().unwrap()
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
    let device = rustix::fs::stat(dir.path()).unwrap().st_dev;
    let device = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    let table =
        format!("1 2 0:3 / / rw - proc proc rw\n3 1 {device} / /m rw - overlay overlay rw,upperdir=/layers/own\n");
    write("1/mountinfo", table.as_bytes());
    let roots = Roots { proc: dir.path().to_owned(), ..Roots::default() };
    let plan = DiskPlan { exclude: Vec::new(), interval: Some(Duration::from_secs(60)), machine: false };
    let mut disk = Disk::new(plan, &roots, clock);
    let sample = |disk: &mut Disk| {
        let mut into = Snapshot::new(clock());
        into.scope = Scope::Host;
        into.cgroups.entry(CgroupId(1)).or_default().first_process = Some(7);
        disk.sample(&mut into).unwrap();
        into
    };
    // The first reading waits a tenth of a second for the size, which a busy machine may exceed.
    sample(&mut disk);
    drop(disk.shared.await_sizes(Duration::from_secs(10)));
    let mut read = |metric| {
        let into = sample(&mut disk);
        let values = &into.cgroups[&CgroupId(1)].values;
        assert!(values.get(Metric::DiskTotal).unwrap().unwrap() > 0);
        values.get(metric).unwrap().map_err(ToString::to_string)
    };
    let deadline = clock().mono + Duration::from_secs(10);
    while let Err(cause) = read(Metric::DiskUsage) {
        assert!(cause.contains("under way") && clock().mono < deadline, "{cause}");
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(read(Metric::DiskUsage), Ok(du(&dir.path().join("7/root"))));
    assert_eq!(read(Metric::DiskWritable), Ok(du(&dir.path().join("1/root/layers/own"))));
}

#[test]
fn what_was_never_measured_comes_first_nothing_before_it_is_due_and_nothing_that_does_not_answer() {
    let mut state = State::default();
    let next = |state: &State, is_machine, now| {
        let due = |state: &State, id: &CgroupId| state.walks.get(id).map(|walk| walk.due);
        let next = state.next(Duration::from_secs(now), due, |target| target.is_machine == is_machine);
        next.map(|(id, _)| id.0)
    };
    assert_eq!(next(&state, false, 9), None);
    for id in 1..=3 {
        let root = format!("/{id}").into();
        let target = Target { process: None, root, layer: Layer::Unseen(""), is_machine: id == 2 };
        state.wanted.insert(CgroupId(id), target);
    }
    let walk =
        |due| Measured { value: Walked { used_bytes: Ok(1), writable_bytes: Ok(1) }, due: Duration::from_secs(due) };
    state.walks = [(CgroupId(1), walk(5)), (CgroupId(3), walk(4))].into();
    assert_eq!([9, 4, 3].map(|now| next(&state, false, now)), [Some(3), Some(3), None]);
    state.walks.remove(&CgroupId(1));
    assert_eq!(next(&state, false, 9), Some(1));
    assert_eq!(next(&state, true, 0), Some(2), "the machine has its own walker");
    state.silent.insert(CgroupId(1));
    assert_eq!(next(&state, false, 9), Some(3));
}
