use super::tokens;

fn texts(source: &str) -> Vec<&str> {
    tokens(source).into_iter().map(|token| token.text).collect()
}

#[test]
fn comments_and_literals_are_left_out() {
    let source = r##"a /* b /* c */ d */ "e \" f" // g
        h 'i' '\'' b"j" r#"k " l"# b'm' n"##;
    assert_eq!(texts(source), ["a", "h", "n"]);
}

#[test]
fn lifetimes_and_raw_identifiers_are_no_literals() {
    assert_eq!(texts("<'a, 'static> r#type b"), ["<", "'", "a", ",", "'", "static", ">", "r", "#", "type", "b"]);
}

#[test]
fn paths_and_lines_are_kept() {
    let tokens = tokens("use crate::a;\n\n\"x\ny\" b::c");
    let lines: Vec<(&str, usize)> = tokens.iter().map(|token| (token.text, token.line)).collect();
    assert_eq!(lines[2], ("::", 1));
    assert_eq!(lines[5..], [("b", 4), ("::", 4), ("c", 4)]);
}

#[test]
fn items_under_test_are_left_out() {
    assert_eq!(texts("#[cfg(test)] mod tests { fn a() { b(); } } c"), ["c"]);
    assert_eq!(texts("#[cfg(test)] use a::{b, c}; d"), ["d"]);
    assert_eq!(texts("#[cfg(all(test, unix))] fn a(b: [u8; 2]) -> u8 { 1 } d"), ["d"]);
    assert_eq!(texts("#[cfg(test)] mod tests; d"), ["d"]);
}

#[test]
fn items_under_another_condition_are_kept() {
    assert!(texts("#[cfg(not(test))] mod a;").contains(&"mod"));
    assert!(texts("#[cfg(unix)] mod a;").contains(&"mod"));
}
