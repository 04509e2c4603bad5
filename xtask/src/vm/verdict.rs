//! What a machine said, as a verdict.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;

use super::machines::Machine;
use crate::shell::{cargo, root};

/// What became of a machine.
pub(super) struct Verdict {
    pub(super) name: &'static str,
    is_capable: bool,
    kernel: String,
    passed: usize,
    failed: Vec<String>,
    skipped: Vec<String>,
    /// Suites that began and never ended.
    unfinished: Vec<String>,
    suites: usize,
    doctor: String,
    doctor_differs: bool,
    seen: BTreeSet<String>,
    console: String,
}

impl Verdict {
    /// Reads the marks that the machine's start script leaves, and what the test programs print.
    pub(super) fn read(machine: &Machine, console: &str) -> Self {
        let lines: Vec<&str> = console.lines().collect();
        let between = |mark: &str| -> Vec<&str> {
            let behind = lines.iter().skip_while(|line| **line != mark).skip(1);
            behind.take_while(|line| **line != "@end").copied().collect()
        };
        let marked =
            |mark: &'static str| lines.iter().filter_map(move |line| line.strip_prefix(mark)).map(str::to_owned);
        let results = lines.iter().filter_map(|line| line.strip_prefix("test ")?.rsplit_once(" ... "));
        let failed = results.clone().filter(|(_, result)| result.contains("FAILED")).map(|(name, _)| name.to_owned());
        let suites: Vec<String> = marked("@suite ").collect();
        let ended = marked("@ended ").count();
        let doctor = between("@doctor").join("\n") + "\n";
        let mut verdict = Self {
            name: machine.name,
            is_capable: machine.is_capable,
            kernel: marked("@kernel ").next().unwrap_or_else(|| "did not boot".to_owned()),
            passed: results.filter(|(_, result)| result.ends_with("ok")).count(),
            failed: failed.collect(),
            skipped: between("@skips").into_iter().map(str::to_owned).collect(),
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

    pub(super) fn is_good(&self) -> bool {
        self.suites > 0
            && self.passed > 0
            && self.failed.is_empty()
            && self.unfinished.is_empty()
            && !self.doctor_differs
            && (self.skipped.is_empty() || !self.is_capable)
    }

    fn golden(&self) -> PathBuf {
        root().join("tests/golden/doctor").join(format!("{}.txt", self.name))
    }

    /// Whether `doctor` says what it is known to say on this kind of machine; `UPDATE_GOLDEN=1` makes it known.
    fn compare_doctor(&self) -> bool {
        let path = self.golden();
        if std::env::var_os("UPDATE_GOLDEN").is_some() && self.suites > 0 {
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
            // What a failed test said stands between the results.
            let said = self.console.lines().filter(|line| !line.starts_with("test ")).collect::<Vec<_>>();
            println!("{}", said[said.len().saturating_sub(120)..].join("\n"));
        }
        println!("{self} ({} s)", took.as_secs());
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.is_good() { "ok    " } else { "FAILED" };
        write!(
            f,
            "{word} {:<22} {:<28} {} passed",
            self.name,
            self.kernel,
            self.passed.saturating_sub(self.skipped.len())
        )?;
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

/// Numbers that no machine ever gave another value than zero are not tested, whatever the tests say.
pub(super) fn unseen(verdicts: &[Verdict]) -> anyhow::Result<()> {
    if verdicts.len() < super::MACHINES.len() {
        return Ok(());
    }
    let seen: BTreeSet<&str> = verdicts.iter().flat_map(|verdict| &verdict.seen).map(String::as_str).collect();
    let output = cargo(&["run", "--quiet", "--package", "monitor", "--", "metrics"]).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let unseen: Vec<&str> = text
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| !name.starts_with('(') && !seen.contains(name))
        .collect();
    if !unseen.is_empty() {
        bail!("never other than zero on any machine: {}", unseen.join(", "));
    }
    Ok(())
}
