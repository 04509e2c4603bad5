//! The tests in emulated machines with other kernels: `cargo xtask vm [MACHINE…]`.

pub(crate) mod board;
mod image;
mod kernels;
mod machines;
mod verdict;
mod workshop;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Instant;

use anyhow::{Context, bail};

use self::board::board;
use self::kernels::Kernel;
use self::machines::{MACHINES, Machine};
use self::verdict::{Verdict, Verdicts};
use self::workshop::workshop;
use crate::architecture::{ARCHITECTURES, Architecture};
use crate::release;

/// Time limit in seconds of a machine; emulation is slow, and slower beside other work.
const LONGEST: &str = "3000";

/// The number of machines that run in parallel.
const TOGETHER: usize = 2;

/// Boots the machines named, or all except those that run only by name, and runs the suite in each.
pub(crate) fn vm(names: &[String]) -> anyhow::Result<()> {
    let chosen = choose(names)?;
    let mut verdicts = Vec::new();
    for architecture in ARCHITECTURES {
        let machines: Vec<_> = chosen.iter().copied().filter(|machine| machine.is_of(architecture)).collect();
        if !machines.is_empty() {
            // A binary that is named is not built.
            let named = std::env::var_os("SYSTEM_MONITOR_BIN").map(PathBuf::from);
            let agent = named.map_or_else(|| release::build_static(architecture), Ok)?;
            verdicts.extend(run(architecture, machines, &agent)?);
        }
    }
    let verdicts = Verdicts(verdicts);
    verdicts.judge()
}

/// Boots every machine except those that run only by name, and runs the suite in each.
pub(crate) fn all(agent: &Path) -> anyhow::Result<Verdicts> {
    Ok(Verdicts(run(ARCHITECTURES[0], choose(&[])?, agent)?))
}

fn run(
    architecture: &'static Architecture,
    machines: Vec<&'static Machine>,
    agent: &Path,
) -> anyhow::Result<Vec<Verdict>> {
    board(architecture).install()?;
    let suite = image::Suite::build(architecture, agent)?;
    // One after the other, because they share apt's lists.
    let kernel = |machine: &&Machine| kernels::fetch(machine.architecture, machine.series);
    let kernels = machines.iter().map(kernel).collect::<anyhow::Result<Vec<_>>>()?;
    let waiting = Mutex::new(machines.into_iter().zip(kernels));
    let verdicts = Mutex::new(Vec::new());
    let next = || waiting.lock().ok().and_then(|mut waiting| waiting.next());
    std::thread::scope(|scope| {
        for _ in 0..TOGETHER {
            scope.spawn(|| {
                while let Some((machine, kernel)) = next() {
                    let verdict = examine(machine, &kernel, &suite);
                    verdicts.lock().map(|mut verdicts| verdicts.push(verdict)).unwrap_or_default();
                }
            });
        }
    });
    verdicts.into_inner().unwrap_or_default().into_iter().collect()
}

/// Boots a machine, and prints its result.
fn examine(machine: &'static Machine, kernel: &Kernel, suite: &image::Suite) -> anyhow::Result<Verdict> {
    let began = Instant::now();
    println!("{}: boots", machine.name);
    let mut verdict = Verdict::read(machine, &boot(machine, kernel, suite)?);
    if !verdict.has_booted() {
        println!("{}: ended before its kernel had started, and boots again", machine.name);
        verdict = Verdict::read(machine, &boot(machine, kernel, suite)?);
    }
    verdict.print_tests(began.elapsed());
    Ok(verdict)
}

fn choose(names: &[String]) -> anyhow::Result<Vec<&'static Machine>> {
    if let Some(unknown) = names.iter().find(|name| !MACHINES.iter().any(|machine| machine.name == **name)) {
        let known: Vec<&str> = MACHINES.iter().map(|machine| machine.name).collect();
        bail!("{unknown:?} is no machine; there are {}", known.join(", "));
    }
    let is_chosen = |machine: &&Machine| match names {
        [] => !machine.is_apart,
        _ => names.iter().any(|name| name == machine.name),
    };
    Ok(MACHINES.iter().filter(is_chosen).collect())
}

/// Boots a machine, and returns its console output.
fn boot(machine: &Machine, kernel: &Kernel, suite: &image::Suite) -> anyhow::Result<String> {
    let place = workshop().join(machine.name);
    fs::create_dir_all(&place)?;
    let disk = place.join("disk");
    fs::File::create(&disk)?.set_len(image::DISK)?;
    let image = suite.pack(machine, kernel, &place)?;
    let console = place.join("console");
    let status = emulate(&kernel.image, &image, &disk, machine)
        .stdout(fs::File::create(&console)?)
        .stderr(Stdio::inherit())
        .stdin(Stdio::null())
        .status()
        .context("the emulator cannot be started")?;
    let said = String::from_utf8_lossy(&fs::read(&console)?).replace('\r', "");
    if !status.success() {
        println!("{}: the emulator ended with {status}; its console is in {}", machine.name, console.display());
    }
    Ok(said)
}

fn emulate(kernel: &Path, image: &Path, disk: &Path, machine: &Machine) -> Command {
    let board = board(machine.architecture);
    let mut command = Command::new("timeout");
    command.args(["--kill-after=10", LONGEST, board.program, "-machine", board.machine]);
    command.args(["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "2048"]);
    command.args(["-nographic", "-no-reboot", "-nic", "none"]);
    command.arg("-kernel").arg(kernel).arg("-initrd").arg(image);
    command.arg("-append").arg(format!("console={} loglevel=1 panic=-1 psi=1 {}", board.console, machine.boot));
    command.arg("-drive").arg(format!("file={},if=none,id=disk,format=raw", disk.display()));
    command.args(["-device", "nvme,drive=disk,serial=1"]);
    command
}
