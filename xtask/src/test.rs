//! Everything that is checked, in one go, with a summary that hides nothing.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::bail;

use crate::architecture::ARCHITECTURES;
use crate::release;
use crate::shell::{cargo, command, output, root, run, target, tool};
use crate::{dist, docs, ebpf, fuzz, install, kubernetes, packages, vm};

const DENY: &str = "0.20.2";
/// Debian's packages with the browser that looks at the page.
const BROWSER: [&str; 2] = ["chromium", "chromium-driver"];

/// A kind of check.
struct Step {
    name: &'static str,
    run: fn(&mut State) -> anyhow::Result<()>,
}

/// What one step leaves for another.
#[derive(Default)]
struct State {
    /// What could not be checked, and why.
    skips: Vec<String>,
    fuzz_build: Option<fuzz::Build>,
    fuzz_targets: Option<fuzz::Targets>,
}

const STEPS: &[Step] = &[
    Step { name: "packages", run: installation },
    Step { name: "eBPF objects", run: objects },
    Step { name: "format", run: |_| run(&mut cargo(&["fmt", "--all", "--check"])) },
    Step { name: "lints", run: |_| run(&mut cargo(&["clippy", "--all-targets", "--", "-Dwarnings"])) },
    Step { name: "documentation", run: documentation },
    Step { name: "documents", run: |_| docs::check() },
    Step { name: "dependencies", run: dependencies },
    Step { name: "release binary", run: release_binary },
    Step { name: "fuzz targets", run: fuzz_targets },
    Step { name: "tests", run: tests },
    Step { name: "other kernels", run: other_kernels },
    Step { name: "fuzzing", run: fuzzing },
];

/// Runs all steps, whatever becomes of the others, and says what became of each.
pub(crate) fn test(strict: bool) -> anyhow::Result<()> {
    let mut state = State::default();
    let mut results: Vec<(&str, Duration, anyhow::Result<()>)> = Vec::new();
    for step in STEPS {
        println!("\x1b[1m── {} ──\x1b[0m", step.name);
        let began = Instant::now();
        let result = (step.run)(&mut state);
        if let Err(error) = &result {
            println!("{}: {error:#}", step.name);
        }
        results.push((step.name, began.elapsed(), result));
    }
    println!("\n\x1b[1m── summary ──\x1b[0m");
    for (name, took, result) in &results {
        println!("{:<6} {name} ({} s)", if result.is_ok() { "ok" } else { "FAILED" }, took.as_secs());
    }
    for skip in &state.skips {
        println!("SKIPPED {skip}");
    }
    let failed: Vec<&str> = results.iter().filter(|(.., result)| result.is_err()).map(|(name, ..)| *name).collect();
    match (failed.is_empty(), state.skips.len()) {
        (false, _) => bail!("failed: {}", failed.join(", ")),
        (true, skipped) if skipped > 0 && strict => bail!("{skipped} skipped, which is a failure here"),
        (true, skipped) if skipped > 0 => println!("passed, but {skipped} skipped"),
        (true, _) => println!("passed, nothing skipped"),
    }
    Ok(())
}

/// What the tests need besides cargo. Without it they say themselves what they skip.
fn installation(state: &mut State) -> anyhow::Result<()> {
    let tools = ["iproute2", "busybox-static", "openssl", "util-linux", "tmux", "man-db", "prometheus"];
    let needed = [&tools[..], &BROWSER].concat();
    let mut note = |what: &str, result: anyhow::Result<()>| {
        if let Err(error) = result {
            state.skips.push(format!("{what}: {error:#}"));
        }
    };
    note("the installation of what the tests need", packages::install(&needed));
    note("the installation of Valkey", install::valkey());
    if output("dockerd", &["--version"]).is_none() {
        note("the installation of Docker", packages::install(&["docker.io"]));
    }
    if output("podman", &["--version"]).is_none() {
        note("the installation of Podman", packages::install(&["podman", "runc"]));
    }
    let deployment = ["systemd", "systemd-container", "docker-compose", "golang-go", "lintian"];
    note("the installation of what runs what is deployed", packages::install(&deployment));
    note("a receiver of OTLP", install::otlp_receiver().map(drop));
    note("a root of Debian", install::debian_root().map(drop));
    note("helm and the schemas of Kubernetes", kubernetes::tools().map(drop));
    Ok(())
}

/// The fuzz targets take the same compiler. They are built beside the steps that follow, which leave half a processor idle.
fn objects(state: &mut State) -> anyhow::Result<()> {
    if !ebpf::build()? {
        state.skips.push("everything about eBPF: no compiler for it".to_owned());
    }
    state.fuzz_build = fuzz::Build::start()?;
    Ok(())
}

/// What comes next measures time, and wants the machine for itself.
fn fuzz_targets(state: &mut State) -> anyhow::Result<()> {
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
    run(cargo(&["doc", "--no-deps", "--document-private-items"]).env("RUSTDOCFLAGS", "-Dwarnings"))
}

/// Licences, sources and duplicates. Advisories need their database from the network, which CI may not have.
fn dependencies(_: &mut State) -> anyhow::Result<()> {
    let tool = tool("cargo-deny", DENY)?;
    run(&mut command(&tool, &["--all-features", "check", "bans", "licenses", "sources"]))
}

/// The binary, and the Debian package around it: the tests of both take these.
fn release_binary(_: &mut State) -> anyhow::Result<()> {
    release::build_static(ARCHITECTURES[0])?;
    dist::package().map(drop)
}

fn tests(state: &mut State) -> anyhow::Result<()> {
    let (list, seen) = (target().join("skipped-tests"), target().join("seen-numbers"));
    fs::write(&list, "")?;
    fs::write(&seen, "")?;
    let mut command = cargo(&["test", "--no-fail-fast"]);
    command
        .env("SYSTEM_MONITOR_SKIPS", &list)
        .env("SYSTEM_MONITOR_SEEN", &seen)
        .env("SYSTEM_MONITOR_BIN", root().join(release::binary(ARCHITECTURES[0])));
    command.env("SYSTEM_MONITOR_DEB", root().join(dist::package_file()));
    if let Ok(debian) = install::debian_root() {
        command.env("SYSTEM_MONITOR_DEBIAN_ROOT", root().join(debian));
    }
    if let Ok(tools) = kubernetes::tools() {
        command.env("SYSTEM_MONITOR_HELM", tools.helm).env("SYSTEM_MONITOR_KUBERNETES", tools.validator);
    }
    if let Ok(receiver) = install::otlp_receiver() {
        command.env("SYSTEM_MONITOR_OTLP_RECEIVER", receiver);
    }
    let result = run(&mut command);
    state.skips.extend(fs::read_to_string(&list)?.lines().map(str::to_owned));
    result
}

/// What this kernel lacks, another has: a test that ran in one of the machines is not missing.
fn other_kernels(state: &mut State) -> anyhow::Result<()> {
    if let Err(error) = vm::board::board(ARCHITECTURES[0]).install() {
        state.skips.push(format!("other kernels: {error:#}"));
        return Ok(());
    }
    let verdicts = vm::all(&root().join(release::binary(ARCHITECTURES[0])))?;
    state.skips.retain(|skip| {
        let ran = verdicts.ran(skip);
        if let Some(machine) = ran {
            println!("not here, but in the machine {machine}: {skip}");
        }
        ran.is_none()
    });
    verdicts.judge()?;
    verdicts.judge_numbers(&fs::read_to_string(target().join("seen-numbers")).unwrap_or_default())
}

/// The benchmarks besides that of the agent itself.
const BENCHMARKS: [&str; 7] = ["bulk", "churn", "fleet", "hostile", "host", "http", "page"];

/// Measures the agent; `arguments` go to the benchmark, which the first of them may name.
pub(crate) fn bench(arguments: &[String]) -> anyhow::Result<()> {
    let (bench, arguments) = match arguments.split_first() {
        Some((name, rest)) if BENCHMARKS.contains(&name.as_str()) => (name.as_str(), rest),
        _ => ("agent", arguments),
    };
    measure(bench, arguments)
}

/// Runs a benchmark by its name, with the binary that is released.
pub(crate) fn measure(bench: &str, arguments: &[String]) -> anyhow::Result<()> {
    install::valkey()?;
    ebpf::build()?;
    if bench == "page" {
        packages::install(&BROWSER)?;
    }
    let binary = release::build_static(ARCHITECTURES[0])?;
    let mut command = cargo(&["bench", "--package", "tests", "--bench", bench, "--"]);
    command.args(arguments).env("SYSTEM_MONITOR_BIN", root().join(binary));
    run(&mut command)
}
