//! Environments without `/proc`, cgroup trees, privileges, descriptors or mounts.

use std::ffi::CString;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use tests::agent::{Agent, command};
use tests::valkey::Valkey;
use tests::{eventually, oracle, skip};

use crate::start::{TIMEOUT, prepared};

/// Checks an agent in an environment that lacks something: it lives, logs each lack once, and has the other numbers.
fn lives(mut command: Command, present: &[&str], absent: &[(&str, &str)]) {
    let Some(valkey) = Valkey::start(&[]) else { panic!("valkey-server is not installed") };
    command.env("VALKEY_HOST", "127.0.0.1").env("VALKEY_PORT", valkey.port.to_string()).env("CONTAINER_NAME", "web");
    let mut agent = Agent::spawn(command);
    let report = || oracle::report("web", &valkey.report("web", TIMEOUT).expect("no report")).unwrap();
    let first = report().timestamp;
    let tenth = eventually(TIMEOUT, || Some(report()).filter(|report| report.timestamp > first)).expect("reports stop");
    std::thread::sleep(Duration::from_secs(1));
    assert!(agent.is_alive(), "{}", agent.said());
    for field in present {
        assert!(tenth.number(field).is_some(), "{field}: {:?}", tenth.absent);
    }
    for (field, cause) in absent {
        assert!(tenth.number(field).is_none(), "{field} is there");
        let said = tenth.absent.get(*field).map_or("", String::as_str);
        assert!(said.contains(cause), "{field}: {said}");
    }
    let said = agent.end(libc::SIGTERM).said;
    assert!(!said.contains("panicked"), "{said}");
    let mut warnings: Vec<&str> = said.lines().filter(|line| line.contains("WARN")).map(|line| &line[28..]).collect();
    let all = warnings.len();
    warnings.sort_unstable();
    warnings.dedup();
    assert_eq!(warnings.len(), all, "something is said twice: {said}");
}

const PLACE: &[&str] = &["--interval", "100ms", "--disk-interval", "0s", "--scope", "self"];

macro_rules! needs_valkey {
    () => {
        if !tests::has("valkey-server") {
            skip!("valkey-server is not installed")
        }
    };
}

#[test]
fn without_proc_or_cgroup_trees_the_other_numbers_are_unharmed() {
    needs_valkey!();
    let without = |flag: &str| command(&[PLACE, &[flag, "/nonexistent"]].concat(), &[]);
    let mut no_proc = without("--proc-root");
    no_proc.args(["--cgroup-root", "/sys/fs/cgroup"]);
    lives(
        no_proc,
        &["disk_total_bytes"],
        &[("process_count", "/nonexistent"), ("load_average_1m", "/nonexistent/loadavg")],
    );
    lives(
        without("--cgroup-root"),
        &["load_average_1m", "disk_total_bytes"],
        &[("memory_usage_bytes", "memory.current"), ("cpu_percent", "cpu")],
    );
}

#[test]
fn an_ordinary_user_without_any_right_has_the_numbers_that_files_give() {
    needs_valkey!();
    if !tests::is_root() {
        skip!("becoming another user takes root");
    }
    let mut command = command(PLACE, &[]);
    command.uid(1001).gid(1001);
    lives(command, &["memory_usage_bytes", "load_average_1m", "disk_total_bytes"], &[]);
}

#[test]
fn a_low_limit_of_descriptors_is_survived() {
    needs_valkey!();
    let mut few = command(PLACE, &[]);
    prepared(&mut few, || limit(libc::RLIMIT_NOFILE, 24));
    lives(few, &["load_average_1m", "memory_usage_bytes", "process_count", "cpu_percent"], &[]);
}

fn limit(resource: libc::__rlimit_resource_t, most: u64) -> bool {
    let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
    // SAFETY: `limit` outlives the call.
    unsafe { libc::setrlimit(resource, &raw const limit) == 0 }
}

/// Mounts a file system in a mount namespace of the command's own.
fn with_mount(
    command: &mut Command,
    source: &'static str,
    target: &'static str,
    kind: &'static str,
    flags: libc::c_ulong,
    data: &'static str,
) {
    let text = |text: &str| CString::new(text).unwrap();
    let (source, target, kind, data, root, none) =
        (text(source), text(target), text(kind), text(data), text("/"), text("none"));
    prepared(command, move || {
        // SAFETY: the texts end with a zero and outlive the calls.
        unsafe {
            libc::unshare(libc::CLONE_NEWNS) == 0
                && libc::mount(
                    none.as_ptr(),
                    root.as_ptr(),
                    std::ptr::null(),
                    libc::MS_REC | libc::MS_PRIVATE,
                    std::ptr::null(),
                ) == 0
                && libc::mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, data.as_ptr().cast()) == 0
        }
    });
}

#[test]
fn hidden_processes_and_a_read_only_root_are_survived() {
    needs_valkey!();
    if !tests::is_root() {
        skip!("mounting takes root");
    }
    let mut hidden = command(PLACE, &[]);
    with_mount(&mut hidden, "proc", "/proc", "proc", 0, "hidepid=2");
    lives(hidden, &["load_average_1m", "memory_usage_bytes"], &[]);
    let mut read_only = command(PLACE, &[]);
    with_mount(&mut read_only, "none", "/", "none", libc::MS_REMOUNT | libc::MS_BIND | libc::MS_RDONLY, "");
    lives(read_only, &["load_average_1m", "memory_usage_bytes", "process_count"], &[]);
}
