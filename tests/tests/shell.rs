//! Completions and manual pages, read by real shells and by `man`; the launcher under real shells.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tests::agent::command;
use tests::{binary, has, skip};

fn said(arguments: &[&str]) -> String {
    let output = command(arguments, &[]).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The commands that `--help` lists, with their descriptions.
fn commands() -> Vec<(String, String)> {
    let help = said(&["--help"]);
    let list = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let lines = list.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let commands: Vec<(String, String)> = lines
        .filter_map(|line| line.trim().split_once("  "))
        .map(|(name, about)| (name.to_owned(), about.trim().to_owned()))
        .collect();
    assert!(commands.iter().any(|(name, _)| name == "top") && commands.len() > 6, "{commands:?}");
    commands
}

#[test]
fn bash_completes_every_command_and_its_flags() {
    if !has("bash") {
        skip!("bash is not installed");
    }
    let script = format!(
        r#"set -eu
        PATH={}:$PATH
        source <(system-monitor completions bash)
        complete -p system-monitor
        suggest() {{
            COMP_WORDS=(system-monitor "$@"); COMP_CWORD=$#; COMPREPLY=()
            function=$(complete -p system-monitor | sed 's/.*-F \([^ ]*\).*/\1/')
            "$function" system-monitor "${{COMP_WORDS[COMP_CWORD]}}" "${{COMP_WORDS[COMP_CWORD-1]}}"
            echo "for $*: ${{COMPREPLY[*]}}"
        }}
        suggest ""
        suggest to
        suggest top --fr
        suggest once --w
        suggest --valkey-u"#,
        binary().parent().unwrap().display()
    );
    let output = Command::new("bash").args(["--norc", "-c", &script]).output().unwrap();
    let (told, wrong) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && wrong.is_empty(), "{told}{wrong}");
    let all = told.lines().find(|line| line.starts_with("for : ")).unwrap();
    for (name, _) in commands() {
        assert!(all.split(' ').any(|word| word == name), "{name}: {all}");
    }
    for suggestion in [
        "for to: top",
        "for top --fr: --from",
        "for once --w: --wait",
        "for --valkey-u: --valkey-url --valkey-username",
    ] {
        assert!(told.lines().any(|line| line == suggestion), "{suggestion}: {told}");
    }
}

#[test]
fn every_shell_has_completions_that_know_every_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = said(&["completions", shell]);
        for (name, _) in commands() {
            assert!(script.contains(&name), "{shell} does not know {name}");
        }
    }
}

#[test]
fn man_shows_a_page_for_the_program_and_for_every_command_without_a_complaint() {
    if !has("man") {
        skip!("man is not installed");
    }
    let dir = tempfile::tempdir().unwrap();
    let show = |arguments: &[&str]| {
        let page = dir.path().join("page.1");
        std::fs::write(&page, said(arguments)).unwrap();
        let mut man = Command::new("man");
        man.args(["--warnings", "--no-hyphenation", "-l"])
            .arg(&page)
            .env("MANWIDTH", "100")
            .env("LC_ALL", "C.UTF-8")
            .env("MANPAGER", "cat");
        let output = man.stdin(Stdio::null()).output().unwrap();
        let wrong = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && wrong.is_empty(), "{arguments:?}: {wrong}");
        String::from_utf8(output.stdout).unwrap()
    };
    let program = show(&["man"]);
    for (name, about) in commands().into_iter().filter(|(name, _)| name != "help") {
        assert!(program.contains(&format!("system-monitor-{name}(1)")), "{name}: {program}");
        let page = show(&["man", &name]);
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ");
        assert!(words(&page).contains(&format!("NAME system-monitor-{name} - {}", words(&about))), "{page}");
        assert!(page.contains("--valkey-url"), "{page}");
    }
    let unknown = command(&["man", "nothing"], &[]).output().unwrap();
    assert_eq!(unknown.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("\"nothing\" is no command"));
}

/// Calls a test with each shell that is installed.
fn with_each_shell(test: impl Fn(&[&str])) {
    let shells: [&[&str]; 3] = [&["dash"], &["bash"], &["busybox", "sh"]];
    shells.into_iter().filter(|shell| has(shell[0])).for_each(test);
}

/// The launcher with a service and without an agent.
fn launched(shell: &[&str], service: &[&str]) -> Child {
    let launcher = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("deploy/docker/with-monitor");
    let mut command = Command::new(shell[0]);
    command.args(&shell[1..]).arg(launcher).args(service).env("SYSTEM_MONITOR", "/nowhere");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn a_service_has_the_input_of_its_launcher_and_ignores_no_signal() {
    with_each_shell(|shell| {
        let mut child = launched(shell, &["sh", "-c", "cat; grep SigIgn: /proc/$$/status"]);
        child.stdin.take().unwrap().write_all(b"hello\n").unwrap();
        let output = child.wait_with_output().unwrap();
        let told = String::from_utf8(output.stdout).unwrap();
        let (input, mask) = told.split_once("SigIgn:").unwrap();
        assert_eq!(input, "hello\n", "{shell:?}");
        if Command::new("/usr/bin/env").args(["--default-signal=INT", "true"]).status().is_ok_and(|end| end.success()) {
            let mask = u64::from_str_radix(mask.trim(), 16).unwrap();
            assert_eq!(mask & (1 << (libc::SIGINT - 1) | 1 << (libc::SIGQUIT - 1)), 0, "{shell:?}: {mask:x}");
        }
    });
}

#[test]
fn the_end_of_a_service_is_that_of_its_launcher_however_early_the_signal_comes() {
    const SERVICE: &str = "trap 'exit 3' TERM; echo ready; while :; do sleep 0.05 & wait $!; done";
    with_each_shell(|shell| {
        for _ in 0..10 {
            let mut child = launched(shell, &["sh", "-c", SERVICE]);
            let mut line = String::new();
            BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
            // SAFETY: the process is a child that has not been waited for.
            assert_eq!(unsafe { libc::kill(child.id().cast_signed(), libc::SIGTERM) }, 0);
            assert_eq!(child.wait().unwrap().code(), Some(3), "{shell:?}");
        }
    });
}
