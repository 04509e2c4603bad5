//! The binary as a stranger uses it, in places where things are missing.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::ffi::{CString, OsStr};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use tests::agent::{Agent, command};
use tests::valkey::Valkey;
use tests::{eventually, oracle, skip};

const PATIENCE: Duration = Duration::from_secs(15);
const QUICK: &[&str] = &["once", "--json", "--wait", "100ms", "--disk-interval", "0s", "--valkey-url", "none"];

fn output(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    command(arguments, environment).stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs `prepare` in the child before the binary is started.
fn prepared(command: &mut Command, prepare: impl Fn() -> bool + Send + Sync + 'static) {
    let check = move || if prepare() { Ok(()) } else { Err(std::io::Error::last_os_error()) };
    // SAFETY: the closures below make system calls alone.
    unsafe { command.pre_exec(check) };
}

#[test]
fn help_and_version_end_at_once_with_success() {
    for arguments in [&["--help"][..], &["--version"], &["once", "--help"], &["help", "doctor"]] {
        let output = output(arguments, &[]);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(!output.stdout.is_empty() && output.stderr.is_empty(), "{arguments:?}");
    }
    assert_eq!(text(&output(&["-V"], &[]).stdout), text(&output(&["--version"], &[]).stdout));
    assert!(text(&output(&["--help"], &[("VALKEY_PASSWORD", "hunter2")]).stdout).find("hunter2").is_none());
}

#[test]
fn the_version_names_the_compilers_and_the_objects_by_their_hashes() {
    let said = text(&output(&["--version", "--verbose"], &[]).stdout);
    let value = |name: &str| said.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    assert!(said.starts_with(&text(&output(&["--version"], &[]).stdout)), "{said}");
    assert!(value("compiler").unwrap().starts_with("rustc 1."), "{said}");
    assert!(value("target").unwrap().contains("-linux-"), "{said}");
    if value("eBPF") == Some("none inside") {
        skip!("no eBPF objects are inside");
    }
    let objects = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/ebpf/objects");
    assert!(value("eBPF compiler").unwrap().starts_with("rustc 1."), "{said}");
    assert_eq!(value("eBPF linker"), Some("bpf-linker 0.10.0"), "{said}");
    for name in ["network", "process", "lifecycle", "cpu", "memory", "tasks"] {
        let file = objects.join(format!("{name}.o"));
        let summed = Command::new("sha256sum").arg(&file).output().unwrap();
        let summed = text(&summed.stdout).split(' ').next().unwrap().to_owned();
        let size = fs::metadata(&file).unwrap().len();
        let expected = format!("{size} bytes, sha256 {summed}");
        assert_eq!(value(&format!("eBPF {name}.o")), Some(expected.as_str()), "{said}");
    }
}

#[test]
fn what_makes_no_sense_is_usage_and_names_the_thing() {
    for (arguments, environment, words) in [
        (&["--no-such-flag"][..], &[][..], "--no-such-flag"),
        (&["no-such-command"], &[], "no-such-command"),
        (&["--interval", "5"], &[], "--interval \"5\": is no duration"),
        (&["--interval", "1ms"], &[], "not between 100ms and 1h"),
        (&[], &[("MONITOR_INTERVAL", "soon")], "MONITOR_INTERVAL \"soon\""),
        (&[], &[("MONITOR_EBPF", "maybe")], "none of auto, off, on"),
        (&[], &[("VALKEY_URL", "http://user:hunter2@h")], "VALKEY_URL: has another scheme"),
        (&["--config", "/nonexistent/file"], &[], "/nonexistent/file: cannot be read"),
        (&["--proc-root", "proc"], &[], "is not an absolute path"),
        (&["once", "--wait", "x"], &[], "write for example"),
    ] {
        let output = output(arguments, environment);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?} {environment:?}: {said}");
        assert!(said.contains(words) && !said.contains("hunter2"), "{said}");
    }
}

#[test]
fn the_former_agents_variables_never_stop_the_start() {
    let mut command =
        command(&["--interval", "100ms"], &[("VALKEY_PORT", "tcp://10.0.0.7:6379"), ("VALKEY_HOST", "127.0.0.1")]);
    command.env("CONTAINER_NAME", OsStr::from_bytes(b"a\xffb"));
    let mut agent = Agent::spawn(command);
    assert!(agent.says("VALKEY_PORT \"tcp://10.0.0.7:6379\" is no port; 6379 is used", PATIENCE), "{}", agent.said());
    assert!(agent.says("CONTAINER_NAME is not valid UTF-8", PATIENCE), "{}", agent.said());
    assert!(agent.says("Starting system monitor for container: a\u{fffd}b", PATIENCE), "{}", agent.said());
    assert!(agent.is_alive());
}

#[test]
fn a_settings_file_is_read_and_its_mistakes_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("monitor.toml");
    fs::write(&path, "container-name = 'from-file'\nvalkey-url = 'none'\n").unwrap();
    let output_of = || output(&["once", "--json", "--wait", "100ms", "--config", path.to_str().unwrap()], &[]);
    oracle::report("from-file", text(&output_of().stdout).trim_end().as_bytes()).unwrap();
    fs::write(&path, "intervall = '5s'\n").unwrap();
    let wrong = output_of();
    assert_eq!(wrong.status.code(), Some(2));
    assert!(text(&wrong.stderr).contains("intervall in "), "{}", text(&wrong.stderr));
}

#[test]
fn once_prints_a_report_that_readers_could_decode() {
    let once = output(QUICK, &[("CONTAINER_NAME", "web")]);
    assert_eq!(once.status.code(), Some(0), "{}", text(&once.stderr));
    let report = oracle::report("web", text(&once.stdout).trim_end().as_bytes()).unwrap();
    assert!(report.number("cpu_percent").is_some());
    assert_eq!(report.status, "running");
}

#[test]
fn names_of_every_kind_are_reported_as_they_are() {
    let long = "x".repeat(10_000);
    for name in [
        "two words",
        "a/b",
        "*[?]",
        "\"quoted\\\"",
        "new\nline",
        "\u{1b}[31mred",
        "ünï\u{1F600}",
        "<script>",
        long.as_str(),
    ] {
        let once = output(QUICK, &[("CONTAINER_NAME", name)]);
        oracle::report(name, text(&once.stdout).trim_end().as_bytes())
            .unwrap_or_else(|error| panic!("{name:?}: {error}"));
    }
}

#[test]
fn the_other_commands_print_what_they_are_for() {
    for (arguments, words) in [
        (&["metrics"][..], "cpu_percent"),
        (&["metrics", "--markdown"], "| `cpu_percent` |"),
        (&["completions", "bash"], "system-monitor"),
        (&["completions", "fish"], "system-monitor"),
        (&["man"], ".TH system-monitor"),
    ] {
        let output = output(arguments, &[]);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(text(&output.stdout).contains(words), "{arguments:?}");
    }
}

#[test]
fn doctor_tells_each_capability_and_its_exit_code_says_whether_all_is_well() {
    let doctor = output(&["doctor", "--json", "--ebpf", "off", "--valkey-url", "valkey://127.0.0.1:1"], &[]);
    let checks: Vec<serde_json::Value> = serde_json::from_slice(&doctor.stdout).unwrap();
    let state = |name: &str| checks.iter().find(|check| check["name"] == name).map(|check| check["state"].clone());
    assert_eq!(state("eBPF ingress"), Some("not_needed".into()));
    assert_eq!(state("valkey"), Some("refused".into()));
    assert_eq!(doctor.status.code(), Some(1));
    assert!(checks.iter().filter(|check| check["name"].as_str().unwrap().starts_with("source ")).count() >= 2);
}

#[test]
fn the_health_check_tells_a_living_agent_from_a_dead_one() {
    let Some(mut valkey) = Valkey::start(&[]) else { skip!("valkey-server is not installed") };
    let port = valkey.port.to_string();
    let check = |interval: &str| {
        let environment = [
            ("CONTAINER_NAME", "web"),
            ("VALKEY_HOST", "127.0.0.1"),
            ("VALKEY_PORT", port.as_str()),
            ("MONITOR_INTERVAL", interval),
        ];
        let output = output(&["healthcheck"], &environment);
        (output.status.code(), text(&output.stdout) + &text(&output.stderr))
    };
    assert!(matches!(check("1s"), (Some(1), text) if text.contains("no report under system:metrics:web")));
    let agent = Agent::start(valkey.port, &["--interval", "300ms"], &[("CONTAINER_NAME", "web")]);
    valkey.report("web", PATIENCE).expect("no report");
    assert!(matches!(check("1s"), (Some(0), text) if text.starts_with("healthy: ")));
    agent.signal(libc::SIGSTOP);
    let stale = eventually(PATIENCE, || Some(check("300ms")).filter(|(code, _)| *code == Some(1)));
    agent.signal(libc::SIGCONT);
    assert!(stale.expect("never stale").1.contains("more than three intervals"));
    agent.end(libc::SIGTERM);
    assert!(matches!(check("1s"), (Some(1), text) if text.contains("has stopped")));
    valkey.kill();
    assert!(matches!(check("1s"), (Some(1), text) if text.contains("refused")));
}

#[test]
fn both_signals_end_it_within_a_second_with_the_three_lines() {
    for signal in [libc::SIGTERM, libc::SIGINT] {
        // Nobody listens, so the sink is between two attempts.
        let agent = Agent::start(tests::free_port(), &[], &[("CONTAINER_NAME", "web")]);
        assert!(agent.says("Error storing metrics", PATIENCE));
        let ended = agent.end(signal);
        assert_eq!(ended.status.code(), Some(0), "{}", ended.said);
        assert!(ended.took < Duration::from_millis(1500), "{:?}", ended.took);
        let lines =
            ["Received shutdown signal", "System monitor stopping for container: web", "System monitor stopped"];
        let places: Vec<_> = lines
            .iter()
            .map(|line| ended.said.find(line).unwrap_or_else(|| panic!("{line}: {}", ended.said)))
            .collect();
        assert!(places.is_sorted());
    }
}

#[test]
fn an_unroutable_valkey_does_not_delay_the_end() {
    let agent = {
        let mut command = command(&[], &[("CONTAINER_NAME", "web"), ("VALKEY_URL", "valkey://192.0.2.1:6379")]);
        // An empty network namespace of its own: the address is routed nowhere, and no packet leaves the machine.
        if tests::is_root() {
            // SAFETY: takes a number.
            prepared(&mut command, || unsafe { libc::unshare(libc::CLONE_NEWNET) } == 0);
        }
        Agent::spawn(command)
    };
    assert!(agent.says("Writing to Valkey", PATIENCE), "{}", agent.said());
    std::thread::sleep(Duration::from_secs(1));
    let ended = agent.end(libc::SIGTERM);
    assert_eq!(ended.status.code(), Some(0));
    assert!(ended.took < Duration::from_millis(1500), "{:?}", ended.took);
}

#[test]
fn closed_and_full_streams_are_no_reason_to_end() {
    let Some(valkey) = Valkey::start(&[]) else { skip!("valkey-server is not installed") };
    let port = valkey.port.to_string();
    let agent = |name: &str| {
        command(
            &["--interval", "100ms"],
            &[("CONTAINER_NAME", name), ("VALKEY_HOST", "127.0.0.1"), ("VALKEY_PORT", &port)],
        )
    };
    let mut closed = agent("closed");
    // SAFETY: takes numbers.
    prepared(&mut closed, || (0..3).all(|stream| unsafe { libc::close(stream) } == 0));
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let mut full_disk = agent("full");
    full_disk.stdout(full()).stderr(full());
    for (name, mut command) in [("closed", closed), ("full", full_disk)] {
        let mut child = command.spawn().unwrap();
        let first = valkey.report(name, PATIENCE).unwrap_or_else(|| panic!("{name}: no report"));
        let newer = || Some(valkey.report(name, PATIENCE)?).filter(|report| *report != first);
        eventually(PATIENCE, newer).unwrap_or_else(|| panic!("{name}: reports stop"));
        assert!(child.try_wait().unwrap().is_none(), "{name}");
        // SAFETY: the child is ours and has not been waited for.
        unsafe { libc::kill(i32::try_from(child.id()).unwrap(), libc::SIGTERM) };
        assert_eq!(child.wait().unwrap().code(), Some(0), "{name}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure_and_a_full_disk_is_one() {
    let mut child = command(&["metrics"], &[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::with_capacity(16, child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let full = command(QUICK, &[]).stdout(File::options().write(true).open("/dev/full").unwrap()).output().unwrap();
    assert_eq!(full.status.code(), Some(1));
    assert!(text(&full.stderr).contains("stdout: No space left on device"), "{}", text(&full.stderr));
}

/// What an agent says and reports in a place where something is missing: it lives, says each thing once, and has the
/// other numbers.
fn lives(mut command: Command, present: &[&str], absent: &[(&str, &str)]) {
    let Some(valkey) = Valkey::start(&[]) else { panic!("valkey-server is not installed") };
    command.env("VALKEY_HOST", "127.0.0.1").env("VALKEY_PORT", valkey.port.to_string()).env("CONTAINER_NAME", "web");
    let mut agent = Agent::spawn(command);
    let report = || oracle::report("web", &valkey.report("web", PATIENCE).expect("no report")).unwrap();
    let first = report().timestamp;
    let tenth =
        eventually(PATIENCE, || Some(report()).filter(|report| report.timestamp > first)).expect("reports stop");
    std::thread::sleep(Duration::from_secs(1));
    assert!(agent.is_alive(), "{}", agent.said());
    for field in present {
        assert!(tenth.number(field).is_some(), "{field}: {}", tenth.json["absent"]);
    }
    for (field, cause) in absent {
        assert!(tenth.number(field).is_none(), "{field} is there");
        let said = tenth.json["absent"][*field].as_str().unwrap_or_default();
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

/// Mounts something in a mount namespace of the command's own.
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

#[test]
fn what_operators_look_for_is_said_in_the_old_words() {
    let mut agent = Agent::start(tests::free_port(), &["--cgroup-root", "/nonexistent"], &[("CONTAINER_NAME", "web")]);
    for words in [
        "Starting system monitor for container: web",
        "Error reading cpu.stat: ",
        "Error reading memory.current: ",
        "Error storing metrics: ",
        "Writing to Valkey at 127.0.0.1:",
    ] {
        assert!(agent.says(words, PATIENCE), "{words}: {}", agent.said());
    }
    assert!(agent.is_alive());
}

#[test]
fn it_shows_as_system_monitor_and_listens_nowhere() {
    let agent = Agent::start(tests::free_port(), &[], &[("CONTAINER_NAME", "web")]);
    assert!(agent.says("Starting", PATIENCE));
    let mut comm = String::new();
    File::open(format!("/proc/{}/comm", agent.pid())).unwrap().read_to_string(&mut comm).unwrap();
    assert_eq!(comm.trim_end(), "system-monitor");
    let inodes: Vec<String> = fs::read_dir(format!("/proc/{}/fd", agent.pid()))
        .unwrap()
        .flatten()
        .filter_map(|entry| {
            fs::read_link(entry.path()).ok()?.to_str()?.strip_prefix("socket:[")?.strip_suffix(']').map(str::to_owned)
        })
        .collect();
    for table in ["tcp", "tcp6"] {
        let listening = fs::read_to_string(format!("/proc/{}/net/{table}", agent.pid())).unwrap_or_default();
        let own = listening
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .filter(|words| words.get(3) == Some(&"0A"));
        assert!(!own.into_iter().any(|words| inodes.contains(&words[9].to_owned())), "{listening}");
    }
}
