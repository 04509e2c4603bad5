//! Commands that print and end.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use tests::agent::command;

use crate::start::{QUICK, output, text};

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
fn a_reader_that_goes_away_is_no_failure_and_a_full_disk_is_one() {
    let mut child = command(&["metrics"], &[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::with_capacity(16, child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let full = command(QUICK, &[]).stdout(File::options().write(true).open("/dev/full").unwrap()).output().unwrap();
    assert_eq!(full.status.code(), Some(1));
    assert!(text(&full.stderr).contains("stdout: No space left on device"), "{}", text(&full.stderr));
}
