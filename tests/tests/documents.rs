//! The documents agree with the code.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};

use monitor::settings::SettingName;

const SETTINGS: &str = include_str!("../../docs/settings.md");
const CHART: &str = include_str!("../../deploy/helm/system-monitor/values.schema.json");
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
fn the_chart_takes_every_setting_of_a_file() {
    let schema: serde_json::Value = serde_json::from_str(CHART).unwrap();
    let known = schema["properties"]["settings"]["propertyNames"]["enum"].as_array().unwrap();
    let flags: Vec<&str> = SettingName::ALL.iter().filter_map(|name| name.setting().flag).collect();
    assert_eq!(known.iter().map(|name| name.as_str().unwrap()).collect::<Vec<_>>(), flags);
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
fn every_relative_link_between_documents_resolves() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut documents = Vec::new();
    for place in ["docs", "deploy", "examples", ".github", "tests"] {
        markdown(&root.join(place), &mut documents);
    }
    documents.extend(fs::read_dir(root).unwrap().flatten().map(|entry| entry.path()).filter(|path| is_markdown(path)));
    let mut links = 0;
    for document in documents {
        let text = fs::read_to_string(&document).unwrap();
        for target in targets(&text) {
            links += 1;
            let path = document.parent().unwrap().join(target.split('#').next().unwrap());
            assert!(path.exists(), "{}: {target} does not exist", document.display());
        }
    }
    assert!(links > 60, "{links}");
}

fn is_markdown(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "md")
}

/// The Markdown files below a directory.
fn markdown(dir: &Path, into: &mut Vec<PathBuf>) {
    for path in fs::read_dir(dir).unwrap().flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            markdown(&path, into);
        } else if is_markdown(&path) {
            into.push(path);
        }
    }
}

/// Relative targets of links and pictures, in Markdown and in the HTML within it.
fn targets(text: &str) -> impl Iterator<Item = &str> {
    let markdown = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let html = ["src=\"", "srcset=\""]
        .into_iter()
        .flat_map(move |attribute| text.split(attribute).skip(1).filter_map(|rest| rest.split('"').next()));
    markdown.chain(html).filter(|target| !target.contains("://") && !target.starts_with('#'))
}

#[test]
fn the_readme_fits_and_links_every_document_through_the_index() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let read = |name: &str| fs::read_to_string(root.join(name)).unwrap();
    assert!(read("README.md").lines().count() <= 150);
    let (index, decisions) = (read("docs/README.md"), read("docs/decisions/README.md"));
    for (place, index) in [("docs", index), ("docs/decisions", decisions)] {
        for path in fs::read_dir(root.join(place)).unwrap().flatten().map(|entry| entry.path()) {
            let name = path.file_name().unwrap().to_str().unwrap();
            let is_listed = index.contains(&format!("]({name})")) || path.is_dir() || name == "README.md";
            assert!(is_listed, "{place}/README.md does not list {name}");
        }
    }
    assert!(read("SECURITY.md").contains("(CONTRIBUTING.md)") && read("CONTRIBUTING.md").contains("(SECURITY.md)"));
}
