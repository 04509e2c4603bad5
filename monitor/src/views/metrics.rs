//! The table of numbers as a document.

use std::fmt::Write;

use crate::metrics::{How, Kind, Metric, Shown, Spec};

/// The document `docs/metrics.md`.
pub fn markdown() -> String {
    let mut text = String::from(
        "# Numbers\n\nEvery number of the report, in its order. Made by `system-monitor metrics --markdown`; the source is `monitor/src/metrics/table.rs`.\n\n\
         | Field | Kind | Unit | From, the first that has it | Meaning |\n|---|---|---|---|---|\n",
    );
    for spec in rows() {
        let name = match spec.shown {
            Shown::Field(name) => format!("`{name}`"),
            Shown::Ingredient(name) => format!("({name})"),
        };
        let _infallible =
            writeln!(text, "| {name} | {} | {} | {} | {} |", kind(spec), spec.unit.as_str(), from(spec), spec.help);
    }
    text.push_str("\nNames in parentheses are not fields: other numbers are made of them.\n");
    text.push_str(include_str!("metrics_by_tree.md"));
    text
}

/// The same for a terminal.
pub fn text() -> String {
    let width = rows().map(|spec| spec.name().len()).max().unwrap_or(0);
    rows().fold(String::new(), |mut text, spec| {
        let _infallible =
            writeln!(text, "{:width$}  {:7}  {:16}  {}", spec.name(), kind(spec), spec.unit.as_str(), spec.help);
        text
    })
}

fn rows() -> impl Iterator<Item = &'static Spec> {
    Metric::ALL.iter().map(|metric| metric.spec())
}

fn kind(spec: &Spec) -> &'static str {
    match spec.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
    }
}

fn from(spec: &Spec) -> String {
    match spec.how {
        How::Read(origins) => origins.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
        How::Derived(_) => "computed".to_owned(),
    }
}
