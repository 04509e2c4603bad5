//! The checks, in the order in which they run.

use std::fs;

use super::state::State;
use super::{installation, suite};
use crate::architecture::ARCHITECTURES;
use crate::release;
use crate::shell::{cargo, command, root, run, target, tool};
use crate::{advisories, dist, docs, ebpf, forge, fuzz, structure, vm};

const DENY: &str = "0.20.2";

/// A kind of check.
pub(super) struct Step {
    pub(super) name: &'static str,
    pub(super) run: fn(&mut State) -> anyhow::Result<()>,
    /// Runs only in the full tier: it needs emulated machines, or much time.
    pub(super) is_long: bool,
}

const fn step(name: &'static str, run: fn(&mut State) -> anyhow::Result<()>) -> Step {
    Step { name, run, is_long: false }
}

const fn long(name: &'static str, run: fn(&mut State) -> anyhow::Result<()>) -> Step {
    Step { name, run, is_long: true }
}

pub(super) const STEPS: &[Step] = &[
    step("packages", installation::installation),
    step("eBPF objects", objects),
    long("start of the fuzz targets", start_fuzz_targets),
    step("format", |_| run(&mut cargo(&["fmt", "--all", "--check"]))),
    step("structure", |_| structure::check()),
    step("lints", |_| run(&mut cargo(&["clippy", "--all-targets", "--", "-Dwarnings"]))),
    step("documentation", documentation),
    step("dependencies", dependencies),
    step("workflows", |_| forge::check()),
    step("release binary", release_binary),
    step("documents", |_| docs::check(&root().join(release::binary(ARCHITECTURES[0])))),
    long("fuzz targets", finish_fuzz_targets),
    step("tests", suite::tests),
    long("other kernels", other_kernels),
    long("fuzzing", fuzzing),
];

fn objects(state: &mut State) -> anyhow::Result<()> {
    if !ebpf::build()? {
        state.skips.push("everything about eBPF: no compiler for it".to_owned());
    }
    Ok(())
}

/// Builds the fuzz targets in the background of the next steps, which leave half a processor idle.
fn start_fuzz_targets(state: &mut State) -> anyhow::Result<()> {
    state.fuzz_build = fuzz::Build::start()?;
    Ok(())
}

/// Waits for the fuzz targets, because the next step measures time and needs the machine for itself.
fn finish_fuzz_targets(state: &mut State) -> anyhow::Result<()> {
    match state.fuzz_build.take() {
        Some(build) => state.fuzz_targets = Some(build.finish()?),
        None => state.skips.push(fuzz::missing()),
    }
    Ok(())
}

fn fuzzing(state: &mut State) -> anyhow::Result<()> {
    state.fuzz_targets.as_ref().map_or(Ok(()), |targets| targets.run(fuzz::SECONDS))
}

fn documentation(_: &mut State) -> anyhow::Result<()> {
    // Examples have the dependencies of tests, as the step before: with fewer features those would be compiled again.
    let mut doc = cargo(&["doc", "--no-deps", "--document-private-items", "--lib", "--bins", "--examples"]);
    run(doc.env("RUSTDOCFLAGS", "-Dwarnings"))
}

/// Checks licences, sources, duplicates and known vulnerabilities.
fn dependencies(_: &mut State) -> anyhow::Result<()> {
    let tool = tool("cargo-deny", DENY)?;
    run(&mut command(&tool, &["--all-features", "check", "bans", "licenses", "sources"]))?;
    advisories::check(&tool)
}

/// Builds the binary and the Debian package around it, for the tests of both.
fn release_binary(_: &mut State) -> anyhow::Result<()> {
    release::build_static(ARCHITECTURES[0])?;
    dist::package().map(drop)
}

/// Runs the emulated machines. A test that is skipped here and ran in one of them does not count as skipped.
fn other_kernels(state: &mut State) -> anyhow::Result<()> {
    if let Err(error) = vm::board::board(ARCHITECTURES[0]).install() {
        state.skips.push(format!("other kernels: {error:#}"));
        return Ok(());
    }
    let agent = root().join(release::binary(ARCHITECTURES[0]));
    let verdicts = vm::all(&agent)?;
    state.skips.retain(|skip| {
        let ran = verdicts.ran(skip);
        if let Some(machine) = ran {
            println!("not here, but in the machine {machine}: {skip}");
        }
        ran.is_none()
    });
    verdicts.judge()?;
    verdicts.judge_numbers(&agent, &fs::read_to_string(target().join("seen-numbers")).unwrap_or_default())
}
