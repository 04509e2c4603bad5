//! The rules about `unsafe`: each block says why it is sound, each function what its caller must guarantee.
//!
//! Clippy has lints for this, but does not see the eBPF programs: it lacks their target. It also takes any comment.

use super::tokens::{Token, scan};

/// Reasons that send the reader elsewhere.
const EMPTY: [&str; 4] = ["SAFETY: as ", "SAFETY: guaranteed by", "SAFETY: see ", "SAFETY: same"];

/// Returns the violations in a source file.
pub(super) fn violations(path: &str, source: &str) -> Vec<String> {
    let lines: Vec<&str> = source.lines().collect();
    let tokens = scan(source);
    let uses = tokens.iter().enumerate().filter(|(_, token)| token.text == "unsafe");
    let lacks = uses.filter_map(|(at, token)| {
        let wanted = wanted(&tokens[at + 1..])?;
        let is_there = comment_above(&lines, token.line).iter().any(|line| line.contains(wanted));
        (!is_there).then(|| format!("{path}:{}: unsafe code without `{wanted}` above it", token.line))
    });
    let is_empty = |line: &str| {
        let reason = line.trim_start().strip_prefix("// ").unwrap_or_default();
        EMPTY.iter().any(|empty| reason.starts_with(empty))
    };
    let empty = lines.iter().enumerate().filter(|(_, line)| is_empty(line));
    lacks.chain(empty.map(|(at, _)| format!("{path}:{}: the reason names no invariant", at + 1))).collect()
}

/// The text that the comment above must contain, by what follows the word `unsafe`: a block or an implementation, or a
/// function. Attributes and types of functions need none.
fn wanted(behind: &[Token<'_>]) -> Option<&'static str> {
    let words: Vec<&str> = behind.iter().take(3).map(|token| token.text).collect();
    match words.as_slice() {
        ["{" | "impl", ..] => Some("SAFETY: "),
        ["fn", name, ..] | ["extern", "fn", name] if *name != "(" => Some("# Safety"),
        _ => None,
    }
}

/// The comment that ends above the statement or item with a line; lines are counted from 1.
fn comment_above<'a>(lines: &[&'a str], line: usize) -> Vec<&'a str> {
    let above = lines[..line - 1].iter().rev().map(|line| line.trim());
    let is_beginning = |line: &str| line.ends_with([';', '{', '}']) || line.is_empty();
    above.take_while(|line| line.starts_with("//") || !is_beginning(line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_needs_a_reason_that_is_its_own() {
        assert!(violations("a.rs", "// SAFETY: `x` is valid.\nlet y = unsafe { *x };").is_empty());
        assert!(violations("a.rs", "// SAFETY: `x` is valid.\nassert_eq!(\n    1,\n    unsafe { *x }\n);").is_empty());
        let found = violations("a.rs", "// SAFETY: `x` is valid.\nf();\nunsafe { *x };");
        assert_eq!(found, ["a.rs:3: unsafe code without `SAFETY: ` above it"]);
        let found = violations("a.rs", "// SAFETY: as above.\nunsafe { *x };");
        assert_eq!(found, ["a.rs:1: the reason names no invariant"]);
    }

    #[test]
    fn a_function_states_its_contract() {
        let found = violations("a.rs", "/// Reads.\n#[inline]\nunsafe fn read() {}\nunsafe extern \"C\" fn call() {}");
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(violations("a.rs", "/// # Safety\n/// `at` is valid.\n#[inline]\npub unsafe fn read() {}").is_empty());
    }

    #[test]
    fn attributes_and_types_need_no_reason() {
        assert!(violations("a.rs", "#[unsafe(no_mangle)]\nstatic A: unsafe fn(u32) = f; // unsafe { }").is_empty());
    }
}
