//! Containers and processes that come and go.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use tests::agent::Agent;
use tests::docker::{self, BUSYBOX};
use tests::oracle::Judged;
use tests::valkey::Valkey;
use tests::{eventually, skip};

use crate::world::{TIMEOUT, ends, fresh, own, report, wait_for_the_machine};

#[test]
fn a_container_of_half_a_second_is_called_what_its_environment_says() {
    // The agent is not configured with this engine's directories and socket.
    let (docker, valkey, _agent) = world!();
    // In parallel it takes longer until the engine has moved the process into the container.
    std::thread::scope(|scope| {
        for number in 0..8 {
            let valkey = &valkey;
            scope.spawn(move || {
                let name = format!("brief-{number}");
                let container = docker.run(&["--env", &format!("CONTAINER_NAME={name}")], BUSYBOX, &["sleep", "10000"]);
                std::thread::sleep(Duration::from_millis(500));
                drop(container);
                report(valkey, &name, |report| report.status == "exited");
            });
        }
    });
}

#[test]
fn containers_that_end_at_once_are_each_told_of_once() {
    let (docker, valkey, _agent) = asking!();
    let names: Vec<String> = (0..12).map(|at| own(&format!("brief-{at}"))).collect();
    for name in &names {
        docker.run_once(&["--name", name], BUSYBOX, &["true"]).unwrap();
    }
    for name in &names {
        // The keys of the first may have expired by now.
        eventually(TIMEOUT, || (ends(&valkey, name) > 0).then_some(())).unwrap_or_else(|| panic!("{name}"));
        assert_eq!(ends(&valkey, name), 1, "{name}");
    }
}

#[test]
fn programs_processes_and_descriptors_are_counted_exactly_under_churn() {
    let (docker, valkey, _agent) = asking!();
    let name = own("churn");
    let script = "exec 7</bin 8</etc; read go </tmp/go; i=0; while [ $i -lt 200 ]; do busybox true; i=$((i+1)); done; exec sleep 10000";
    let script = format!("mkfifo /tmp/go; {script}");
    let container = docker.run(&["--name", &name], BUSYBOX, &["sh", "-c", &script]);
    report(&valkey, &name, |report| report.number("process_count") == Some(1.0));
    let pid = container.inspect(".State.Pid");
    let root = PathBuf::from(format!("/proc/{pid}/root/tmp/go"));
    eventually(TIMEOUT, || root.exists().then_some(())).expect("no pipe");
    let counted = |report: &Judged, what: &str| report.json["processes"][what].as_u64();
    let before = fresh(&valkey, &name);
    fs::write(&root, "go\n").unwrap();
    let sleeps = || fs::read_to_string(format!("/proc/{pid}/comm")).unwrap().trim() == "sleep";
    eventually(TIMEOUT, || sleeps().then_some(())).expect("the load does not end");
    let after = fresh(&valkey, &name);
    assert_eq!(after.number("process_count"), Some(1.0));
    let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count() as f64;
    assert_eq!(after.number("file_descriptors"), Some(open), "three of its own, and the two directories");
    if let (Some(execs), Some(exits)) = (counted(&before, "execs"), counted(&before, "exits")) {
        assert_eq!((counted(&after, "execs"), counted(&after, "exits")), (Some(execs + 201), Some(exits + 200)));
    }
}
