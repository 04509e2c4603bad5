//! The tests in emulated machines with other kernels: `cargo xtask vm [MACHINE…]`.

mod image;
mod kernels;
mod machines;
mod verdict;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, bail};

use self::machines::{MACHINES, Machine};
use self::verdict::Verdict;
use crate::shell::{root, target};
use crate::{install, release};

/// A machine that has not ended by then hangs; emulation is slow, and more so beside other work.
const LONGEST: &str = "1500";

/// Where kernels and images are kept.
fn workshop() -> PathBuf {
    root().join(target()).join("vm")
}

/// Boots the machines named, or all, and runs the suite in each.
pub(crate) fn vm(names: &[String]) -> anyhow::Result<()> {
    let chosen = choose(names)?;
    install::emulator()?;
    // A binary that is named is taken as it is.
    let agent = std::env::var_os("SYSTEM_MONITOR_BIN").map_or_else(release::build_static, |named| Ok(named.into()))?;
    let suite = image::Suite::build(&agent)?;
    let mut verdicts = Vec::new();
    for machine in chosen {
        let began = Instant::now();
        println!("\x1b[1m── {} ──\x1b[0m", machine.name);
        let console = boot(machine, &suite)?;
        let verdict = Verdict::read(machine, &console);
        verdict.print_tests(began.elapsed());
        verdicts.push(verdict);
    }
    println!("\n\x1b[1m── machines ──\x1b[0m");
    for verdict in &verdicts {
        println!("{verdict}");
    }
    verdict::unseen(&verdicts)?;
    let failed: Vec<&str> = verdicts.iter().filter(|verdict| !verdict.is_good()).map(|verdict| verdict.name).collect();
    if !failed.is_empty() {
        bail!("failed on {}", failed.join(", "));
    }
    Ok(())
}

fn choose(names: &[String]) -> anyhow::Result<Vec<&'static Machine>> {
    if let Some(unknown) = names.iter().find(|name| !MACHINES.iter().any(|machine| machine.name == **name)) {
        let known: Vec<&str> = MACHINES.iter().map(|machine| machine.name).collect();
        bail!("{unknown:?} is no machine; there are {}", known.join(", "));
    }
    Ok(MACHINES.iter().filter(|machine| names.is_empty() || names.iter().any(|name| name == machine.name)).collect())
}

/// Boots a machine, and returns what it said on its console.
fn boot(machine: &Machine, suite: &image::Suite) -> anyhow::Result<String> {
    let kernel = kernels::fetch(machine.series)?;
    let place = workshop().join(machine.name);
    fs::create_dir_all(&place)?;
    let disk = place.join("disk");
    fs::File::create(&disk)?.set_len(image::DISK)?;
    let image = suite.pack(machine, &kernel, &place)?;
    let console = place.join("console");
    let status = emulate(&kernel.image, &image, &disk, machine)
        .stdout(fs::File::create(&console)?)
        .stderr(Stdio::inherit())
        .stdin(Stdio::null())
        .status()
        .context("qemu-system-x86_64 cannot be started")?;
    let said = String::from_utf8_lossy(&fs::read(&console)?).replace('\r', "");
    if !status.success() {
        println!("{}: the emulator ended with {status}; its console is in {}", machine.name, console.display());
    }
    Ok(said)
}

fn emulate(kernel: &Path, image: &Path, disk: &Path, machine: &Machine) -> Command {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=10", LONGEST, "qemu-system-x86_64"]);
    command.args([
        "-accel",
        "tcg,thread=multi",
        "-cpu",
        "max",
        "-smp",
        "2",
        "-m",
        "2048",
        "-nographic",
        "-no-reboot",
        "-nic",
        "none",
    ]);
    command.arg("-kernel").arg(kernel).arg("-initrd").arg(image);
    command.arg("-append").arg(format!("console=ttyS0 loglevel=1 panic=-1 psi=1 {}", machine.boot));
    command.arg("-drive").arg(format!("file={},if=none,id=disk,format=raw", disk.display()));
    command.args(["-device", "nvme,drive=disk,serial=1"]);
    command
}
