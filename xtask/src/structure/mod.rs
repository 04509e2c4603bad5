//! The structure of the sources: import cycles, the order of the layers, the sizes of files, and reasons for `unsafe`.

mod crates;
mod dependencies;
mod graph;
mod imports;
mod layers;
mod sizes;
mod tokens;
mod unsafe_code;

use std::fs;
use std::path::Path;

use anyhow::{Context, bail};

use self::crates::Crate;
use self::graph::Graph;
use crate::shell::{output, root};

/// The folder of the crate that the layers apply to.
const LAYERED: &str = "monitor/src/";
/// The lines of `ARCHITECTURE.md` around the table of layers.
const MARKERS: [&str; 2] = ["<!-- layers: written by `cargo xtask docs` -->\n", "<!-- end of layers -->\n"];

/// Prints every violation; an error if there is one.
pub(crate) fn check() -> anyhow::Result<()> {
    let files = sources()?;
    let mut violations = Vec::new();
    for Crate { prefix, name, files } in crates::crates(&files) {
        let graph = graph::graph(&name, &files);
        violations.extend(cycles(&prefix, &graph));
        if prefix == LAYERED {
            violations.extend(forbidden_imports(&prefix, &graph));
        }
    }
    let sizes: Vec<_> = files.iter().map(|(path, text)| (path.clone(), text.lines().count())).collect();
    violations.extend(sizes::violations(&sizes));
    violations.extend(files.iter().flat_map(|(path, text)| unsafe_code::violations(path, text)));
    violations.extend(dependencies::violations(&read("Cargo.toml")?, &read("docs/dependencies.md")?));
    violations.extend(check_document().err().map(|error| format!("{error:#}")));
    for violation in &violations {
        println!("{violation}");
    }
    match violations.len() {
        0 => Ok(()),
        number => bail!("{number} violations of the structure"),
    }
}

fn read(path: &str) -> anyhow::Result<String> {
    fs::read_to_string(root().join(path)).context(path.to_owned())
}

/// Writes the table of layers into `ARCHITECTURE.md`.
pub(crate) fn write_document() -> anyhow::Result<()> {
    let path = root().join("ARCHITECTURE.md");
    fs::write(&path, with_table(&fs::read_to_string(&path)?)?).context("ARCHITECTURE.md")
}

fn check_document() -> anyhow::Result<()> {
    let text = read("ARCHITECTURE.md")?;
    if text != with_table(&text)? {
        bail!("ARCHITECTURE.md: the table of layers is out of date; run: cargo xtask docs");
    }
    Ok(())
}

fn with_table(text: &str) -> anyhow::Result<String> {
    let [begin, end] = MARKERS;
    let (before, rest) = text.split_once(begin).with_context(|| format!("ARCHITECTURE.md lacks the line {begin}"))?;
    let (_, after) = rest.split_once(end).with_context(|| format!("ARCHITECTURE.md lacks the line {end}"))?;
    Ok(format!("{before}{begin}{}{end}{after}", layers::markdown()))
}

/// The Rust files that git tracks or would add, with their texts.
fn sources() -> anyhow::Result<Vec<(String, String)>> {
    let listed = output("git", &["ls-files", "--cached", "--others", "--exclude-standard", "--", "*.rs"]);
    let listed = listed.context("git ls-files")?;
    let paths = listed.lines().filter(|path| root().join(path).is_file());
    paths.map(|path| Ok((path.to_owned(), fs::read_to_string(root().join(Path::new(path)))?))).collect()
}

fn cycles(prefix: &str, graph: &Graph) -> Vec<String> {
    let cycle = |(knot, way): (std::collections::BTreeSet<String>, Vec<String>)| {
        let mut text = format!("import cycle of {} files in {prefix}: {}", knot.len(), Vec::from_iter(knot).join(" "));
        for pair in way.windows(2) {
            text += &format!("\n    {prefix}{}:{} imports {}", pair[0], graph[&pair[0]][&pair[1]], pair[1]);
        }
        text
    };
    graph::cycles(graph).into_iter().map(cycle).collect()
}

fn forbidden_imports(prefix: &str, graph: &Graph) -> Vec<String> {
    let mut violations = Vec::new();
    for (file, targets) in graph.iter().filter(|(file, _)| *file != "lib.rs") {
        if layers::may_import(top(file), top(file)).is_none() {
            violations.push(format!("{prefix}{file}: no layer for `{}` in xtask/src/structure/layers.rs", top(file)));
        }
        for (target, line) in targets {
            if layers::may_import(top(file), top(target)) == Some(false) {
                violations
                    .push(format!("{prefix}{file}:{line} imports {target}, which is beside it or in a layer above"));
            }
        }
    }
    violations
}

/// The top-level module that a file belongs to.
fn top(file: &str) -> &str {
    file.split('/').next().unwrap_or(file).trim_end_matches(".rs")
}

#[cfg(test)]
mod tests {
    use super::graph::SourceFile;
    use super::*;

    fn file(path: &str, text: &str) -> SourceFile {
        SourceFile { path: path.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn an_arrow_from_data_to_a_sink_is_a_violation() {
        let files = [
            file("lib.rs", "mod events; mod sinks;"),
            file("events.rs", "\nuse crate::sinks::Sink;"),
            file("sinks/mod.rs", "use crate::events::Event;"),
        ];
        let found = forbidden_imports("", &graph::graph("monitor", &files));
        assert_eq!(found, ["events.rs:2 imports sinks/mod.rs, which is beside it or in a layer above"]);
    }

    #[test]
    fn a_module_without_a_layer_is_a_violation() {
        let found = forbidden_imports("", &graph::graph("monitor", &[file("odds.rs", "")]));
        assert_eq!(found, ["odds.rs: no layer for `odds` in xtask/src/structure/layers.rs"]);
    }

    #[test]
    fn a_cycle_is_shown_with_its_lines() {
        let files =
            [file("a.rs", "\nuse crate::b::B;"), file("b.rs", "use crate::a::A;"), file("c.rs", "use crate::a;")];
        let found = cycles("", &graph::graph("xtask", &files));
        assert_eq!(found, ["import cycle of 2 files in : a.rs b.rs\n    a.rs:2 imports b.rs\n    b.rs:1 imports a.rs"]);
    }

    #[test]
    fn the_table_replaces_what_stands_between_the_markers() {
        let [begin, end] = MARKERS;
        let text = with_table(&format!("before\n{begin}old\n{end}after\n")).expect("markers");
        assert!(text.starts_with(&format!("before\n{begin}| Layer |")) && text.ends_with(&format!("{end}after\n")));
        assert!(!text.contains("old"));
        with_table("nothing").expect_err("no markers");
    }
}
