//! Measures the released agent, alone or in turns with another binary.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::architecture::ARCHITECTURES;
use crate::shell::{cargo, root, run};
use crate::{ebpf, install, release, substitutes};

/// The benchmarks other than that of the agent itself.
const BENCHMARKS: [&str; 7] = ["bulk", "churn", "fleet", "hostile", "host", "http", "page"];
/// The benchmarks that start the agent as a process, and can measure it in turns with another one.
const IN_TURNS: [&str; 2] = ["agent", "host"];

/// A benchmark with its arguments.
#[derive(Debug, PartialEq, Eq)]
struct Wanted<'a> {
    bench: &'a str,
    arguments: Vec<&'a str>,
    against: Option<&'a str>,
}

impl<'a> Wanted<'a> {
    /// Reads `[NAME] [ARGUMENT…] [--against BINARY]`.
    fn parse(arguments: &'a [String]) -> anyhow::Result<Self> {
        let (bench, rest) = match arguments.split_first() {
            Some((name, rest)) if BENCHMARKS.contains(&name.as_str()) => (name.as_str(), rest),
            _ => ("agent", arguments),
        };
        let mut wanted = Self { bench, arguments: Vec::new(), against: None };
        let mut rest = rest.iter().map(String::as_str);
        while let Some(argument) = rest.next() {
            match argument.strip_prefix("--against") {
                Some("") => wanted.against = Some(rest.next().context("--against names no binary")?),
                Some(value) => wanted.against = Some(value.strip_prefix('=').with_context(|| argument.to_owned())?),
                None => wanted.arguments.push(argument),
            }
        }
        if wanted.against.is_some() && !IN_TURNS.contains(&bench) {
            bail!("--against: the benchmark {bench} takes no second binary; those that do: {}", IN_TURNS.join(", "));
        }
        Ok(wanted)
    }
}

/// Runs the benchmark that the first argument names, or that of the agent.
pub(crate) fn bench(arguments: &[String]) -> anyhow::Result<()> {
    let wanted = Wanted::parse(arguments)?;
    let against = wanted.against.map(binary).transpose()?;
    measure(wanted.bench, &wanted.arguments, against.as_deref())
}

/// Runs the long test of everything together.
pub(crate) fn soak(arguments: &[String]) -> anyhow::Result<()> {
    measure("soak", &arguments.iter().map(String::as_str).collect::<Vec<_>>(), None)
}

fn binary(path: &str) -> anyhow::Result<PathBuf> {
    // Cargo starts a benchmark in the directory of its package.
    std::fs::canonicalize(path).with_context(|| format!("--against {path}"))
}

fn measure(bench: &str, arguments: &[&str], against: Option<&Path>) -> anyhow::Result<()> {
    install::valkey()?;
    ebpf::build()?;
    if bench == "page" {
        substitutes::browser()?;
    }
    let binary = release::build_static(ARCHITECTURES[0])?;
    let mut command = cargo(&["bench", "--package", "tests", "--bench", bench, "--"]);
    command.args(arguments).env("SYSTEM_MONITOR_BIN", root().join(binary)).env("PATH", substitutes::path()?);
    command.envs(against.map(|path| ("SYSTEM_MONITOR_AGAINST", path)));
    run(&mut command)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn the_agent_is_measured_where_nothing_is_named() {
        let words = words("60");
        let wanted = Wanted::parse(&words).expect("wanted");
        assert_eq!(wanted, Wanted { bench: "agent", arguments: vec!["60"], against: None });
    }

    #[test]
    fn the_other_binary_may_stand_anywhere() {
        for text in ["host --against /b 1000", "host 1000 --against=/b"] {
            let words = words(text);
            let wanted = Wanted::parse(&words).expect("wanted");
            assert_eq!(wanted, Wanted { bench: "host", arguments: vec!["1000"], against: Some("/b") });
        }
    }

    #[test]
    fn a_benchmark_without_turns_refuses_another_binary() {
        let words = words("page --against /b");
        let error = Wanted::parse(&words).expect_err("refused").to_string();
        assert!(error.contains("page") && error.contains("agent, host"), "{error}");
        Wanted::parse(&self::words("host --against")).expect_err("no binary");
    }
}
