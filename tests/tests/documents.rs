//! What is written agrees with what is done.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use monitor::settings::Name;

const README: &str = include_str!("../../README.md");

#[test]
fn the_readme_lists_every_setting_with_its_default() {
    for name in Name::ALL {
        let setting = name.setting();
        let row =
            README.lines().find(|line| line.starts_with('|') && line.contains(&format!("`{}`", setting.variable)));
        let row = row.unwrap_or_else(|| panic!("{} is missing", setting.variable));
        if let Some(flag) = setting.flag {
            assert!(row.contains(&format!("`--{flag}`")), "{row}");
        }
        if let Some(default) = setting.default {
            assert!(row.contains(&format!("`{default}`")), "{row}");
        }
    }
}

#[test]
fn each_row_of_the_troubleshooting_table_ends_in_a_command() {
    let rows = README.split("## When something is wrong").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows: Vec<&str> =
        rows.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| What you see")).collect();
    assert!(rows.len() >= 5);
    for row in rows {
        assert!(row.trim_end().trim_end_matches('|').trim_end().ends_with('`'), "{row}");
    }
}
