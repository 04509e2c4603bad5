use super::{SourceFile, cycles, graph};

fn files(files: &[(&str, &str)]) -> Vec<SourceFile> {
    files.iter().map(|(path, text)| SourceFile { path: (*path).to_owned(), text: (*text).to_owned() }).collect()
}

fn arrows(of: &[(&str, &str)]) -> Vec<String> {
    let graph = graph("monitor", &files(of));
    let pairs = graph.iter().flat_map(|(file, targets)| targets.keys().map(move |target| format!("{file} {target}")));
    pairs.collect()
}

#[test]
fn the_longest_path_that_is_a_module_is_imported() {
    let found = arrows(&[
        ("lib.rs", "pub mod a; pub mod c;"),
        ("a/mod.rs", "mod b;"),
        ("a/b.rs", ""),
        ("c.rs", "use crate::a::b::X; use crate::a::Y;"),
    ]);
    assert_eq!(found, ["c.rs a/b.rs", "c.rs a/mod.rs"]);
}

#[test]
fn a_declaration_is_no_import() {
    assert!(arrows(&[("lib.rs", "pub mod a;"), ("a.rs", "mod b;"), ("a/b.rs", "")]).is_empty());
}

#[test]
fn a_module_in_another_folder_is_not_its_parent() {
    let found = arrows(&[
        ("main.rs", "#[path = \"../shared/clock.rs\"] mod clock; mod a;"),
        ("a.rs", "use crate::clock::now; use crate::Error;"),
    ]);
    assert_eq!(found, ["a.rs main.rs"]);
    assert!(arrows(&[("main.rs", "mod clock; mod a;"), ("a.rs", "use crate::clock::now;")]).is_empty());
}

#[test]
fn the_program_imports_the_library() {
    let found = arrows(&[
        ("lib.rs", ""),
        ("main.rs", "mod d; use monitor::a::X;"),
        ("a.rs", ""),
        ("d.rs", "use crate::e;"),
        ("e.rs", ""),
    ]);
    assert_eq!(found, ["d.rs e.rs", "main.rs a.rs"]);
}

#[test]
fn tests_may_import_what_they_test() {
    assert!(arrows(&[("a.rs", "#[cfg(test)] mod tests;"), ("a/tests.rs", "use super::X;")]).is_empty());
}

#[test]
fn a_re_export_with_a_way_back_is_a_cycle() {
    let graph = graph(
        "monitor",
        &files(&[
            ("lib.rs", ""),
            ("a/mod.rs", "mod b; pub use b::X; pub struct Y;"),
            ("a/b.rs", "use super::Y;"),
            ("c.rs", "use crate::a::X;"),
        ]),
    );
    let found = cycles(&graph);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].1, ["a/b.rs", "a/mod.rs", "a/b.rs"]);
}

#[test]
fn two_knots_are_told_apart_and_each_has_its_shortest_way() {
    let graph = graph(
        "monitor",
        &files(&[
            ("a.rs", "use crate::{b, c};"),
            ("b.rs", "use crate::c;"),
            ("c.rs", "use crate::{a, x};"),
            ("x.rs", "use crate::y;"),
            ("y.rs", "use crate::x;"),
        ]),
    );
    let found = cycles(&graph);
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].0.len(), 3);
    assert_eq!(found[0].1, ["a.rs", "c.rs", "a.rs"]);
    assert_eq!(found[1].0.len(), 2);
}
