//! Everything that is checked, in one go, with a summary that hides nothing.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::bail;

use crate::release::{self, ARCHITECTURES};
use crate::shell::{cargo, command, output, root, run, target, tool};
use crate::{dist, docs, ebpf, fuzz, install, kubernetes, vm};

const DENY: &str = "0.20.2";
/// Debian's packages with the browser that looks at the page.
const BROWSER: [&str; 2] = ["chromium", "chromium-driver"];

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
    Step { name: "release binary", run: release_binary },
    Step { name: "tests", run: tests },
    Step { name: "other kernels", run: other_kernels },
    Step { name: "fuzzing", run: |skips| fuzz::run(fuzz::SECONDS, &mut skips.0) },
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
    let tools = ["iproute2", "busybox-static", "openssl", "util-linux", "tmux", "man-db", "prometheus"];
    let needed = [&tools[..], &BROWSER].concat();
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
    if output("podman", &["--version"]).is_none() {
        note("the installation of Podman", install::packages(&["podman", "runc"]));
    }
    let deployment = ["systemd", "systemd-container", "docker-compose", "golang-go", "lintian"];
    note("the installation of what runs what is deployed", install::packages(&deployment));
    note("a receiver of OTLP", install::otlp_receiver().map(drop));
    note("a root of Debian", install::debian_root().map(drop));
    note("helm and the schemas of Kubernetes", kubernetes::tools().map(drop));
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

/// The binary, and the Debian package around it: the tests of both take these.
fn release_binary(_: &mut Skips) -> anyhow::Result<()> {
    release::build_static(ARCHITECTURES[0])?;
    dist::package().map(drop)
}

fn tests(skips: &mut Skips) -> anyhow::Result<()> {
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
    skips.0.extend(fs::read_to_string(&list)?.lines().map(str::to_owned));
    result
}

/// What this kernel lacks, another has: a test that ran in one of the machines is not missing.
fn other_kernels(skips: &mut Skips) -> anyhow::Result<()> {
    if let Err(error) = vm::board::board(ARCHITECTURES[0]).install() {
        skips.0.push(format!("other kernels: {error:#}"));
        return Ok(());
    }
    let verdicts = vm::all(&root().join(release::binary(ARCHITECTURES[0])))?;
    skips.0.retain(|skip| {
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
        install::packages(&BROWSER)?;
    }
    let binary = release::build_static(ARCHITECTURES[0])?;
    let mut command = cargo(&["bench", "--package", "tests", "--bench", bench, "--"]);
    command.args(arguments).env("SYSTEM_MONITOR_BIN", root().join(binary));
    run(&mut command)
}
