//! Reads a machine's console as a verdict.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};

use super::machines::{MACHINES, Machine};
use crate::shell::root;

/// The verdicts of all machines.
pub(crate) struct Verdicts(pub(super) Vec<Verdict>);

/// The results of one machine.
pub(crate) struct Verdict {
    pub(super) name: &'static str,
    kernel: String,
    /// `SUITE::TEST` of the tests that have finished.
    passed: BTreeSet<String>,
    failed: Vec<String>,
    skipped: Vec<String>,
    /// Suites that have begun and never ended.
    unfinished: Vec<String>,
    suites: usize,
    doctor: String,
    doctor_differs: bool,
    seen: BTreeSet<String>,
    console: String,
}

impl Verdict {
    /// Reads the marks of the machine's start script, and the output of the test programs.
    pub(super) fn read(machine: &Machine, console: &str) -> Self {
        let lines: Vec<&str> = console.lines().collect();
        let between = |mark: &str| -> Vec<&str> {
            let behind = lines.iter().skip_while(|line| **line != mark).skip(1);
            behind.take_while(|line| **line != "@end").copied().collect()
        };
        let marked =
            |mark: &'static str| lines.iter().filter_map(move |line| line.strip_prefix(mark)).map(str::to_owned);
        let results = results(&lines);
        let failed = results.iter().filter(|(_, result)| result.contains("FAILED")).map(|(name, _)| name.clone());
        let skipped: Vec<String> = between("@skips").into_iter().map(str::to_owned).collect();
        let is_skipped = |name: &str| skipped.iter().any(|skip| test_of(skip) == name);
        let passed = results.iter().filter(|(name, result)| result.ends_with("ok") && !is_skipped(name));
        let suites: Vec<String> = marked("@suite ").collect();
        let ended = marked("@ended ").count();
        let doctor = between("@doctor").join("\n") + "\n";
        let mut verdict = Self {
            name: machine.name,
            kernel: marked("@kernel ").next().unwrap_or_else(|| "did not boot".to_owned()),
            passed: passed.map(|(name, _)| name.clone()).collect(),
            failed: failed.collect(),
            skipped,
            unfinished: suites.iter().skip(ended).cloned().collect(),
            suites: suites.len(),
            doctor,
            doctor_differs: false,
            seen: between("@seen").into_iter().map(str::to_owned).collect(),
            console: console.to_owned(),
        };
        verdict.doctor_differs = !verdict.compare_doctor();
        verdict
    }

    /// True if a test program was started: on a busy machine the emulator sometimes resets before the kernel has begun.
    pub(super) fn has_booted(&self) -> bool {
        self.suites > 0
    }

    pub(super) fn is_good(&self) -> bool {
        self.has_booted()
            && !self.passed.is_empty()
            && self.failed.is_empty()
            && self.unfinished.is_empty()
            && !self.doctor_differs
    }

    fn golden(&self) -> PathBuf {
        root().join("tests/golden/doctor").join(format!("{}.txt", self.name))
    }

    /// Compares the output of `doctor` with the golden file of this machine, which `UPDATE_GOLDEN=1` rewrites.
    fn compare_doctor(&self) -> bool {
        let path = self.golden();
        if std::env::var_os("UPDATE_GOLDEN").is_some() && self.has_booted() {
            let written =
                path.parent().map(fs::create_dir_all).transpose().and_then(|_| fs::write(&path, &self.doctor));
            return written.is_ok();
        }
        fs::read_to_string(&path).is_ok_and(|known| known == self.doctor)
    }

    pub(super) fn print_tests(&self, took: Duration) {
        for line in self.console.lines().filter(|line| line.starts_with("test ")) {
            println!("{line}");
        }
        for skip in &self.skipped {
            println!("SKIPPED {skip}");
        }
        if self.doctor_differs {
            println!("doctor differs from {}:\n{}", self.golden().display(), self.doctor);
        }
        if !self.is_good() {
            // The output of a failed test stands between the results.
            let said = self.console.lines().filter(|line| !line.starts_with("test ")).collect::<Vec<_>>();
            println!("{}", said[said.len().saturating_sub(120)..].join("\n"));
        }
        println!("{self} ({} s)", took.as_secs());
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.is_good() { "ok    " } else { "FAILED" };
        write!(f, "{word} {:<22} {:<28} {} passed", self.name, self.kernel, self.passed.len())?;
        write!(f, ", {} failed, {} skipped", self.failed.len(), self.skipped.len())?;
        if !self.unfinished.is_empty() {
            write!(f, ", never ended: {}", self.unfinished.join(", "))?;
        }
        if self.doctor_differs {
            f.write_str(", doctor says something else")?;
        }
        Ok(())
    }
}

impl Verdicts {
    /// The machine that ran a test which was skipped elsewhere.
    pub(crate) fn ran(&self, skip: &str) -> Option<&'static str> {
        self.0.iter().find(|verdict| verdict.passed.contains(test_of(skip))).map(|verdict| verdict.name)
    }

    /// Prints the verdict of each machine. An error names the failures.
    pub(crate) fn judge(&self) -> anyhow::Result<()> {
        println!("\n\x1b[1m── machines ──\x1b[0m");
        for verdict in &self.0 {
            println!("{verdict}");
        }
        let failed: Vec<&str> =
            self.0.iter().filter(|verdict| !verdict.is_good()).map(|verdict| verdict.name).collect();
        if !failed.is_empty() {
            bail!("failed on {}", failed.join(", "));
        }
        if self.is_whole() { self.judge_skips() } else { Ok(()) }
    }

    fn is_whole(&self) -> bool {
        self.0.len() >= MACHINES.iter().filter(|machine| !machine.is_apart).count()
    }

    /// Judges skips. A machine lacks the features that its `doctor` reports as missing; a test that ran in no machine
    /// is an error.
    fn judge_skips(&self) -> anyhow::Result<()> {
        let skips = self.0.iter().flat_map(|verdict| &verdict.skipped);
        let nowhere: BTreeSet<&str> = skips.filter(|skip| self.ran(skip).is_none()).map(|skip| test_of(skip)).collect();
        if !nowhere.is_empty() {
            bail!("run by no machine: {}", nowhere.into_iter().collect::<Vec<_>>().join(", "));
        }
        Ok(())
    }

    /// Fails for numbers that were zero in every machine and in every run before (`seen`, a name in each line): they
    /// are not tested.
    pub(crate) fn judge_numbers(&self, agent: &Path, seen: &str) -> anyhow::Result<()> {
        if !self.is_whole() {
            return Ok(());
        }
        let in_machines = self.0.iter().flat_map(|verdict| &verdict.seen).map(String::as_str);
        let seen: BTreeSet<&str> = seen.lines().chain(in_machines).collect();
        let output = Command::new(agent).arg("metrics").output().with_context(|| agent.display().to_string())?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let unseen: Vec<&str> = text
            .lines()
            .filter_map(|line| line.split_whitespace().next())
            .filter(|name| !name.starts_with('(') && !seen.contains(name))
            .collect();
        if !unseen.is_empty() {
            bail!("never other than zero in any test: {}", unseen.join(", "));
        }
        Ok(())
    }
}

/// The tests of each suite, as `SUITE::TEST`, with their results.
fn results<'a>(lines: &[&'a str]) -> Vec<(String, &'a str)> {
    let mut suite = "";
    let mut results = Vec::new();
    for line in lines {
        if let Some(name) = line.strip_prefix("@suite ") {
            suite = name;
        } else if let Some((name, result)) = line.strip_prefix("test ").and_then(|line| line.rsplit_once(" ... ")) {
            // The time of the test stands behind its result.
            let result = result.rsplit_once(" <").map_or(result, |(result, _)| result);
            results.push((format!("{suite}::{name}"), result));
        }
    }
    results
}

/// The name of the test in a line about a skip.
fn test_of(skip: &str) -> &str {
    skip.split_once(" (line ").map_or(skip, |(test, _)| test)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_read_with_and_without_times() {
        let lines =
            ["@suite kernel", "test one ... ok <1.234s>", "test two ... FAILED <0.1s>", "test three ... said\nok"];
        let found = results(&lines);
        let expected = [("kernel::one", "ok"), ("kernel::two", "FAILED"), ("kernel::three", "said\nok")];
        assert_eq!(found, expected.map(|(name, result)| (name.to_owned(), result)));
    }
}
