//! The times of test programs and tests, as they report them.

use std::time::Duration;

/// Test programs and tests with their times, in the order in which they ended.
#[derive(Default)]
pub(super) struct Times {
    program: String,
    programs: Vec<(String, Duration)>,
    tests: Vec<(String, Duration)>,
}

impl Times {
    /// Reads a line of the output of `cargo test -- --report-time`.
    pub(super) fn read(&mut self, line: &str) {
        if let Some(running) = line.trim_start().strip_prefix("Running ") {
            // `Running tests/host.rs (target/debug/deps/host-0123456789abcdef)`, or `unittests src/lib.rs (…)`.
            let file = running.rsplit_once('/').map_or(running, |(_, file)| file).trim_end_matches(')');
            file.rsplit_once('-').map_or(file, |(name, _)| name).clone_into(&mut self.program);
        } else if let Some((_, seconds)) =
            line.strip_prefix("test result: ").and_then(|line| line.split_once("finished in "))
        {
            self.programs.extend(seconds_of(seconds).map(|took| (self.program.clone(), took)));
        } else if let Some((test, result)) = line.strip_prefix("test ").and_then(|line| line.rsplit_once(" ... ")) {
            let took = result.split_once('<').and_then(|(_, seconds)| seconds_of(seconds.trim_end_matches('>')));
            self.tests.extend(took.map(|took| (format!("{}::{test}", self.program), took)));
        }
    }

    /// The slowest programs and the slowest tests, each list with a heading.
    pub(super) fn slowest(&self, number: usize) -> Vec<String> {
        let mut lines = Vec::new();
        for (heading, times) in [("slowest test programs", &self.programs), ("slowest tests", &self.tests)] {
            let mut times: Vec<_> = times.iter().collect();
            times.sort_by_key(|(_, took)| std::cmp::Reverse(*took));
            let slowest = times.into_iter().take(number);
            let shown: Vec<String> =
                slowest.map(|(name, took)| format!("{name} {:.1} s", took.as_secs_f64())).collect();
            if !shown.is_empty() {
                lines.push(format!("{heading}: {}", shown.join(", ")));
            }
        }
        lines
    }
}

/// Seconds as the test harness prints them: `12.34s`.
fn seconds_of(text: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(text.trim().strip_suffix('s')?.parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "\
   Compiling tests v0.1.0
     Running unittests src/lib.rs (target/debug/deps/monitor-0123456789abcdef)
running 2 tests
test cause::tests::one ... ok <0.250s>
test cause::tests::two ... FAILED <1.500s>
test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.75s
     Running tests/end_to_end.rs (target/debug/deps/end_to_end-0123456789abcdef)
test page ... ignored
test page ... ok <30.000s>
test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 30.01s
";

    #[test]
    fn the_slowest_come_first() {
        let mut times = Times::default();
        SAID.lines().for_each(|line| times.read(line));
        assert_eq!(
            times.slowest(2),
            [
                "slowest test programs: end_to_end 30.0 s, monitor 1.8 s",
                "slowest tests: end_to_end::page 30.0 s, monitor::cause::tests::two 1.5 s",
            ]
        );
    }

    #[test]
    fn nothing_is_said_where_nothing_ran() {
        assert!(Times::default().slowest(3).is_empty());
    }
}
