//! Runs other programs, and shows their command lines and output.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_owned()
}

/// Cargo's target directory.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// A program, to be run in the repository's root.
pub(crate) fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root());
    command
}

/// Cargo, without the variables that the outer cargo has set for this program.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = command("cargo", arguments);
    for variable in ["CARGO", "RUSTUP_TOOLCHAIN", "CARGO_MANIFEST_DIR"] {
        command.env_remove(variable);
    }
    command
}

/// Prints a command, runs it, and shows its output.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let shown = shown(command);
    println!("\x1b[1m$ {shown}\x1b[0m");
    let status = command.status().with_context(|| format!("{shown}: cannot be started"))?;
    if !status.success() {
        bail!("{shown}: {status}");
    }
    Ok(())
}

/// Runs a program without showing its output; `None` if it cannot be started or fails.
pub(crate) fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = command(program, arguments).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A tool of cargo's, which is installed below the target directory unless it is there in this version.
pub(crate) fn tool(name: &str, version: &str) -> anyhow::Result<String> {
    let tools = target().join("tools");
    let text = "the target directory is no text";
    let root = tools.to_str().context(text)?;
    // Not every tool prints its version; cargo knows the versions that it has installed.
    let installed = output("cargo", &["install", "--list", "--root", root]).unwrap_or_default();
    if !installed.lines().any(|line| line == format!("{name} v{version}:")) {
        let mut install = cargo(&["install", name, "--version", version, "--locked", "--root", root]);
        // Unoptimized builds take a third of the time, and none of these tools has much work.
        for (setting, value) in [("OPT_LEVEL", "0"), ("LTO", "off"), ("CODEGEN_UNITS", "16")] {
            install.env(format!("CARGO_PROFILE_RELEASE_{setting}"), value);
        }
        run(&mut install)?;
    }
    Ok(tools.join("bin").join(name).to_str().context(text)?.to_owned())
}

/// The search path with a directory before all others.
pub(crate) fn path_with(directory: &Path) -> anyhow::Result<OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    Ok(std::env::join_paths(std::iter::once(directory.to_owned()).chain(std::env::split_paths(&path)))?)
}

/// The search path with the directory of a tool before all others: cargo finds its subcommands there.
pub(crate) fn path_with_tool(tool: &str) -> anyhow::Result<OsString> {
    path_with(root().join(tool).parent().unwrap_or(Path::new("/")))
}

/// A command as one would type it.
pub(crate) fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// A TCP port that is free on loopback.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").context("loopback")?;
    Ok(listener.local_addr()?.port())
}
