//! A report for a terminal: everything about a single container, or one line for each of several.

use ratatui::text::Line;

use super::lines::overview;
use super::row::Row;
use super::table;
use super::text::{ansi, printable};
use super::theme::Theme;
use crate::report::Report;

/// Style and width of the output.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// The use of colours.
    pub theme: Theme,
    /// Columns of the terminal.
    pub columns: usize,
}

/// The report as text; without colours it is nothing but text.
pub fn render(report: &Report, look: Look) -> String {
    ansi(&lines(report, look), look.theme.color)
}

fn lines(report: &Report, Look { theme, columns }: Look) -> Vec<Line<'static>> {
    let rows: Vec<Row> = report.containers.iter().map(|container| Row::of(report, container)).collect();
    let how = format!(
        "rates over {:.1} s, read in {:.1} ms",
        report.interval.unwrap_or_default().as_secs_f64(),
        report.cost.as_secs_f64() * 1e3
    );
    match rows.as_slice() {
        [row] => {
            let mut lines = table::heading(row, columns, theme);
            lines.push(Line::styled(format!("  {how}"), theme.faint()));
            lines.extend(table::numbers(row, columns, theme));
            lines
        }
        rows => {
            let containers = rows.iter().filter(|row| !row.is_machine).count();
            let title = format!("{containers} containers on {}, {how}", printable(&report.host));
            let mut lines = vec![Line::styled(title, theme.faint())];
            lines.extend(overview(rows, columns, theme));
            lines
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::views::sample;
    use crate::views::text::width;

    const PLAIN: Look = Look { theme: Theme { color: false }, columns: 80 };

    #[test]
    fn several_containers_are_one_line_each_with_the_worst_first() {
        insta::assert_snapshot!(render(&sample::some(100), PLAIN));
    }

    #[test]
    fn one_container_is_told_in_full_within_the_terminal() {
        let mut report = sample::some(100);
        report.containers.retain(|container| container.identity.name == "web");
        let text = render(&report, PLAIN);
        let (there, absent) = text.split_once(table::ABSENT).unwrap();
        insta::assert_snapshot!(there);
        assert!(absent.contains("  processes.execs, processes.execs_per_second\n    nothing on this host"), "{absent}");
        assert!(text.lines().all(|line| width(line) <= 80), "{text}");
    }
}
