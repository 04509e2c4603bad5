//! Findings: what is wrong with a container. The thresholds, their order of severity and their words stand here alone;
//! the terminal, the page, log entries and alert rules take them from here. Pure: facts in, findings out.

mod clock;
mod finding;
mod level;
mod rules;
mod silence;
mod timeline;

pub use self::clock::ClockOffset;
pub use self::finding::{Finding, FindingKind, compare, level_of};
pub use self::level::Level;
pub use self::rules::{Evidence, Logged, THRESHOLDS, Threshold, judge, measure, of_numbers, threshold};
pub use self::silence::{GRACE, LATE_INTERVALS, Reporting};
pub use self::timeline::{OomKill, Timeline};

#[cfg(test)]
mod tests;
