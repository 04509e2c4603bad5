//! Everything that is checked, in one go, with a summary that hides nothing.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use object::Object;

use crate::shell::{cargo, command, output, root, run, target};
use crate::{docs, ebpf, install};

#[cfg(target_arch = "x86_64")]
const TARGET: &str = "x86_64-unknown-linux-gnu";
#[cfg(target_arch = "aarch64")]
const TARGET: &str = "aarch64-unknown-linux-gnu";
/// The release binary with the eBPF objects inside stays below this.
const LARGEST_BINARY: usize = 8 << 20;
const DENY: &str = "0.20.2";
const FUZZ: &str = "0.13.2";
/// Each fuzz target runs for so many seconds: long enough to find what a change broke, not what nobody ever found.
const FUZZ_SECONDS: u32 = 20;

/// A kind of check.
struct Step {
    name: &'static str,
    run: fn(&mut Skips) -> anyhow::Result<()>,
}

/// What could not be checked, and why.
#[derive(Default)]
struct Skips(Vec<String>);

const STEPS: &[Step] = &[
    Step { name: "packages", run: packages },
    Step { name: "eBPF objects", run: objects },
    Step { name: "format", run: |_| run(&mut cargo(&["fmt", "--all", "--check"])) },
    Step { name: "lints", run: |_| run(&mut cargo(&["clippy", "--all-targets", "--", "-Dwarnings"])) },
    Step { name: "documentation", run: documentation },
    Step { name: "documents", run: |_| docs::check() },
    Step { name: "dependencies", run: dependencies },
    Step { name: "release binary", run: |_| build_static().map(drop) },
    Step { name: "tests", run: tests },
    Step { name: "fuzzing", run: fuzzing },
];

/// Runs all steps, whatever becomes of the others, and says what became of each.
pub(crate) fn test(strict: bool) -> anyhow::Result<()> {
    let mut skips = Skips::default();
    let mut results: Vec<(&str, Duration, anyhow::Result<()>)> = Vec::new();
    for step in STEPS {
        println!("\x1b[1m── {} ──\x1b[0m", step.name);
        let began = Instant::now();
        let result = (step.run)(&mut skips);
        if let Err(error) = &result {
            println!("{}: {error:#}", step.name);
        }
        results.push((step.name, began.elapsed(), result));
    }
    println!("\n\x1b[1m── summary ──\x1b[0m");
    for (name, took, result) in &results {
        println!("{:<6} {name} ({} s)", if result.is_ok() { "ok" } else { "FAILED" }, took.as_secs());
    }
    for skip in &skips.0 {
        println!("SKIPPED {skip}");
    }
    let failed: Vec<&str> = results.iter().filter(|(.., result)| result.is_err()).map(|(name, ..)| *name).collect();
    match (failed.is_empty(), skips.0.len()) {
        (false, _) => bail!("failed: {}", failed.join(", ")),
        (true, skipped) if skipped > 0 && strict => bail!("{skipped} skipped, which is a failure here"),
        (true, skipped) if skipped > 0 => println!("passed, but {skipped} skipped"),
        (true, _) => println!("passed, nothing skipped"),
    }
    Ok(())
}

/// What the tests need besides cargo. Without it they say themselves what they skip.
fn packages(skips: &mut Skips) -> anyhow::Result<()> {
    let needed = ["iproute2", "busybox-static", "openssl", "util-linux"];
    let mut note = |what: &str, result: anyhow::Result<()>| {
        if let Err(error) = result {
            skips.0.push(format!("{what}: {error:#}"));
        }
    };
    note("the installation of what the tests need", install::packages(&needed));
    note("the installation of Valkey", install::valkey());
    if output("dockerd", &["--version"]).is_none() {
        note("the installation of Docker", install::packages(&["docker.io"]));
    }
    Ok(())
}

fn objects(skips: &mut Skips) -> anyhow::Result<()> {
    if !ebpf::build()? {
        skips.0.push("everything about eBPF: no compiler for it".to_owned());
    }
    Ok(())
}

fn documentation(_: &mut Skips) -> anyhow::Result<()> {
    run(cargo(&["doc", "--no-deps", "--document-private-items"]).env("RUSTDOCFLAGS", "-Dwarnings"))
}

/// Licences, sources and duplicates. Advisories need their database from the network, which CI may not have.
fn dependencies(_: &mut Skips) -> anyhow::Result<()> {
    let tool = tool("cargo-deny", DENY)?;
    run(&mut command(&tool, &["--all-features", "check", "bans", "licenses", "sources"]))
}

/// A tool of cargo's, installed below the target directory if it is not there in this version.
fn tool(name: &str, version: &str) -> anyhow::Result<String> {
    let tools = target().join("tools");
    let path = tools.join("bin").join(name);
    let path = path.to_str().context("the target directory is no text")?;
    if output(path, &["--version"]).is_none_or(|said| !said.ends_with(version)) {
        let tools = tools.to_str().context("the target directory is no text")?;
        run(&mut cargo(&["install", name, "--version", version, "--locked", "--root", tools]))?;
    }
    Ok(path.to_owned())
}

/// Where [`build_static`] puts the binary.
fn static_binary() -> PathBuf {
    target().join(TARGET).join("release/system-monitor")
}

/// Builds the release binary and checks that it is what is promised: static, stripped, small.
pub(crate) fn build_static() -> anyhow::Result<PathBuf> {
    run(&mut release(&["build", "--package", "monitor"]))?;
    let binary = static_binary();
    let elf = fs::read(&binary).with_context(|| binary.display().to_string())?;
    let file = object::File::parse(&*elf)?;
    if file.section_by_name(".interp").is_some() || file.symbols().next().is_some() {
        bail!("{} is not static and stripped", binary.display());
    }
    let size = elf.len();
    println!("{}: {size} bytes", binary.display());
    if size > LARGEST_BINARY {
        bail!("{} has more than {LARGEST_BINARY} bytes", binary.display());
    }
    Ok(binary)
}

/// Cargo for what is released.
fn release(arguments: &[&str]) -> std::process::Command {
    let mut command = cargo(arguments);
    command.args(["--release", "--target", TARGET]);
    command.arg("--config").arg(format!("target.{TARGET}.rustflags=['-Ctarget-feature=+crt-static']"));
    command.env_remove("RUSTFLAGS");
    command
}

fn tests(skips: &mut Skips) -> anyhow::Result<()> {
    let list = target().join("skipped-tests");
    fs::write(&list, "")?;
    let mut command = cargo(&["test", "--no-fail-fast"]);
    command.env("SYSTEM_MONITOR_SKIPS", &list).env("SYSTEM_MONITOR_BIN", root().join(static_binary()));
    let result = run(&mut command);
    skips.0.extend(fs::read_to_string(&list)?.lines().map(str::to_owned));
    result
}

/// Runs each fuzz target for a while, from the seeds in the repository. What it finds stays below the target directory.
fn fuzzing(skips: &mut Skips) -> anyhow::Result<()> {
    let Some(toolchain) = ebpf::nightly() else {
        skips.0.push(format!("fuzzing: it takes rustup and {}", ebpf::NIGHTLY));
        return Ok(());
    };
    let (tool, fuzz) = (tool("cargo-fuzz", FUZZ)?, root().join("tests/fuzz"));
    let build = root().join(target().join("fuzz"));
    let toolchain = format!("+{toolchain}");
    let mut cargo_fuzz = cargo(&[&toolchain, "fuzz", "build", "--fuzz-dir", "tests/fuzz", "--target-dir"]);
    cargo_fuzz.arg(&build);
    // Cargo finds its subcommands on the path.
    let tools = root().join(tool).parent().map(PathBuf::from).unwrap_or_default();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(std::iter::once(tools).chain(std::env::split_paths(&path)))?;
    run(cargo_fuzz.env("PATH", path))?;
    for entry in fs::read_dir(fuzz.join("fuzz_targets")).context("tests/fuzz/fuzz_targets")? {
        let source = entry?.path();
        let name = source.file_stem().context("a fuzz target without a name")?;
        let found = build.join("found").join(name);
        fs::create_dir_all(&found)?;
        let mut command = std::process::Command::new(build.join(TARGET).join("release").join(name));
        command.arg(&found).args(seeds(&fuzz, name));
        command.arg(format!("-max_total_time={FUZZ_SECONDS}")).args(["-verbosity=0", "-print_funcs=0"]);
        run(command.current_dir(&build))?;
    }
    Ok(())
}

/// Where a fuzz target begins: its own seeds, and every file that was captured from a kernel.
fn seeds(fuzz: &Path, name: &OsStr) -> Vec<PathBuf> {
    let own = fuzz.join("seeds").join(name);
    let captured = root().join("tests/fixtures");
    [own, captured].into_iter().filter(|seeds| seeds.is_dir()).collect()
}

/// Measures the agent; `arguments` go to the benchmark.
pub(crate) fn bench(arguments: &[String]) -> anyhow::Result<()> {
    install::valkey()?;
    ebpf::build()?;
    let binary = build_static()?;
    let mut command = cargo(&["bench", "--package", "tests", "--bench", "agent", "--"]);
    command.args(arguments).env("SYSTEM_MONITOR_BIN", root().join(binary));
    run(&mut command)
}
