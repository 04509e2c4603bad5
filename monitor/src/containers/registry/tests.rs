use std::fs;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;

use super::*;
use crate::containers::name_template::NameTemplate;
use crate::containers::{Roots, follow};
use crate::metrics::Metric;
use crate::snapshot::Stamp;

mod claims;

const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

/// A machine made of plain directories, with all names resolved.
struct Machine {
    dir: tempfile::TempDir,
    registry: Registry,
    now: Duration,
}

impl Machine {
    fn new(rules: Rules, dirs: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("cg")).unwrap();
        fs::write(dir.path().join("cg/cgroup.procs"), "").unwrap();
        let roots = Roots { cgroup: Some(dir.path().join("cg")), ..Roots::default() };
        let registry = Registry::new(Hierarchies::find(&roots), rules, "machine");
        let mut machine = Self { dir, registry, now: Duration::ZERO };
        dirs.iter().for_each(|dir| machine.make(dir));
        machine
    }

    fn make(&mut self, path: &str) {
        let path = self.dir.path().join("cg").join(path.replace("{A}", A).replace("{B}", B));
        fs::create_dir_all(path).unwrap();
        self.walk();
    }

    fn remove(&mut self, path: &str) {
        fs::remove_dir_all(self.dir.path().join("cg").join(path.replace("{A}", A).replace("{B}", B))).unwrap();
        self.walk();
    }

    fn walk(&mut self) {
        follow::walk(&mut self.registry).unwrap();
        for request in self.registry.requests() {
            self.registry.named(request.id, &ContainerInfo::default());
        }
    }

    fn call(&mut self, path: &str, name: &str) {
        let id = self.id(path);
        self.registry.named(id, &ContainerInfo { name: Some(name.to_owned()), ..ContainerInfo::default() });
    }

    fn id(&self, path: &str) -> CgroupId {
        let path = path.replace("{A}", A).replace("{B}", B);
        *self.registry.cgroups.keys().find(|id| self.registry.path(**id).unwrap() == Path::new(&path)).unwrap()
    }

    fn read(&mut self, coverage: Coverage) -> Snapshot {
        let now = Snapshot::new(Stamp { mono: self.now, wall: SystemTime::UNIX_EPOCH });
        let mut now = Snapshot { coverage, ..now };
        self.registry.fill(&mut now);
        now
    }

    fn names(&mut self, coverage: Coverage) -> Vec<(String, &'static str)> {
        let now = self.read(coverage);
        let named = now.cgroups.values().filter(|cgroup| !cgroup.withheld);
        let mut names: Vec<_> = named.map(|cgroup| (cgroup.identity.name.clone(), cgroup.status.as_str())).collect();
        names.sort_unstable();
        names
    }
}

fn running(names: &[&str]) -> Vec<(String, &'static str)> {
    names.iter().map(|name| ((*name).to_owned(), "running")).collect()
}

fn ended(names: &[&str]) -> Vec<(String, &'static str)> {
    names.iter().map(|name| ((*name).to_owned(), "exited")).collect()
}

#[test]
fn the_machine_and_its_containers_are_found_and_each_cgroup_has_its_place() {
    let mut machine = Machine::new(Rules::default(), &["docker/{A}/inner", "docker/{B}", "system.slice/ssh.service"]);
    machine.call("docker/{A}", "web");
    assert_eq!(machine.names(Coverage::All), running(&["bbbbbbbbbbbb", "machine", "web"]));
    let now = machine.read(Coverage::All);
    let (web, root) = (machine.id("docker/{A}"), machine.id(""));
    assert_eq!(now.cgroups[&web].identity.container_id.as_deref(), Some(A));
    let owners: Vec<_> = now.places.values().filter(|place| place.owner == web).collect();
    assert_eq!(owners.len(), 2, "the container and what is in it");
    assert_eq!(now.places[&web].outer, Some(root));
    assert!(now.cgroups[&root].identity.is_root);
}

#[test]
fn the_machine_is_left_out_by_name_and_its_containers_stay() {
    for (names, reported) in
        [("web", &["machine", "web"][..]), ("!machine", &["web"]), ("!/", &["web"]), ("!*", &["machine"])]
    {
        let mut machine = Machine::new(Rules::default().with_names(names).unwrap(), &["docker/{A}"]);
        machine.call("docker/{A}", "web");
        assert_eq!(machine.names(Coverage::All), running(reported), "{names}");
    }
}

#[test]
fn a_container_that_ends_is_told_of_once_and_at_once() {
    let mut machine = Machine::new(Rules::default(), &["docker/{A}"]);
    machine.names(Coverage::All);
    machine.remove("docker/{A}");
    assert!(machine.registry.has_ended());
    assert_eq!(machine.names(Coverage::Exited), ended(&["aaaaaaaaaaaa"]));
    assert!(machine.names(Coverage::Exited).is_empty());
    assert_eq!(machine.names(Coverage::All), running(&["machine"]));
}

#[test]
fn one_that_came_and_went_is_told_of_with_its_place_and_its_name_may_come_late() {
    let mut machine = Machine::new(Rules::default(), &["lxc.payload.box/docker/{A}"]);
    let (id, outer) = (machine.id("lxc.payload.box/docker/{A}"), machine.id("lxc.payload.box"));
    machine.remove("lxc.payload.box/docker/{A}");
    machine.registry.named(id, &ContainerInfo { name: Some("brief".into()), ..ContainerInfo::default() });
    let now = machine.read(Coverage::Exited);
    assert_eq!(now.cgroups[&id].identity.name, "brief");
    assert_eq!(now.gone[&id], Place { owner: id, outer: Some(outer) });
    machine.read(Coverage::All);
    machine.read(Coverage::All);
    assert!(machine.read(Coverage::All).gone.is_empty());
}

#[test]
fn nested_containers_belong_to_the_inner_one_and_lie_in_the_outer() {
    let mut machine = Machine::new(Rules::default(), &["lxc.payload.box/docker/{A}/init"]);
    let now = machine.read(Coverage::All);
    let (inner, outer, root) =
        (machine.id("lxc.payload.box/docker/{A}"), machine.id("lxc.payload.box"), machine.id(""));
    assert_eq!((now.places[&inner].outer, now.places[&outer].outer), (Some(outer), Some(root)));
}

#[test]
fn two_of_one_name_are_told_apart_and_a_name_that_is_free_again_is_given_again() {
    let mut machine = Machine::new(Rules::default(), &["docker/{A}"]);
    machine.call("docker/{A}", "api");
    machine.make("docker/{B}");
    machine.call("docker/{B}", "api");
    machine.call("docker/{B}", "api");
    assert_eq!(machine.names(Coverage::All), running(&["api", "api-bbbbbbbbbbbb", "machine"]));
    machine.call("docker/{A}", "other");
    assert_eq!(
        machine.names(Coverage::All),
        running(&["api", "machine", "other"]),
        "an updater has renamed the old one"
    );
    machine.remove("docker/{B}");
    machine.make("docker/{B}");
    machine.call("docker/{B}", "api");
    assert_eq!(machine.names(Coverage::Exited), ended(&["api"]));
    assert_eq!(machine.names(Coverage::All), running(&["api", "machine", "other"]));
    assert_eq!(machine.registry.names.len(), 3);
}

#[test]
fn no_pattern_and_no_container_takes_the_name_of_the_machine() {
    let rules = Rules::default().with_cgroups("/*").unwrap();
    let mut machine = Machine::new(rules, &["docker/{A}"]);
    machine.call("docker/{A}", "machine");
    let root = machine.id("");
    assert_eq!(machine.read(Coverage::All).cgroups[&root].identity.name, "machine");
}

#[test]
fn a_copy_of_a_containers_directory_has_a_name_of_its_own() {
    let paths = ["docker/{A}", "docker/{B}", "mallory/docker/{B}"];
    let mut machine = Machine::new(Rules::default(), &paths);
    paths.iter().for_each(|path| machine.call(path, "api"));
    let names: BTreeSet<_> = machine.names(Coverage::All).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), 4, "{names:?}");
}

#[test]
fn at_the_start_no_container_is_reported_before_all_were_looked_up_or_it_took_too_long() {
    let mut machine = Machine::new(Rules::default(), &[]);
    for id in [A, B] {
        fs::create_dir_all(machine.dir.path().join("cg/docker").join(id)).unwrap();
    }
    follow::walk(&mut machine.registry).unwrap();
    machine.call("docker/{B}", "web");
    assert_eq!(machine.names(Coverage::All), running(&["machine"]));
    machine.now = FIRST_LOOKUPS;
    assert_eq!(machine.names(Coverage::All), running(&["aaaaaaaaaaaa", "machine", "web"]));
}

#[test]
fn a_container_is_not_reported_before_its_name_was_looked_for_or_it_took_too_long() {
    let mut machine = Machine::new(Rules::default(), &[]);
    fs::create_dir_all(machine.dir.path().join("cg/docker").join(A)).unwrap();
    follow::walk(&mut machine.registry).unwrap();
    assert_eq!(machine.names(Coverage::All), running(&["machine"]));
    machine.now = FIRST_LOOKUPS;
    assert_eq!(machine.names(Coverage::All), running(&["aaaaaaaaaaaa", "machine"]));
}

#[test]
fn names_that_are_left_out_are_not_reported_and_count_where_they_are() {
    let rules = Rules::default().with_names("!db").unwrap();
    let mut machine = Machine::new(rules, &["lxc.payload.db/docker/{A}", "lxc.payload.web"]);
    assert_eq!(machine.names(Coverage::All), running(&["aaaaaaaaaaaa", "machine", "web"]));
    let (inner, db) = (machine.id("lxc.payload.db/docker/{A}"), machine.id("lxc.payload.db"));
    assert_eq!(machine.read(Coverage::All).places[&inner].outer, Some(db));
    machine.remove("lxc.payload.db/docker/{A}");
    machine.remove("lxc.payload.db");
    assert_eq!(machine.names(Coverage::Exited), ended(&["aaaaaaaaaaaa"]));
}

#[test]
fn units_and_paths_are_watched_when_asked_for() {
    let rules = Rules::default().with_cgroups("systemd,/jobs/*").unwrap();
    let mut machine = Machine::new(rules, &["system.slice/ssh.service", "jobs/7/inner"]);
    assert_eq!(machine.names(Coverage::All), running(&["/jobs/7", "machine", "ssh.service"]));
}

#[test]
fn the_machine_is_reported_under_the_name_that_it_has_now() {
    let mut machine = Machine::new(Rules::default(), &["lxc.payload.web"]);
    assert_eq!(machine.names(Coverage::All), running(&["machine", "web"]));
    machine.registry.set_hostname("web");
    let names = machine.names(Coverage::All);
    assert!(
        names[0].0 == "web" && names[1].0.starts_with("web-"),
        "the machine has its name before any container: {names:?}"
    );
    assert_eq!(machine.read(Coverage::All).cgroups[&machine.id("")].identity.name, "web");
    machine.registry.set_hostname("");
    assert_eq!(machine.read(Coverage::All).host.name, "web");
}

/// A full sample in which containers have this many processes, and their names and states as they are reported.
fn judged(machine: &mut Machine, coverage: Coverage, processes: &[(&str, u64)]) -> Vec<(String, &'static str)> {
    let mut now = machine.read(coverage);
    for (path, count) in processes {
        let id = machine.id(path);
        let values = &mut now.cgroups.entry(id).or_default().values;
        values.put(Metric::ProcessCount, 0, *count);
        values.put(Metric::Populated, 0, u64::from(*count > 0));
    }
    machine.registry.judge(&mut now);
    let told = now.cgroups.values().filter(|cgroup| !cgroup.withheld);
    let mut told: Vec<_> = told.map(|cgroup| (cgroup.identity.name.clone(), cgroup.status.as_str())).collect();
    told.sort_unstable();
    told
}

#[test]
fn a_group_that_a_runtime_left_behind_exits_once_and_lives_again_with_a_process() {
    let web = "lxc.payload.web";
    let mut machine = Machine::new(Rules::default(), &[web]);
    assert_eq!(judged(&mut machine, Coverage::All, &[(web, 0)]), running(&["machine"]), "never seen with a process");
    assert_eq!(judged(&mut machine, Coverage::All, &[(web, 2)]), running(&["machine", "web"]));
    // Its runtime is about to remove it.
    assert_eq!(judged(&mut machine, Coverage::All, &[(web, 0)]), running(&["machine", "web"]));
    assert_eq!(judged(&mut machine, Coverage::All, &[(web, 0)]), [running(&["machine"]), ended(&["web"])].concat());
    assert_eq!(judged(&mut machine, Coverage::All, &[(web, 0)]), running(&["machine"]), "and no more");
    assert_eq!(judged(&mut machine, Coverage::All, &[(web, 1)]), running(&["machine", "web"]));
    assert_eq!(judged(&mut machine, Coverage::All, &[]), running(&["machine", "web"]), "unknown is not empty");
    for _ in 0..3 {
        judged(&mut machine, Coverage::All, &[(web, 0)]);
    }
    machine.remove(web);
    assert_eq!(machine.names(Coverage::Exited), [], "its end was told");
}

#[test]
fn an_empty_list_of_processes_is_no_end_where_the_tree_does_not_say_so() {
    let web = "lxc.payload.web";
    let mut machine = Machine::new(Rules::default(), &[web]);
    let id = machine.id(web);
    for populated in [None, Some(1)] {
        let mut now = machine.read(Coverage::All);
        let values = &mut now.cgroups.entry(id).or_default().values;
        values.put(Metric::ProcessCount, 0, 0);
        populated.into_iter().for_each(|populated| values.put(Metric::Populated, 0, populated));
        machine.registry.judge(&mut now);
        assert!(!now.cgroups[&id].withheld, "{populated:?}");
    }
}

#[test]
fn a_group_that_was_left_behind_keeps_no_name_from_a_living_container() {
    let (left, new) = ("docker/{A}", "docker/{B}");
    let mut machine = Machine::new(Rules::default(), &[left, new]);
    machine.call(left, "web");
    machine.call(new, "web");
    assert_eq!(judged(&mut machine, Coverage::All, &[(left, 0), (new, 1)]), running(&["machine", "web"]));
    machine.call(left, "web");
    assert_eq!(judged(&mut machine, Coverage::All, &[(left, 0), (new, 1)]), running(&["machine", "web"]));
}

#[test]
fn processes_that_only_a_v1_tree_lists_live_too() {
    let mut machine = Machine::new(Rules::default(), &[]);
    let tree = machine.dir.path().join("memory/lxc.payload.web");
    fs::create_dir_all(&tree).unwrap();
    machine.registry.hierarchies.v1.insert("memory".into(), machine.dir.path().join("memory"));
    machine.make("lxc.payload.web");
    fs::write(tree.join("cgroup.procs"), "17\n").unwrap();
    assert_eq!(judged(&mut machine, Coverage::All, &[("lxc.payload.web", 0)]), running(&["machine", "web"]));
}

#[test]
fn a_v1_directory_that_is_made_late_is_found() {
    let mut machine = Machine::new(Rules::default(), &["lxc.payload.web"]);
    let id = machine.id("lxc.payload.web");
    machine.registry.hierarchies.v1.insert("memory".into(), machine.dir.path().join("memory"));
    for _ in 0..=LOOKS {
        assert!(machine.read(Coverage::All).cgroups[&id].identity.v1.is_empty());
    }
    fs::create_dir_all(machine.dir.path().join("memory/lxc.payload.web")).unwrap();
    let is_found = |machine: &mut Machine| machine.read(Coverage::All).cgroups[&id].identity.v1.contains_key("memory");
    assert!((0..LOOK_AGAIN).any(|_| is_found(&mut machine)));
}

#[test]
fn names_are_made_from_the_template_and_told_apart_after_that() {
    let template = NameTemplate::parse("{host}/{name}").unwrap();
    let mut machine = Machine::new(Rules::default().with_template(template), &["docker/{A}", "docker/{B}"]);
    ["docker/{A}", "docker/{B}"].iter().for_each(|path| machine.call(path, "web"));
    assert_eq!(machine.names(Coverage::All), running(&["machine", "machine/web", "machine/web-bbbbbbbbbbbb"]));
    machine.registry.set_hostname("node");
    assert_eq!(machine.names(Coverage::All), running(&["node", "node/web", "node/web-bbbbbbbbbbbb"]));
}

proptest! {
    #[test]
    fn whatever_comes_and_goes_nothing_is_kept_of_it(steps in proptest::collection::vec((0usize..5, 0u8..3), 1..40)) {
        let mut machine = Machine::new(Rules::default(), &["docker"]);
        let paths = ["docker/{A}", "docker/{B}", "lxc.payload.x", "lxc.payload.y", "plain"];
        for (which, what) in steps {
            let path = machine.dir.path().join("cg").join(paths[which].replace("{A}", A).replace("{B}", B));
            match what {
                0 => machine.make(paths[which]),
                1 if path.exists() => machine.remove(paths[which]),
                _ if path.exists() && which < 4 => machine.call(paths[which], "same"),
                _ => {}
            }
            let now = machine.read(if which % 2 == 0 { Coverage::All } else { Coverage::Exited });
            let names: BTreeSet<_> = now.cgroups.values().map(|cgroup| &cgroup.identity.name).collect();
            let alive = now.cgroups.values().filter(|cgroup| cgroup.status == Status::Running).count();
            prop_assert!(names.len() >= alive, "{names:?}");
            let Registry { cgroups, containers, names, .. } = &machine.registry;
            prop_assert!(containers.keys().all(|id| cgroups.contains_key(id)));
            prop_assert_eq!(names.len(), containers.len());
            prop_assert!(containers.keys().all(|id| names.reported(*id).is_some()));
        }
        for path in paths {
            if machine.dir.path().join("cg").join(path.replace("{A}", A).replace("{B}", B)).exists() {
                machine.remove(path);
            }
        }
        for _ in 0..=REMEMBERED {
            machine.read(Coverage::All);
        }
        let Registry { cgroups, containers, names, gone, ended, emptied, requests, .. } = &machine.registry;
        let left = (cgroups.len(), containers.len(), names.len(), gone.len(), ended.len(), emptied.len(), requests.len());
        prop_assert_eq!(left, (2, 1, 1, 0, 0, 0, 0));
    }
}
