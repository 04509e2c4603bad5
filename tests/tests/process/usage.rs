//! Flags, variables and settings files, valid and invalid.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use tests::agent::{Agent, command};
use tests::oracle;

use crate::start::{TIMEOUT, output, text};

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
    assert!(agent.says("VALKEY_PORT \"tcp://10.0.0.7:6379\" is no port; 6379 is used", TIMEOUT), "{}", agent.said());
    assert!(agent.says("CONTAINER_NAME is not valid UTF-8", TIMEOUT), "{}", agent.said());
    assert!(agent.says("Starting system monitor for container: a\u{fffd}b", TIMEOUT), "{}", agent.said());
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
