//! Runs the test programs, and records what they skip and how long they take.

use std::fs;
use std::io::{BufRead, BufReader};

use anyhow::{Context, bail};

use super::state::State;
use crate::architecture::ARCHITECTURES;
use crate::shell::{cargo, root, run, shown, target};
use crate::{dist, install, kubernetes, release, substitutes};

/// Runs all tests with the release binary.
pub(super) fn tests(state: &mut State) -> anyhow::Result<()> {
    let (list, seen) = (target().join("skipped-tests"), target().join("seen-numbers"));
    fs::write(&list, "")?;
    fs::write(&seen, "")?;
    let mut command = cargo(&["test", "--no-fail-fast", "--lib", "--bins", "--tests"]);
    // The harness reports the time of each test only if unstable options are allowed. Only the harness gets this
    // variable: cargo would build everything again.
    let runner = format!("target.{}.runner=[\"env\", \"RUSTC_BOOTSTRAP=1\"]", ARCHITECTURES[0].target);
    command.args(["--config", &runner, "--", "-Zunstable-options", "--report-time"]);
    command
        .env("SYSTEM_MONITOR_SKIPS", &list)
        .env("SYSTEM_MONITOR_SEEN", &seen)
        .env("SYSTEM_MONITOR_BIN", root().join(release::binary(ARCHITECTURES[0])))
        .env("SYSTEM_MONITOR_DEB", root().join(dist::package_file()))
        .env("PATH", substitutes::path()?);
    if let Ok(debian) = install::debian_root() {
        command.env("SYSTEM_MONITOR_DEBIAN_ROOT", root().join(debian));
    }
    if let Ok(tools) = kubernetes::tools() {
        command.env("SYSTEM_MONITOR_HELM", tools.helm).env("SYSTEM_MONITOR_KUBERNETES", tools.validator);
    }
    if let Ok(receiver) = install::otlp_receiver() {
        command.env("SYSTEM_MONITOR_OTLP_RECEIVER", receiver);
    }
    let result = watch(&mut command, state);
    state.skips.extend(fs::read_to_string(&list)?.lines().map(str::to_owned));
    result.and(run(&mut cargo(&["test", "--no-fail-fast", "--doc"])))
}

/// Runs a command, shows its output, and reads it.
fn watch(command: &mut std::process::Command, state: &mut State) -> anyhow::Result<()> {
    let shown = shown(command);
    println!("\x1b[1m$ {shown}\x1b[0m");
    let (reader, writer) = std::io::pipe()?;
    let mut child = command.stdout(writer.try_clone()?).stderr(writer).spawn().context("cargo test")?;
    // The ends of the pipe that this process still holds would keep it open.
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    for line in BufReader::new(reader).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        state.times.read(&line);
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("{shown}: {status}");
    }
    Ok(())
}
