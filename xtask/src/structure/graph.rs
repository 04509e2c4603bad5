//! The files of a crate as a graph: an edge for each file that names a module of another.

use std::collections::{BTreeMap, BTreeSet};

use super::imports::{declared, imports};
use super::tokens::tokens;

/// A source file: its path below the crate's `src`, and its text.
pub(super) struct SourceFile {
    pub(super) path: String,
    pub(super) text: String,
}

/// For each file the files that it names, with the first line that does so.
pub(super) type Graph = BTreeMap<String, BTreeMap<String, usize>>;

/// Builds the graph of a crate. `name` is the crate's name, by which its program names its library.
pub(super) fn graph(name: &str, files: &[SourceFile]) -> Graph {
    let has_library = files.iter().any(|file| file.path == "lib.rs");
    let of_module: BTreeMap<Vec<String>, &str> = files
        .iter()
        .filter(|file| !has_library || file.path != "main.rs")
        .map(|file| (module(&file.path), file.path.as_str()))
        .collect();
    let declared: BTreeMap<&str, Vec<&str>> =
        files.iter().map(|file| (file.path.as_str(), declared(&tokens(&file.text)))).collect();
    let is_test = |path: &str| path.trim_end_matches(".rs").split('/').any(|part| part == "tests");
    let mut graph = Graph::new();
    for file in files.iter().filter(|file| !is_test(&file.path)) {
        let targets = graph.entry(file.path.clone()).or_default();
        for import in imports(&module(&file.path), name, &file.text) {
            let mut prefixes = (0..=import.path.len()).rev().map(|length| import.path.split_at(length));
            let target = prefixes.find_map(|(prefix, rest)| Some((*of_module.get(prefix)?, rest.first())));
            // A module that is declared, but has no file of its own here, lies in another folder: `#[path = "…"]`.
            let is_elsewhere = |target: &str, next: &String| declared[target].contains(&next.as_str());
            let target = target.filter(|(target, next)| !next.is_some_and(|next| is_elsewhere(target, next)));
            if let Some((target, _)) = target.filter(|(target, _)| *target != file.path) {
                targets.entry(target.to_owned()).or_insert(import.line);
            }
        }
    }
    graph
}

/// The module of a file: `a/b.rs` and `a/b/mod.rs` are `a::b`.
pub(super) fn module(path: &str) -> Vec<String> {
    let mut parts: Vec<String> = path.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if matches!(parts.last().map(String::as_str), Some("mod" | "lib" | "main")) {
        parts.pop();
    }
    parts
}

/// The import cycles: of each strongly connected set of files, one shortest cycle.
pub(super) fn cycles(graph: &Graph) -> Vec<(BTreeSet<String>, Vec<String>)> {
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        graph.keys().map(|file| (file.as_str(), reachable(graph, file))).collect();
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    let mut cycles = Vec::new();
    for (file, targets) in &reached {
        if !targets.contains(file) || seen.contains(file) {
            continue;
        }
        let knot: BTreeSet<&str> = targets
            .iter()
            .copied()
            .filter(|target| reached.get(target).is_some_and(|back| back.contains(file)))
            .collect();
        seen.extend(&knot);
        let rounds = knot.iter().filter_map(|start| round(graph, start));
        if let Some(shortest) = rounds.min_by_key(Vec::len) {
            cycles.push((knot.into_iter().map(str::to_owned).collect(), shortest));
        }
    }
    cycles
}

/// The files that can be reached from a file; itself only if there is a way back.
fn reachable<'a>(graph: &'a Graph, from: &str) -> BTreeSet<&'a str> {
    let (mut reached, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(file) = open.pop() {
        for target in graph.get(file).into_iter().flat_map(BTreeMap::keys) {
            if reached.insert(target.as_str()) {
                open.push(target);
            }
        }
    }
    reached
}

/// The shortest cycle through a file.
fn round(graph: &Graph, start: &str) -> Option<Vec<String>> {
    let mut ways = std::collections::VecDeque::from([vec![start.to_owned()]]);
    let mut seen = BTreeSet::new();
    while let Some(way) = ways.pop_front() {
        for target in graph.get(way.last()?).into_iter().flat_map(BTreeMap::keys) {
            let longer = [&way[..], std::slice::from_ref(target)].concat();
            if target == start {
                return Some(longer);
            }
            if seen.insert(target) {
                ways.push_back(longer);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests;
