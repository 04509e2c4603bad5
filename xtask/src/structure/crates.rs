//! Finds the crates of the workspace in the list of its files.

use std::collections::{BTreeMap, BTreeSet};

use super::graph::SourceFile;

/// A library or program: the files at and below the folder of its `lib.rs` or `main.rs`.
pub(super) struct Crate {
    /// The folder, with a slash at its end.
    pub(super) prefix: String,
    /// The name by which the program names the library in the same folder; empty if there are not both.
    pub(super) name: String,
    /// The files, with their paths below the folder.
    pub(super) files: Vec<SourceFile>,
}

/// Returns the crates with more than one file. Each file belongs to the innermost of them: `monitor-ebpf/src` is a
/// library, and each of its folders a program. A test or example that is a single file imports no other.
pub(super) fn crates(files: &[(String, String)]) -> Vec<Crate> {
    let folders: BTreeSet<&str> = files.iter().filter_map(|(path, _)| folder_of_root(path)).collect();
    let mut members: BTreeMap<&str, Vec<SourceFile>> = BTreeMap::new();
    for (path, text) in files {
        let innermost = folders.iter().filter(|folder| path.starts_with(**folder)).max_by_key(|folder| folder.len());
        if let Some(folder) = innermost {
            let file = SourceFile { path: path[folder.len()..].to_owned(), text: text.clone() };
            members.entry(folder).or_default().push(file);
        }
    }
    let crates = members.into_iter().filter(|(_, files)| files.len() > 1);
    crates.map(|(prefix, files)| Crate::new(prefix, files)).collect()
}

impl Crate {
    fn new(prefix: &str, files: Vec<SourceFile>) -> Self {
        let has = |root: &str| files.iter().any(|file| file.path == root);
        let package = prefix.split('/').next().unwrap_or(prefix);
        let name = if has("lib.rs") && has("main.rs") { package.replace('-', "_") } else { String::new() };
        Self { prefix: prefix.to_owned(), name, files }
    }
}

/// The folder of a file that is the root of a crate, with a slash at its end.
fn folder_of_root(path: &str) -> Option<&str> {
    let folder = path.strip_suffix("lib.rs").or_else(|| path.strip_suffix("main.rs"))?;
    folder.ends_with('/').then_some(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_belongs_to_the_innermost_crate() {
        let paths = [
            "agent/src/lib.rs",
            "agent/src/main.rs",
            "agent/src/a/b.rs",
            "agent-ebpf/src/lib.rs",
            "agent-ebpf/src/kernel.rs",
            "agent-ebpf/src/process/main.rs",
            "agent-ebpf/src/process/exit.rs",
            "tests/tests/alone/main.rs",
            "tests/tests/alone.rs",
            "tests/tests/domain.rs",
        ];
        let files = paths.map(|path| (path.to_owned(), String::new()));
        let found: Vec<String> = crates(&files)
            .iter()
            .map(|Crate { prefix, name, files }| {
                let files: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
                format!("{prefix} {name:?}: {}", files.join(" "))
            })
            .collect();
        assert_eq!(
            found,
            [
                "agent-ebpf/src/ \"\": lib.rs kernel.rs",
                "agent-ebpf/src/process/ \"\": main.rs exit.rs",
                "agent/src/ \"agent\": lib.rs main.rs a/b.rs",
            ]
        );
    }
}
