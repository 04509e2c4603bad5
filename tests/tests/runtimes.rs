//! Containers of runtimes that do not run here, by the trees and state files that they would have.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, SystemTime};

use monitor::containers::hierarchies::Hierarchies;
use monitor::containers::names::Files;
use monitor::containers::registry::Registry;
use monitor::containers::rules::Rules;
use monitor::containers::{Roots, follow};
use monitor::snapshot::{Snapshot, Stamp};
use tests::agent::Agent;
use tests::cgroup::Group;
use tests::valkey::Valkey;
use tests::{eventually, skip};

/// Longer than the half minute for which a runtime that has not answered is not asked again.
const TIMEOUT: Duration = Duration::from_secs(60);

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/runtimes")
}

/// Path and name of each container that is reported.
fn reported(fixture: &Path, paths: &[&str]) -> BTreeMap<String, String> {
    let dir = tempfile::tempdir().unwrap();
    for path in paths {
        fs::create_dir_all(dir.path().join(path)).unwrap();
    }
    fs::write(dir.path().join("cgroup.procs"), "").unwrap();
    let roots = Roots { cgroup: Some(dir.path().to_owned()), ..Roots::default() };
    let mut registry = Registry::new(Hierarchies::find(&roots), Rules::default(), "machine");
    follow::walk(&mut registry).unwrap();
    let mut files = Files::new(&fixture.join("root"));
    for question in registry.requests() {
        registry.named(question.id, &files.look_up(&question.hint, question.user, false).unwrap_or_default());
    }
    let mut now = Snapshot::new(Stamp { mono: Duration::ZERO, wall: SystemTime::UNIX_EPOCH });
    registry.fill(&mut now);
    let containers = now.cgroups.into_values().filter(|cgroup| !cgroup.identity.is_root);
    containers.map(|cgroup| (cgroup.identity.path.clone(), cgroup.identity.name.clone())).collect()
}

/// A copy of a fixture, in which the files below `/home` belong to the user 1000.
fn with_homes(fixture: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    let run = |program: &str, arguments: &[&std::ffi::OsStr]| {
        assert!(Command::new(program).args(arguments).status().unwrap().success(), "{program} {arguments:?}");
    };
    run("cp", &["-R".as_ref(), fixture.join(".").as_os_str(), copy.path().as_os_str()]);
    for home in fs::read_dir(copy.path().join("root/home")).into_iter().flatten().flatten() {
        run("chown", &["-R".as_ref(), "1000".as_ref(), home.path().as_os_str()]);
    }
    copy
}

#[test]
fn every_runtimes_containers_are_found_and_named_and_nothing_else_is() {
    if !tests::is_root() {
        skip!("only root gives files to another user");
    }
    let mut seen = 0;
    for entry in fs::read_dir(fixtures()).unwrap().flatten().filter(|entry| entry.path().is_dir()) {
        let text = fs::read_to_string(entry.path().join("cgroups")).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let lines: Vec<(&str, Option<&str>)> =
            lines.map(|line| line.split_once('\t').map_or((line, None), |(path, name)| (path, Some(name)))).collect();
        let expected: BTreeMap<String, String> =
            lines.iter().filter_map(|(path, name)| Some((format!("/{path}"), (*name)?.to_owned()))).collect();
        let paths: Vec<&str> = lines.iter().map(|(path, _)| *path).collect();
        let fixture = with_homes(&entry.path());
        assert_eq!(reported(fixture.path(), &paths), expected, "{}", entry.path().display());
        seen += expected.len();
    }
    assert!(seen >= 15, "{seen} containers");
}

/// A runtime that accepts every connection and answers none until it is allowed to: then it knows one container,
/// described as Docker does.
struct Runtime {
    listener: UnixListener,
    container: String,
    name: &'static str,
    may_answer: Receiver<()>,
}

impl Runtime {
    fn run(self) {
        let mut silent: Vec<UnixStream> = Vec::new();
        self.listener.set_nonblocking(true).unwrap();
        while self.may_answer.try_recv().is_err() {
            silent.extend(self.listener.accept().map(|(stream, _)| stream));
            std::thread::sleep(Duration::from_millis(10));
        }
        self.listener.set_nonblocking(false).unwrap();
        self.listener.incoming().map_while(Result::ok).for_each(|stream| self.answer(stream));
    }

    fn answer(&self, mut stream: UnixStream) {
        stream.set_nonblocking(false).unwrap();
        let mut question = [0; 4096];
        let length = stream.read(&mut question).unwrap_or(0);
        let asks = question[..length].starts_with(format!("GET /containers/{}/json ", self.container).as_bytes());
        let body = format!(r#"{{"Name":"/{}","Config":{{"Image":"an image","Labels":{{}}}}}}"#, self.name);
        let (status, body) = if asks { ("200 OK", body) } else { ("404 Not Found", String::new()) };
        // The client may be gone.
        _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    }
}

/// The times of all reports in the history of a name.
fn told(valkey: &Valkey, name: &str) -> Vec<String> {
    valkey.history(name).into_iter().map(|(id, _)| id).collect()
}

#[test]
fn a_runtime_that_hangs_costs_nothing_but_the_name_until_it_answers() {
    let Some((group, id)) = tests::is_root().then(Group::docker).flatten() else { skip!("control groups take root") };
    let Some(valkey) = Valkey::start(&[]) else { skip!("valkey-server is not installed") };
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("docker.sock");
    let (allow, may_answer) = mpsc::channel();
    let listener = UnixListener::bind(&socket).unwrap();
    let runtime = Runtime { listener, container: id.clone(), name: "late", may_answer };
    std::thread::spawn(|| runtime.run());
    let mut command = Command::new("sleep");
    group.enter(command.arg("1000").env_remove("CONTAINER_NAME"));
    let mut process = command.spawn().unwrap();
    let arguments = ["--scope", "host", "--interval", "200ms", "--disk-interval", "0s", "--runtime-sockets"];
    let agent = Agent::start(valkey.port, &[&arguments[..], &[socket.to_str().unwrap()]].concat(), &[]);
    let machine = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let fallback = &id[..12];
    // Some seconds in which the runtime is asked, does not answer, and is not asked again.
    let enough = || Some(told(&valkey, fallback)).filter(|told| told.len() >= 40);
    let of_container = eventually(TIMEOUT, enough).unwrap_or_else(|| panic!("{}", agent.said()));
    let (first, last) = (&of_container[0], &of_container[of_container.len() - 1]);
    // The reports of one reading are written one after the other.
    let as_far = || Some(told(&valkey, machine.trim())).filter(|told| told.last() >= Some(last));
    let mut of_machine = eventually(TIMEOUT, as_far).unwrap_or_else(|| panic!("{}", agent.said()));
    // The answer to the first lookup is awaited for two seconds, so that no name changes hands at the start.
    let milliseconds = |id: &String| id.split('-').next().unwrap().parse::<u64>().unwrap();
    let waited = milliseconds(first) - milliseconds(&of_machine[0]);
    assert!(waited <= 2_000 + 200, "{of_machine:?}: it begins with {first}");
    of_machine.retain(|time| (first..=last).contains(&time));
    assert_eq!(of_container, of_machine, "at each reading of the machine there is one of the container");
    // Once it answers, the container has the name that it gives.
    allow.send(()).unwrap();
    assert!(valkey.report("late", TIMEOUT).is_some(), "{}", agent.said());
    let image: serde_json::Value = serde_json::from_slice(&valkey.report("late", TIMEOUT).unwrap()).unwrap();
    assert_eq!((image["image"].as_str(), image["container_id"].as_str()), (Some("an image"), Some(id.as_str())));
    process.kill().unwrap();
    process.wait().unwrap();
}
