//! The rule about dependencies: the document says what each is for.

/// Returns the dependencies of the workspace that the document does not name.
pub(super) fn violations(manifest: &str, document: &str) -> Vec<String> {
    let section = manifest.split("\n[").find(|section| section.starts_with("workspace.dependencies]"));
    let rows = section.unwrap_or_default().lines().filter_map(|line| line.split_once(" = "));
    rows.filter(|(name, value)| !name.starts_with('#') && !value.contains("path = "))
        .filter(|(name, _)| !document.contains(&format!("`{name}`")))
        .map(|(name, _)| format!("docs/dependencies.md does not say what {name} is for"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_dependency_is_named() {
        let manifest = "[workspace]\n\n[workspace.dependencies]\nown = { path = \"own\" }\n# Kernel = none\naya = \"1\"\n\
                        libc = { version = \"2\" }\n\n[profile.dev]\ndebug = false\n";
        assert!(violations(manifest, "| `aya`, `libc` | kernel |").is_empty());
        assert_eq!(violations(manifest, "`aya-log` `libc`"), ["docs/dependencies.md does not say what aya is for"]);
    }
}
