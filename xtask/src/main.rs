//! The repository's tasks; `cargo xtask help` lists them.
#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a tool for a person at a terminal"
)]

mod advisories;
mod apt;
mod architecture;
mod bench;
mod dist;
mod distribution;
mod docs;
mod ebpf;
mod forge;
mod fuzz;
mod install;
mod kubernetes;
mod own_valkey;
mod packages;
mod pictures;
mod release;
mod run;
mod shell;
mod structure;
mod substitutes;
mod test;
mod vm;

use std::process::ExitCode;

use anyhow::{Context, bail};

const USAGE: &str = "\
cargo xtask COMMAND

  build-ebpf        compile the eBPF programs, installing the toolchain for it where need be
  build-ebpf --check
                    compile them here and in another directory, and compare every byte
  run [ARGUMENT…]   build the agent and run it on this machine, with its page; to Valkey if one answers, else to one of its own
  test [STEP…]      install what the tests need, and run everything but emulated machines and fuzzing (15 minutes on two
                    cores); CI=true: everything, and a skipped test is a failure (40 minutes); or only the steps named
  ci                the same as CI=true cargo xtask test
  vm [MACHINE…]     run the tests in emulated machines with other kernels
  bench hostile [MOST]
                    measure the cost of a container that attacks its observer
  bench [SECONDS]   measure the agent against the floor that the kernel sets; length of the long run (600)
  bench fleet [sidecars] [machines] [outages] [SECONDS [OUTAGE]]
                    measure the cost of many agents to Valkey, and how they reconnect after outages (60 300)
  bench http [SECONDS]  measure how HTTP clients delay readings
  bench page [SECONDS]  measure the page with a thousand containers in a browser
  bench host [N…]   measure the agent of a machine with N containers (10 100 1000 10000)
  bench churn [N]   check that nothing is left of N containers that came and went (100000)
  bench bulk [N…]   measure BPF iterators over N cgroups, against reading their files (10 100 1000 10000)
  bench [host] … --against BINARY
                    measure the agent, or that of a machine, in turns with another binary (A B A B), and print the ratios
  soak [SECONDS] [SEED]
                    containers come and go, Valkey fails and agents end, for SECONDS (3600), by a seeded schedule (1)
  build-static [amd64|arm64 [FILE]]
                    the release binary: static, stripped, with the eBPF objects inside; copied to FILE
  dist [--test]     make the release for both processors in target/dist: binaries, archives, Debian packages, parts, checksums
  fuzz [SECONDS]    run each fuzz target for SECONDS (60)
  structure         check the sources: import cycles, the order of the layers, sizes of files, reasons for unsafe code, and that
                    each dependency has a row in docs/dependencies.md
  docs              write the documents that are generated from tables
  pictures          take the pictures of the README in a browser and a terminal";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (command, rest) = arguments.split_first().map_or(("", &[][..]), |(command, rest)| (command.as_str(), rest));
    let done = match command {
        "build-ebpf" if rest == ["--check"] => ebpf::check(),
        "build-ebpf" => ebpf::build().map(drop),
        "run" => run::run(rest),
        "test" => test::test(tier(), rest),
        "ci" => test::test(test::Tier::Full, rest),
        "vm" => vm::vm(rest),
        "bench" => bench::bench(rest),
        "soak" => bench::soak(rest),
        "build-static" => release::build_for(rest),
        "dist" => dist::dist(rest),
        "docs" => structure::write_document().and_then(|()| docs::write()),
        "structure" => structure::check(),
        "pictures" => pictures::make(),
        "fuzz" => fuzz(rest),
        "help" | "--help" | "-h" => {
            println!("{USAGE}");
            Ok(())
        }
        _ => fail(command),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The full tier if CI is set to anything but nothing, `0` and `false`.
fn tier() -> test::Tier {
    let is_ci = std::env::var("CI").is_ok_and(|value| !["", "0", "false"].contains(&value.as_str()));
    if is_ci { test::Tier::Full } else { test::Tier::Quick }
}

fn fail(command: &str) -> anyhow::Result<()> {
    bail!("{command:?} is no command\n\n{USAGE}")
}

fn fuzz(arguments: &[String]) -> anyhow::Result<()> {
    let seconds = arguments.first().map_or(Ok(fuzz::SECONDS), |text| text.parse())?;
    let build = fuzz::Build::start()?.with_context(fuzz::missing)?;
    build.finish()?.run(seconds)
}
