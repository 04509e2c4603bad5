//! Containers of runtimes that do not run here, by the trees and state files that they would have.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use monitor::containers::names::Files;
use monitor::containers::registry::Registry;
use monitor::containers::rules::Rules;
use monitor::containers::trees::Trees;
use monitor::containers::{Roots, follow};
use monitor::snapshot::{Snapshot, Stamp};

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
    let mut registry = Registry::new(Trees::find(&roots), Rules::default(), "machine");
    follow::walk(&mut registry).unwrap();
    let mut files = Files::new(&fixture.join("root"));
    for question in registry.questions() {
        registry.named(question.id, &files.look_up(&question.marks).unwrap_or_default());
    }
    let mut now = Snapshot::new(Stamp { mono: Duration::ZERO, wall: SystemTime::UNIX_EPOCH });
    registry.fill(&mut now);
    let containers = now.cgroups.into_values().filter(|cgroup| !cgroup.identity.is_root);
    containers.map(|cgroup| (cgroup.identity.path.clone(), cgroup.identity.name.clone())).collect()
}

#[test]
fn every_runtimes_containers_are_found_and_named_and_nothing_else_is() {
    let mut seen = 0;
    for entry in fs::read_dir(fixtures()).unwrap().flatten().filter(|entry| entry.path().is_dir()) {
        let text = fs::read_to_string(entry.path().join("cgroups")).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let lines: Vec<(&str, Option<&str>)> =
            lines.map(|line| line.split_once('\t').map_or((line, None), |(path, name)| (path, Some(name)))).collect();
        let expected: BTreeMap<String, String> =
            lines.iter().filter_map(|(path, name)| Some((format!("/{path}"), (*name)?.to_owned()))).collect();
        let paths: Vec<&str> = lines.iter().map(|(path, _)| *path).collect();
        assert_eq!(reported(&entry.path(), &paths), expected, "{}", entry.path().display());
        seen += expected.len();
    }
    assert!(seen >= 15, "{seen} containers");
}
