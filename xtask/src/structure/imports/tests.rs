use super::imports;

fn paths(module: &str, source: &str) -> Vec<String> {
    let module: Vec<String> = module.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect();
    imports(&module, "monitor", source).into_iter().map(|import| import.path.join("::")).collect()
}

#[test]
fn groups_are_resolved() {
    let found = paths("x", "use crate::{a::{self, B}, c as d, e::*};");
    assert_eq!(found, ["a", "a::B", "c", "e"]);
}

#[test]
fn relative_paths_are_resolved() {
    assert_eq!(
        paths("a::b", "use super::c::D; use self::e::F; use super::super::g; use super::*;"),
        ["a::c::D", "a::b::e::F", "g", "a"]
    );
}

#[test]
fn paths_in_expressions_count() {
    assert_eq!(paths("x", "fn f() { crate::a::b::<u8>(); std::crate_like::c(); }"), ["a::b"]);
}

#[test]
fn children_are_named_without_a_prefix() {
    assert_eq!(paths("a", "mod b; pub use b::C; fn f() { std::b::d(); }"), ["a::b::C"]);
    assert_eq!(paths("a", "use b::C;"), [""; 0]);
}

#[test]
fn a_program_names_its_library() {
    assert_eq!(paths("", "use monitor::agent::Agent; use std::monitor::x;"), ["agent::Agent"]);
}

#[test]
fn a_visibility_is_no_import() {
    assert_eq!(paths("a::b", "pub(in crate::a) fn f() {} fn g() { for x in crate::c::all() {} }"), ["c::all"]);
}

#[test]
fn tests_are_no_imports() {
    assert_eq!(paths("a", "#[cfg(test)] mod tests { use crate::b::C; } use crate::d::E;"), ["d::E"]);
}
