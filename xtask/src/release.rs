//! The released binary: static, stripped, with the eBPF objects inside, for both processors.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use object::Object;

use crate::architecture::{ARCHITECTURES, Architecture};
use crate::shell::{cargo, command, output, path_with_tool, run, target, tool};
use crate::{ebpf, packages};

/// The largest size of the binary with the eBPF objects inside.
const LARGEST: usize = 10 << 20;
/// The tool that embeds the list of dependencies in the binary, for `cargo audit bin`.
const AUDITABLE: &str = "0.7.7";

/// The origin of the compiler for an architecture.
enum Compiler {
    /// The toolchain that is in use.
    Own,
    /// Debian's, whose standard libraries are packages.
    Debian,
}

/// Builds the binary for an architecture, and checks that it is as promised.
pub(crate) fn build_static(architecture: &Architecture) -> anyhow::Result<PathBuf> {
    run(&mut cargo_static(architecture, &["build", "--release", "--package", "monitor"])?)?;
    check(architecture)
}

/// Returns a command of cargo for static builds for an architecture.
pub(crate) fn cargo_static(architecture: &Architecture, arguments: &[&str]) -> anyhow::Result<Command> {
    Ok(cargo_for(architecture, &compiler(architecture)?, arguments))
}

/// Builds the binary for the processor that `arguments` name, or for this one; then copies it to the path in
/// `arguments`.
pub(crate) fn build_for(arguments: &[String]) -> anyhow::Result<()> {
    let [here, _] = ARCHITECTURES;
    // A builder of images that supports a single processor leaves the name empty.
    let wanted = arguments.first().map(String::as_str).filter(|name| !name.is_empty()).unwrap_or(here.name);
    let architecture = ARCHITECTURES.into_iter().find(|architecture| architecture.name == wanted);
    let architecture = architecture.with_context(|| format!("{wanted:?} is neither amd64 nor arm64"))?;
    ebpf::build()?;
    let binary = build_auditable(architecture)?;
    match arguments.get(1) {
        Some(file) => fs::copy(&binary, file).map(drop).with_context(|| file.clone()),
        None => {
            println!("{}", binary.display());
            Ok(())
        }
    }
}

/// Builds the released binary for an architecture, with the list of its dependencies inside.
pub(crate) fn build_auditable(architecture: &Architecture) -> anyhow::Result<PathBuf> {
    let auditable = tool("cargo-auditable", AUDITABLE)?;
    let mut build = cargo_static(architecture, &["auditable", "build", "--release", "--package", "monitor"])?;
    // Cargo finds its subcommands on the path.
    run(build.env("PATH", path_with_tool(&auditable)?))?;
    check(architecture)
}

/// Runs the unit tests, emulated if the processor is the other one.
pub(crate) fn test(architecture: &Architecture) -> anyhow::Result<()> {
    let arguments = ["test", "--package", "monitor", "--package", "monitor-common", "--lib", "--bins"];
    let mut tests = cargo_static(architecture, &arguments)?;
    if !architecture.is_own() {
        tests.arg("--config").arg(format!("target.{}.runner={:?}", architecture.target, architecture.emulator));
    }
    run(&mut tests)
}

/// The path of the binary that [`build_static`] makes.
pub(crate) fn binary(architecture: &Architecture) -> PathBuf {
    target().join(architecture.target).join("release/system-monitor")
}

/// Checks that the binary is static, stripped and small.
fn check(architecture: &Architecture) -> anyhow::Result<PathBuf> {
    let binary = binary(architecture);
    let elf = fs::read(&binary).with_context(|| binary.display().to_string())?;
    let file = object::File::parse(&*elf)?;
    if file.section_by_name(".interp").is_some() || file.symbols().next().is_some() {
        bail!("{} is not static and stripped", binary.display());
    }
    let size = elf.len();
    println!("{}: {size} bytes", binary.display());
    if size > LARGEST {
        bail!("{} has more than {LARGEST} bytes", binary.display());
    }
    Ok(binary)
}

/// Returns a compiler whose standard library for the architecture is installed or can be installed.
fn compiler(architecture: &Architecture) -> anyhow::Result<Compiler> {
    let target = architecture.target;
    let has = |rustc: &str| {
        output(rustc, &["--print", "target-libdir", "--target", target])
            .is_some_and(|libraries| Path::new(&libraries).is_dir())
    };
    if !architecture.is_own() {
        packages::install(&architecture.packages)?;
    }
    if has("rustc") {
        return Ok(Compiler::Own);
    }
    if output("rustup", &["target", "add", target]).is_some() && has("rustc") {
        return Ok(Compiler::Own);
    }
    if !has(ebpf::DEBIAN_RUSTC) {
        run(&mut command("dpkg", &["--add-architecture", architecture.name]))?;
        packages::install(&["rustc-web", &format!("libstd-rust-web-dev:{}", architecture.name)])?;
    }
    Ok(Compiler::Debian)
}

/// Returns a command of cargo for static builds with a compiler.
fn cargo_for(architecture: &Architecture, compiler: &Compiler, arguments: &[&str]) -> Command {
    let mut command = cargo(arguments);
    let target = architecture.target;
    command.args(["--target", target]);
    let mut flags = vec!["-Ctarget-feature=+crt-static"];
    // Identical functions are merged, and relocations are packed as a bitmap, which saves a twentieth of the binary.
    // These are options of the linker in the own toolchain; the linker for the other processor is the C compiler's.
    if architecture.is_own() {
        flags.extend(["-Clink-arg=-Wl,--icf=all", "-Clink-arg=-Wl,--pack-dyn-relocs=relr"]);
    }
    command.arg("--config").arg(format!("target.{target}.rustflags={flags:?}"));
    command.env_remove("RUSTFLAGS");
    if !architecture.is_own() {
        command.arg("--config").arg(format!("target.{target}.linker={:?}", architecture.linker));
    }
    if let Compiler::Debian = compiler {
        command.env("RUSTC", ebpf::DEBIAN_RUSTC);
    }
    command
}
