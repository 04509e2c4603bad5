//! One report on stdout.

use tests::oracle;

use crate::start::{QUICK, output, text};

#[test]
fn once_prints_a_report_that_readers_could_decode() {
    let once = output(QUICK, &[("CONTAINER_NAME", "web")]);
    assert_eq!(once.status.code(), Some(0), "{}", text(&once.stderr));
    let report = oracle::report("web", text(&once.stdout).trim_end().as_bytes()).unwrap();
    assert!(report.number("cpu_percent").is_some());
    assert_eq!(report.status, "running");
}

#[test]
fn names_of_every_kind_are_reported_as_they_are() {
    let long = "x".repeat(10_000);
    for name in [
        "two words",
        "a/b",
        "*[?]",
        "\"quoted\\\"",
        "new\nline",
        "\u{1b}[31mred",
        "ünï\u{1F600}",
        "<script>",
        long.as_str(),
    ] {
        let once = output(QUICK, &[("CONTAINER_NAME", name)]);
        oracle::report(name, text(&once.stdout).trim_end().as_bytes())
            .unwrap_or_else(|error| panic!("{name:?}: {error}"));
    }
}
