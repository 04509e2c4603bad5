use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::SystemTime;

use super::*;
use crate::containers::hierarchies::Hierarchies;
use crate::containers::rules::Rules;
use crate::containers::{Roots, follow};
use crate::snapshot::Snapshot;

/// Docker's containers, each with a process that has its name in its environment.
const CONTAINERS: [(&str, u32); 2] = [("one", 7), ("two", 8)];

fn clock() -> Stamp {
    Stamp { mono: Duration::ZERO, wall: SystemTime::UNIX_EPOCH }
}

/// A machine made of plain files, on which these containers have run.
fn machine(dir: &Path) -> Registry {
    fs::create_dir(dir.join("cg")).unwrap();
    fs::write(dir.join("cg/cgroup.procs"), "").unwrap();
    for (name, pid) in CONTAINERS {
        let (group, process) = (dir.join(format!("cg/docker/{pid:064x}")), dir.join(format!("proc/{pid}")));
        fs::create_dir_all(&group).unwrap();
        fs::create_dir_all(&process).unwrap();
        fs::write(group.join("cgroup.procs"), format!("{pid}\n")).unwrap();
        fs::write(process.join("environ"), format!("CONTAINER_NAME={name}\0")).unwrap();
        fs::write(process.join("stat"), format!("{pid} (a) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 5 0 0")).unwrap();
    }
    let roots = Roots { cgroup: Some(dir.join("cg")), ..Roots::default() };
    let mut registry = Registry::new(Hierarchies::find(&roots), Rules::default(), "machine");
    follow::walk(&mut registry).unwrap();
    registry
}

fn names(registry: &Mutex<Registry>) -> Vec<String> {
    // The second sample is after the longest time in which the first lookups are awaited.
    let at = |seconds| Stamp { mono: Duration::from_secs(seconds), ..clock() };
    lock(registry).fill(&mut Snapshot::new(at(0)));
    let mut snapshot = Snapshot::new(at(2));
    lock(registry).fill(&mut snapshot);
    let mut names: Vec<String> = snapshot.cgroups.values().map(|cgroup| cgroup.identity.name.clone()).collect();
    names.sort_unstable();
    names
}

fn resolver(dir: &Path, registry: &Arc<Mutex<Registry>>, sockets: Vec<Socket>) -> NameResolver {
    NameResolver {
        files: Files::new(&dir.join("host")),
        proc: dir.join("proc"),
        environments: Worker::new("environments", || {}),
        silent: BTreeMap::new(),
        sockets,
        registry: Arc::clone(registry),
        clock,
        inhabited: VecDeque::new(),
        empty: VecDeque::new(),
        waiting: BTreeMap::new(),
        followed: BTreeMap::new(),
        follow_due: FOLLOW,
    }
}

#[test]
fn containers_with_processes_are_named_before_thousands_of_empty_cgroups() {
    let dir = tempfile::tempdir().unwrap();
    let mut registry = machine(dir.path());
    let real = registry.requests();
    let empty = |number: u64| {
        let cgroup = dir.path().join(format!("cg/docker/{:064x}", 1000 + number));
        fs::create_dir_all(&cgroup).unwrap();
        fs::write(cgroup.join("cgroup.procs"), "").unwrap();
    };
    (0..2000).for_each(empty);
    follow::walk(&mut registry).unwrap();
    let (ask, requests) = mpsc::channel();
    let mut all = registry.requests();
    all.extend(real);
    let first = all.remove(0);
    all.into_iter().for_each(|request| ask.send(request).unwrap());
    let registry = Arc::new(Mutex::new(registry));
    let mut resolver = resolver(dir.path(), &registry, Vec::new());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    resolver.enqueue(first, &requests);
    CONTAINERS.iter().for_each(|_| runtime.block_on(resolver.answer_next()));
    let names = names(&registry);
    assert!(CONTAINERS.iter().all(|(name, _)| names.iter().any(|known| known == name)), "{}", names.len());
    while resolver.has_new() {
        runtime.block_on(resolver.answer_next());
    }
    assert_eq!(resolver.waiting.len(), 0, "one lookup each");
}

#[test]
fn processes_that_end_while_a_runtime_is_asked_have_named_their_containers() {
    let dir = tempfile::tempdir().unwrap();
    let mut registry = machine(dir.path());
    let mut young = registry.requests().into_iter().filter(|request| request.hint.id.is_some());
    let (first, second) = (young.next().unwrap(), young.next().unwrap());
    let of_first = |(_, pid): &&(&str, u32)| first.hint.id == Some(format!("{pid:064x}"));
    let name_of_first = CONTAINERS.iter().find(of_first).unwrap().0.to_owned();
    let registry = Arc::new(Mutex::new(registry));
    let (socket, proc) = (dir.path().join("socket"), dir.path().join("proc"));
    let listener = UnixListener::bind(&socket).unwrap();
    let mut resolver = resolver(dir.path(), &registry, vec![Socket::new(socket)]);
    let (ask, requests) = mpsc::channel();
    ask.send(second).unwrap();
    let known = Arc::clone(&registry);
    // A runtime whose processes exit while it is asked, and that does not answer.
    let asked = thread::spawn(move || {
        let connection = listener.accept().unwrap();
        fs::remove_dir_all(proc).unwrap();
        let names = names(&known);
        drop(connection);
        names
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    resolver.enqueue(first, &requests);
    runtime.block_on(resolver.answer_next());
    runtime.block_on(resolver.answer_next());
    assert!(asked.join().unwrap().contains(&name_of_first), "the name is not held back while the runtime is asked");
    assert_eq!(names(&registry), ["machine", "one", "two"]);
}

#[test]
fn a_container_that_starts_for_seconds_is_named_soon_after_its_own_process_has_begun() {
    let dir = tempfile::tempdir().unwrap();
    let stat = |flags: u64| {
        let stat = format!("7 (a) S 1 1 1 0 -1 {flags} 0 0 0 0 0 0 0 0 20 0 1 0 5 0 0");
        fs::write(dir.path().join("proc/7/stat"), stat).unwrap();
    };
    let mut registry = machine(dir.path());
    let is_first = |request: &NameRequest| request.hint.id == Some(format!("{:064x}", 7));
    let mut request = registry.requests().into_iter().find(is_first).unwrap();
    let registry = Arc::new(Mutex::new(registry));
    let mut resolver = resolver(dir.path(), &registry, Vec::new());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut answer = |request: NameRequest, attempts| {
        let first = resolver.first_process(&request);
        runtime.block_on(resolver.answer(request.clone(), attempts, first));
        resolver.waiting.remove(&request.id)
    };
    stat(0x40);
    let mut attempts = Attempts::default();
    for _ in 0..100 {
        let due;
        (due, attempts, request) = answer(request, attempts).expect("it is asked again");
        assert!(due <= SLOWEST_START, "{due:?}");
    }
    stat(0);
    answer(request, attempts);
    assert!(names(&registry).contains(&"one".to_owned()));
}

#[test]
fn lookups_of_a_process_that_never_becomes_the_containers_own_come_to_an_end() {
    let mut attempts = Attempts::default();
    let starting = std::iter::from_fn(|| attempts.pause(true)).count();
    assert_eq!(starting, MOST_STARTING + AGAIN.len());
    assert_eq!(Attempts::OVER.clone().pause(true), None);
}

#[test]
fn a_request_from_before_a_container_had_a_process_does_not_end_later_retries() {
    let dir = tempfile::tempdir().unwrap();
    let mut registry = machine(dir.path());
    let is_first = |request: &NameRequest| request.hint.id == Some(format!("{:064x}", 7));
    let request = registry.requests().into_iter().find(is_first).unwrap();
    let registry = Arc::new(Mutex::new(registry));
    let mut resolver = resolver(dir.path(), &registry, Vec::new());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (_ask, requests) = mpsc::channel();
    let group = dir.path().join(format!("cg/docker/{:064x}/cgroup.procs", 7));
    fs::write(&group, "").unwrap();
    resolver.enqueue(request.clone(), &requests);
    // Its first process is still the runtime's own.
    fs::write(&group, "7\n").unwrap();
    let stat = "7 (a) S 1 1 1 0 -1 64 0 0 0 0 0 0 0 0 20 0 1 0 5 0 0";
    fs::write(dir.path().join("proc/7/stat"), stat).unwrap();
    resolver.enqueue(NameRequest { had_process: true, ..request.clone() }, &requests);
    runtime.block_on(resolver.answer_next());
    runtime.block_on(resolver.answer_next());
    assert!(!resolver.has_new());
    assert!(resolver.waiting.contains_key(&request.id));
}
