//! Builds and runs the fuzz targets.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Mutex;

use anyhow::{Context, bail};

use crate::architecture::ARCHITECTURES;
use crate::ebpf;
use crate::shell::{cargo, path_with_tool, root, run as execute, target, tool};

const FUZZ: &str = "0.13.2";
/// Seconds per target: long enough to find regressions.
pub(crate) const SECONDS: u32 = 60;
/// The number of targets that run in parallel.
const TOGETHER: usize = 2;

/// The compilation of the fuzz targets, in the background.
pub(crate) struct Build {
    cargo: Child,
    /// The compiler's output, in a file: the output of two compilers at once is unreadable.
    log: PathBuf,
    into: PathBuf,
}

impl Build {
    /// Starts the compilation. `None` if there is no compiler for it.
    pub(crate) fn start() -> anyhow::Result<Option<Self>> {
        let Some(toolchain) = ebpf::nightly() else { return Ok(None) };
        let tool = tool("cargo-fuzz", FUZZ)?;
        let into = root().join(target()).join("fuzz");
        fs::create_dir_all(&into)?;
        let log = into.join("build.log");
        let toolchain = format!("+{toolchain}");
        let mut command = cargo(&[&toolchain, "fuzz", "build", "--fuzz-dir", "tests/fuzz", "--target-dir"]);
        // Cargo finds its subcommands on the path.
        command.arg(&into).env("PATH", path_with_tool(&tool)?).stderr(fs::File::create(&log)?);
        Ok(Some(Self { cargo: command.spawn().context("cargo fuzz")?, log, into }))
    }

    /// Waits until the targets are compiled.
    pub(crate) fn finish(mut self) -> anyhow::Result<Targets> {
        if !self.cargo.wait()?.success() {
            bail!("the fuzz targets do not compile:\n{}", fs::read_to_string(&self.log)?);
        }
        Ok(Targets { build: self.into })
    }
}

/// The fuzz targets, compiled.
pub(crate) struct Targets {
    build: PathBuf,
}

impl Targets {
    /// Runs each target for a while, from the seeds in the repository. Findings stay below the target directory.
    pub(crate) fn run(&self, seconds: u32) -> anyhow::Result<()> {
        let fuzz = root().join("tests/fuzz");
        let mut sources: Vec<PathBuf> = fs::read_dir(fuzz.join("fuzz_targets"))
            .context("tests/fuzz/fuzz_targets")?
            .map(|entry| Ok(entry?.path()))
            .collect::<std::io::Result<_>>()?;
        sources.sort();
        let command = |source: &PathBuf| command(source, &fuzz, &self.build, seconds);
        let commands = sources.iter().map(command).collect::<anyhow::Result<Vec<_>>>()?;
        let (waiting, failures) = (Mutex::new(commands), Mutex::new(Vec::new()));
        std::thread::scope(|scope| {
            for _ in 0..TOGETHER {
                scope.spawn(|| {
                    while let Some(mut command) = waiting.lock().ok().and_then(|mut waiting| waiting.pop()) {
                        if let (Err(error), Ok(mut failures)) = (execute(&mut command), failures.lock()) {
                            failures.push(format!("{error:#}"));
                        }
                    }
                });
            }
        });
        let failures = failures.into_inner().unwrap_or_default();
        if !failures.is_empty() {
            bail!("{}", failures.join("\n"));
        }
        Ok(())
    }
}

/// The message if there is no compiler for the targets.
pub(crate) fn missing() -> String {
    format!("fuzzing: it takes rustup and {}", ebpf::NIGHTLY)
}

/// A target with its own seeds, and with every file that was captured from a kernel.
fn command(source: &Path, fuzz: &Path, build: &Path, seconds: u32) -> anyhow::Result<Command> {
    let name = source.file_stem().context("a fuzz target without a name")?;
    let found = build.join("found").join(name);
    fs::create_dir_all(&found)?;
    let seeds = [fuzz.join("seeds").join(name), root().join("tests/fixtures")];
    let mut command = Command::new(build.join(ARCHITECTURES[0].target).join("release").join(name));
    command.arg(&found).args(seeds.into_iter().filter(|seeds| seeds.is_dir()));
    command.arg(format!("-max_total_time={seconds}")).args(["-verbosity=0", "-print_funcs=0", "-print_final_stats=1"]);
    // A server in a thread of its own holds memory between two inputs and at the end, which is not a leak.
    command.env("ASAN_OPTIONS", "detect_leaks=0");
    command.current_dir(build);
    Ok(command)
}
