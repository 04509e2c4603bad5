//! The documents agree with the code.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::fs;
use std::path::Path;

use monitor::settings::SettingName;

const SETTINGS: &str = include_str!("../../docs/settings.md");
const TROUBLESHOOTING: &str = include_str!("../../docs/troubleshooting.md");

#[test]
fn every_setting_is_documented_with_its_default() {
    for name in SettingName::ALL {
        let setting = name.setting();
        let row =
            SETTINGS.lines().find(|line| line.starts_with('|') && line.contains(&format!("`{}`", setting.variable)));
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
    let rows: Vec<&str> =
        TROUBLESHOOTING.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| Symptom")).collect();
    assert!(rows.len() >= 5);
    for row in rows {
        assert!(row.trim_end().trim_end_matches('|').trim_end().ends_with('`'), "{row}");
    }
}

#[test]
fn the_tests_that_the_document_on_security_names_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let text = fs::read_to_string(root.join("docs/security.md")).unwrap();
    // A test is named as a sentence, of many words.
    let named = text.split('`').skip(1).step_by(2).filter(|name| name.matches('_').count() >= 4);
    let named: Vec<&str> =
        named.filter(|name| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')).collect();
    assert!(named.len() > 15, "{named:?}");
    let mut sources = String::new();
    for dir in ["monitor/src", "tests/tests"] {
        collect(&root.join(dir), &mut sources);
    }
    for name in named {
        assert!(sources.contains(&format!("fn {name}(")), "docs/security.md: there is no test {name}");
    }
}

/// All source code below a directory.
fn collect(dir: &Path, into: &mut String) {
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}
