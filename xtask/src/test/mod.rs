//! Runs all checks, with a summary that shows everything.

mod installation;
mod state;
mod steps;
mod suite;
mod times;

use std::time::{Duration, Instant};

use anyhow::bail;

use self::state::State;
use self::steps::{STEPS, Step};

/// The number of slowest test programs and tests in the summary.
const SLOWEST: usize = 8;

/// The amount of checking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tier {
    /// Everything that needs no emulated machine and no fuzzing.
    Quick,
    /// Everything; a skipped test is a failure.
    Full,
}

/// A step's name, time and result.
type Outcome = (&'static str, Duration, anyhow::Result<()>);

/// Runs the steps of a tier, or the named ones, even if others fail, and prints the result of each.
pub(crate) fn test(tier: Tier, names: &[String]) -> anyhow::Result<()> {
    let mut state = State::default();
    let mut outcomes: Vec<Outcome> = Vec::new();
    for step in choose(tier, names)? {
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
    if tier == Tier::Quick && names.is_empty() {
        println!("{REST}");
    }
    result
}

/// The steps of a tier, or the named ones, in their order.
fn choose(tier: Tier, names: &[String]) -> anyhow::Result<Vec<&'static Step>> {
    if let Some(unknown) = names.iter().find(|name| !STEPS.iter().any(|step| step.name == **name)) {
        let known: Vec<&str> = STEPS.iter().map(|step| step.name).collect();
        bail!("{unknown:?} is no step; there are: {}", known.join(", "));
    }
    let is_chosen = |step: &&Step| match names {
        [] => tier == Tier::Full || !step.is_long,
        _ => names.iter().any(|name| name == step.name),
    };
    Ok(STEPS.iter().filter(is_chosen).collect())
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
                    CI=true cargo xtask test runs them too, in 40 minutes on two quiet cores";

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
    fn the_quick_tier_leaves_out_machines_and_fuzzing() {
        let names = |tier, names: &[String]| -> Vec<&str> {
            choose(tier, names).expect("steps").iter().map(|step| step.name).collect()
        };
        let quick = names(Tier::Quick, &[]);
        assert!(quick.contains(&"tests") && !quick.contains(&"other kernels") && !quick.contains(&"fuzzing"));
        assert_eq!(names(Tier::Full, &[]).len(), STEPS.len());
        assert_eq!(names(Tier::Quick, &["fuzzing".to_owned(), "format".to_owned()]), ["format", "fuzzing"]);
        let error = choose(Tier::Quick, &["nothing".to_owned()]).err().expect("no step").to_string();
        assert!(error.contains("nothing") && error.contains("lints"), "{error}");
    }

    #[test]
    fn a_failed_step_fails_and_is_named() {
        let error =
            judge(&[outcome(Ok(())), outcome(Err(anyhow::anyhow!("broken")))], 0, Tier::Quick).expect_err("failed");
        assert_eq!(error.to_string(), "failed: step");
    }
}
