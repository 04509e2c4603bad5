//! A report as a table for a terminal: one line per number, grouped, absent ones with their cause.

use std::fmt::Write;

use crate::metrics::{Metric, Origin, Shown, Unit};
use crate::report::{Container, Number, Report};

/// How a table is drawn.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// Escape sequences for bold and dim.
    pub color: bool,
    /// Columns of the terminal.
    pub width: usize,
}

/// The whole report.
pub fn render(report: &Report, style: Style) -> String {
    report.containers.iter().map(|container| one(report, container, style)).collect::<Vec<_>>().join("\n")
}

fn one(report: &Report, container: &Container, style: Style) -> String {
    let (bold, dim, reset) = if style.color { ("\x1b[1m", "\x1b[2m", "\x1b[0m") } else { ("", "", "") };
    let name = printable(&container.identity.name);
    let mut text = String::new();
    let _infallible = writeln!(
        text,
        "{bold}{name}{reset}  {}  {dim}on {}, cgroup {}, rates over {:.1} s, read in {:.1} ms{reset}",
        container.status.as_str(),
        printable(&report.host),
        printable(&container.identity.path),
        report.interval.unwrap_or_default().as_secs_f64(),
        report.cost.as_secs_f64() * 1e3,
    );
    let mut group = "";
    for &metric in Metric::ALL {
        let Shown::Field(field) = metric.spec().shown else { continue };
        let (head, _) = field.split_once('.').unwrap_or(("", field));
        if head != group {
            group = head;
            let _infallible = writeln!(text, "{bold}{group}{reset}");
        }
        let line = match container.get(metric) {
            Ok(number) => {
                format!("{:>12}  {dim}{}{reset}", show(number, metric.spec().unit), backend(container, metric))
            }
            Err(cause) => {
                format!("{dim}{:>12}  {}{reset}", "-", printable(&cut(cause.as_str(), style.width.saturating_sub(50))))
            }
        };
        let _infallible = writeln!(text, "  {field:34}{line}");
    }
    text
}

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        text.to_owned()
    } else {
        text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
    }
}

/// Where a number came from.
fn backend(container: &Container, metric: Metric) -> &'static str {
    let shared = || metric.spec().origins().first().filter(|_| metric.is_shared());
    container.values.origin(metric).or_else(shared).map_or("computed", Origin::backend)
}

/// Text from outside, without anything that could steer a terminal.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn show(number: Number, unit: Unit) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
    let value = match number {
        Number::Whole(value) => value as f64,
        Number::Real(value) => value,
    };
    match (unit, number) {
        (Unit::Bytes, _) => bytes(value),
        (Unit::BytesPerSecond, _) => bytes(value) + "/s",
        (Unit::Percent, _) => format!("{value:.1} %"),
        (Unit::PerSecond, _) => format!("{value:.1} /s"),
        (Unit::Seconds, Number::Whole(seconds)) => humantime::format_duration(std::time::Duration::from_secs(seconds))
            .to_string()
            .split(' ')
            .take(2)
            .collect::<Vec<_>>()
            .join(" "),
        (_, Number::Whole(value)) => value.to_string(),
        _ => format!("{value:.3}"),
    }
}

fn bytes(value: f64) -> String {
    let mut value = value;
    for unit in ["B", "KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 || unit == "TiB" {
            return if unit == "B" { format!("{value:.0} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    unreachable!("the last unit ends the loop")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_people_write_them() {
        assert_eq!(bytes(0.0), "0 B");
        assert_eq!(bytes(1536.0), "1.5 KiB");
        assert_eq!(bytes(5.0 * 1024f64.powi(5)), "5120.0 TiB");
    }

    #[test]
    fn a_hostile_name_cannot_steer_the_terminal() {
        assert_eq!(printable("a\x1b[2Jb\n"), "a\u{fffd}[2Jb\u{fffd}");
    }
}
