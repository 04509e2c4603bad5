//! Runs all checks in one go, with a summary that hides nothing.

mod installation;
mod state;
mod steps;
mod suite;
mod times;

use std::time::{Duration, Instant};

use anyhow::bail;

use self::state::State;
use self::steps::STEPS;

/// The number of slowest test programs and tests in the summary.
const SLOWEST: usize = 8;

/// The amount of checking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tier {
    /// Everything that needs no emulated machine and no fuzzing.
    Quick,
    /// Everything; what is skipped is a failure.
    Full,
}

/// A step's name, time and result.
type Outcome = (&'static str, Duration, anyhow::Result<()>);

/// Runs the steps of a tier, whatever becomes of the others, and prints what became of each.
pub(crate) fn test(tier: Tier) -> anyhow::Result<()> {
    let mut state = State::default();
    let mut outcomes: Vec<Outcome> = Vec::new();
    for step in STEPS.iter().filter(|step| tier == Tier::Full || !step.is_long) {
        println!("\x1b[1m── {} ──\x1b[0m", step.name);
        let began = Instant::now();
        let result = (step.run)(&mut state);
        if let Err(error) = &result {
            println!("{}: {error:#}", step.name);
        }
        outcomes.push((step.name, began.elapsed(), result));
    }
    print_summary(&outcomes, &state);
    let result = judge(&outcomes, state.skips.len(), tier);
    if tier == Tier::Quick {
        println!("{REST}");
    }
    result
}

fn print_summary(outcomes: &[Outcome], state: &State) {
    println!("\n\x1b[1m── summary ──\x1b[0m");
    for (name, took, result) in outcomes {
        println!("{:<6} {:>5} s  {name}", if result.is_ok() { "ok" } else { "FAILED" }, took.as_secs());
    }
    let total: Duration = outcomes.iter().map(|(_, took, _)| *took).sum();
    println!("{:<6} {:>5} s  in all", "", total.as_secs());
    for line in state.times.slowest(SLOWEST) {
        println!("{line}");
    }
    for skip in &state.skips {
        println!("SKIPPED {skip}");
    }
}

fn judge(outcomes: &[Outcome], skipped: usize, tier: Tier) -> anyhow::Result<()> {
    let failed: Vec<&str> = outcomes.iter().filter(|(.., result)| result.is_err()).map(|(name, ..)| *name).collect();
    match (failed.is_empty(), skipped) {
        (false, _) => bail!("failed: {}", failed.join(", ")),
        (true, 0) => println!("passed, nothing skipped"),
        (true, _) if tier == Tier::Full => bail!("{skipped} skipped, which is a failure here"),
        (true, _) => println!("passed, but {skipped} skipped"),
    }
    Ok(())
}

/// The last line of the quick tier: names what was left out and the command that runs it.
const REST: &str = "not run here: the tests in emulated machines with other kernels, and fuzzing; \
                    CI=true cargo xtask test runs them too, in at most 50 minutes";

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(result: anyhow::Result<()>) -> Outcome {
        ("step", Duration::ZERO, result)
    }

    #[test]
    fn a_skip_fails_only_where_everything_is_checked() {
        judge(&[outcome(Ok(()))], 1, Tier::Quick).expect("quick");
        judge(&[outcome(Ok(()))], 1, Tier::Full).expect_err("full");
        judge(&[outcome(Ok(()))], 0, Tier::Full).expect("nothing skipped");
    }

    #[test]
    fn a_failed_step_fails_and_is_named() {
        let error =
            judge(&[outcome(Ok(())), outcome(Err(anyhow::anyhow!("broken")))], 0, Tier::Quick).expect_err("failed");
        assert_eq!(error.to_string(), "failed: step");
    }
}
