//! Agents of a machine that follow each other, and a second one at the same time. Each test has a BPF file system of
//! its own, in a mount namespace that ends with it.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Output};
use std::time::Duration;

use aya::maps::{Array, Map, MapData};
use aya::programs::links::{FdLink, PinnedLink};
use tests::agent::{self, Agent};
use tests::cgroup::Group;
use tests::mounts::own_mounts;
use tests::oracle::{self, Judged};
use tests::valkey::Valkey;
use tests::watched::{Load, SOCKET, TIMEOUT, whole};
use tests::{eventually, skip};

/// A container, a server, and a directory to pin in.
struct World {
    valkey: Valkey,
    name: String,
    pins: PathBuf,
    group: Group,
    _process: Child,
    _dir: tempfile::TempDir,
}

macro_rules! world {
    ($name:literal) => {{
        if !tests::is_root() {
            skip!("mounting takes root");
        }
        let dir = tempfile::tempdir().unwrap();
        if let Err(error) = own_mounts(dir.path()) {
            skip!("no BPF file system: {error}");
        }
        let name = format!("system-monitor-{}-{}", $name, std::process::id());
        let Some(group) = Group::container(&name) else { skip!("no control group can be made here") };
        let Some(valkey) = Valkey::start(SOCKET) else { skip!("valkey-server is not installed") };
        let (pins, process) = (dir.path().join("bpf/pins"), group.occupy());
        let world = World { valkey, name, pins, group, _process: process, _dir: dir };
        let agent = world.agent();
        let report = world.report(|_| true);
        for field in ["processes.forks", "processes.exits", "network_rx_bytes"] {
            if let Some(cause) = report.absent.get(field) {
                skip!("{field}: {cause}");
            }
        }
        (world, agent)
    }};
}

impl World {
    fn command(&self, arguments: &[&str]) -> std::process::Command {
        let socket = format!("unix://{}", self.valkey.path("socket").display());
        agent::command(arguments, &[("VALKEY_URL", &socket), ("MONITOR_PIN", self.pins.to_str().unwrap())])
    }

    fn agent(&self) -> Agent {
        Agent::spawn(self.command(&["--scope", "host", "--interval", "200ms"]))
    }

    fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let Output { status, stdout, stderr } = self.command(arguments).output().unwrap();
        (status.code(), String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr))
    }

    /// The latest report of the container that `fits` accepts.
    fn report(&self, fits: impl Fn(&Judged) -> bool) -> Judged {
        let latest = || self.valkey.report(&self.name, Duration::from_millis(50));
        let found = eventually(TIMEOUT, || oracle::report(&self.name, &latest()?).ok().filter(&fits));
        found.unwrap_or_else(|| panic!("{:?}", latest().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())))
    }

    /// A report of a reading that began after now.
    fn fresh(&self) -> Judged {
        let before = self.report(|_| true).timestamp;
        let next = self.report(|report| report.timestamp > before).timestamp;
        self.report(|report| report.timestamp > next)
    }

    fn links(&self) -> Vec<PathBuf> {
        let objects = fs::read_dir(&self.pins).unwrap().flatten().filter(|entry| entry.file_type().unwrap().is_dir());
        let links = objects.flat_map(|object| fs::read_dir(object.path().join("links")).unwrap().flatten());
        let mut links: Vec<_> = links.map(|link| link.path()).collect();
        links.sort();
        links
    }

    /// The id of each link, and of its program.
    fn linked(&self) -> Vec<(u32, u32)> {
        let info = |path: &PathBuf| FdLink::from(PinnedLink::from_pin(path).unwrap()).info().unwrap();
        self.links().iter().map(info).map(|info| (info.id(), info.program_id())).collect()
    }

    /// Changes the layout number that is stored with the maps of a pinned object.
    fn set_layout(&self, object: &str, layout: u64) {
        let map = MapData::from_pin(self.pins.join(object).join("maps/META")).unwrap();
        let mut map = Array::<_, [u64; 3]>::try_from(Map::Array(map)).unwrap();
        let [_, scope, since] = map.get(&0, 0).unwrap();
        map.set(0, [layout, scope, since], 0).unwrap();
    }
}

fn ids_of_all_links() -> Vec<u32> {
    aya::programs::loaded_links().flatten().map(|link| link.id()).collect()
}

#[test]
fn killed_again_and_again_in_the_middle_of_the_load_and_followed_by_other_programs_it_counts_to_the_byte() {
    let (world, mut agent) = world!("kill");
    let (datagrams, size, children) = (2_000_000, 100, 50_000);
    let before = world.report(|_| true);
    let linked = world.linked();
    let (inner, outer) = (world.group.child("inner"), world.group.child("outer"));
    let mut talker = Load::start(&inner, &["udp", "127.0.0.1", &datagrams.to_string(), &size.to_string()]);
    let mut maker = Load::start(&outer, &["fork", &children.to_string()]);
    let mut in_between = 0;
    for round in 0..6 {
        std::thread::sleep(Duration::from_millis(400));
        agent.end(libc::SIGKILL);
        if round == 3 {
            // This load runs in the time without an agent.
            talker.done();
        }
        agent = world.agent();
        let forks = whole(&world.fresh(), "processes", "forks") - whole(&before, "processes", "forks");
        in_between += u32::from(forks > 0 && forks < children);
    }
    assert!(in_between >= 2, "the load was over too soon to show anything");
    maker.done();
    agent.end(libc::SIGKILL);
    drop((talker, maker));
    // No agent sees these end.
    drop((inner, outer));
    agent = world.agent();
    let bytes = datagrams * (size + 28);
    for _ in 0..6 {
        let report = world.fresh();
        let grown = |field: &str| whole(&report, "network", field) - whole(&before, "network", field);
        let events = |field: &str| whole(&report, "processes", field) - whole(&before, "processes", field);
        assert_eq!((grown("loopback_rx_bytes"), grown("loopback_tx_bytes")), (bytes, bytes));
        assert_eq!((events("forks"), events("exits")), (children, children + 2));
        assert_eq!(report.json["network"]["since"], before.json["network"]["since"]);
    }
    // The links are the same all the time; those to cgroups change their program with each agent.
    let now = world.linked();
    let ids = |linked: &[(u32, u32)]| linked.iter().map(|(link, _)| *link).collect::<Vec<_>>();
    assert_eq!(ids(&linked), ids(&now));
    let exchanged = linked.iter().zip(&now).filter(|(before, now)| before.1 != now.1).count();
    assert_eq!(exchanged, 2, "egress and ingress: {linked:?} {now:?}");
    assert!(agent.says("Counting continues in pinned maps", TIMEOUT));
}

#[test]
fn an_incompatible_layout_is_said_and_never_read() {
    let (world, agent) = world!("layout");
    Load::start(&world.group, &["fork", "20"]).done();
    world.report(|report| whole(report, "processes", "forks") >= 20);
    agent.end(libc::SIGKILL);
    world.set_layout("process", 77);
    world.set_layout("network", 0);
    let old = world.linked();
    let agent = world.agent();
    assert!(agent.says("has layout 77, and this version reads layout", TIMEOUT), "{}", agent.said());
    assert!(agent.said().contains("is not complete"), "{}", agent.said());
    let report = world.report(|report| whole(report, "processes", "forks") == 0);
    assert_eq!(whole(&report, "network", "loopback_rx_bytes"), 0);
    Load::start(&world.group, &["fork", "7"]).done();
    assert_eq!(whole(&world.fresh(), "processes", "forks"), 7);
    let ids = ids_of_all_links();
    assert!(old.iter().all(|(link, _)| !ids.contains(link)), "the old programs still count");
}

#[test]
fn detach_removes_everything_and_says_what() {
    let (world, agent) = world!("detach");
    let (code, said) = world.run(&["detach"]);
    assert_eq!(code, Some(1));
    assert!(said.contains(&format!("pid {}", agent.pid())), "{said}");
    let ended = agent.end(libc::SIGTERM);
    assert!(ended.status.success() && ended.said.contains("eBPF counters stay pinned"), "{}", ended.said);
    let linked = world.linked();
    assert_eq!(linked.len(), 5);
    let there = ids_of_all_links();
    assert!(linked.iter().all(|(link, _)| there.contains(link)), "the kernel goes on counting");
    let (code, said) = world.run(&["detach"]);
    assert_eq!((code, said.lines().filter(|line| line.starts_with("removed link")).count()), (Some(0), 5), "{said}");
    assert!(!world.pins.exists());
    // The kernel frees links with a delay.
    let gone = || {
        let ids = ids_of_all_links();
        linked.iter().all(|(link, _)| !ids.contains(link)).then_some(())
    };
    assert!(eventually(TIMEOUT, gone).is_some());
    let (code, said) = world.run(&["detach"]);
    assert_eq!(code, Some(0));
    assert!(said.contains("nothing is pinned"), "{said}");
}

#[test]
fn a_second_agent_says_who_the_first_one_is_and_ends() {
    let (world, agent) = world!("second");
    let (code, said) = world.run(&["--scope", "host"]);
    assert_eq!(code, Some(1));
    let who = format!("pid {}, since 20", agent.pid());
    assert!(said.contains(&who) && said.contains(&format!("version {}", env!("CARGO_PKG_VERSION"))), "{said}");
    // The lock also holds where nothing can be pinned.
    let elsewhere = ["--scope", "host", "--pin", "/tmp/not-a-bpf-file-system"];
    let other = Agent::spawn(world.command(&elsewhere));
    assert!(other.says("lies in no BPF file system", TIMEOUT), "{}", other.said());
    assert!(other.said().contains("mount -t bpf bpf /tmp"), "{}", other.said());
    assert!(eventually(TIMEOUT, || Path::new("/run/system-monitor/agent").is_symlink().then_some(())).is_some());
    let (code, said) = world.run(&elsewhere);
    assert_eq!(code, Some(1));
    assert!(said.contains(&format!("pid {}", other.pid())), "{said}");
    // The kernel releases the lock with its holder.
    agent.end(libc::SIGKILL);
    let mut next = world.agent();
    world.fresh();
    assert!(next.is_alive());
}

#[test]
fn a_directory_of_somebody_else_is_refused_and_the_agent_goes_on_without() {
    let (world, agent) = world!("foreign");
    agent.end(libc::SIGTERM);
    world.run(&["detach"]);
    let refused = |why: &str| {
        let agent = world.agent();
        assert!(agent.says(why, TIMEOUT), "{}", agent.said());
        world.fresh();
        assert_eq!(agent.said().matches("will not survive a restart").count(), 1, "{}", agent.said());
        agent.end(libc::SIGTERM);
    };
    fs::create_dir(&world.pins).unwrap();
    fs::set_permissions(&world.pins, fs::Permissions::from_mode(0o777)).unwrap();
    refused("is open to other users");
    fs::set_permissions(&world.pins, fs::Permissions::from_mode(0o700)).unwrap();
    chown(&world.pins, Some(1000), None).unwrap();
    refused("belongs to user 1000, not to 0");
    chown(&world.pins, Some(0), None).unwrap();
    fs::create_dir_all(world.pins.join("network/theirs")).unwrap();
    refused("network/theirs is not this program's");
    assert_eq!(world.run(&["detach"]).0, Some(1));
    assert!(world.pins.join("network/theirs").exists());
}
