//! Finds the modules of its own crate that a source file names.

use super::tokens::{Token, tokens};

/// A path from the crate's root, and the line that names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Import {
    pub(super) path: Vec<String>,
    pub(super) line: usize,
}

/// Returns every path in the source of a module that begins with `crate`, `self`, `super`, the name of a child module,
/// or the name of the crate (by which a program names its library). Items under `#[cfg(test)]` are left out.
pub(super) fn imports(module: &[String], crate_name: &str, source: &str) -> Vec<Import> {
    let tokens = tokens(source);
    let children = declared(&tokens);
    let (mut found, mut at) = (Vec::new(), 0);
    while at < tokens.len() {
        let base = if begins_path(&tokens, at) { base(module, crate_name, &children, tokens[at].text) } else { None };
        match base {
            Some(base) => at = Tree { tokens: &tokens, found: &mut found }.read(at + 2, base),
            None => at += 1,
        }
    }
    found
}

/// The child modules that a source file declares without their bodies.
pub(super) fn declared<'a>(tokens: &[Token<'a>]) -> Vec<&'a str> {
    let declarations = tokens.windows(3).filter(|window| window[0].text == "mod" && window[2].text == ";");
    declarations.map(|window| window[1].text).collect()
}

/// True at the beginning of a path, except for the path in `pub(in …)`.
fn begins_path(tokens: &[Token<'_>], at: usize) -> bool {
    let text = |at: Option<usize>| at.and_then(|at| tokens.get(at)).map(|token| token.text);
    let is_visibility = text(at.checked_sub(1)) == Some("in") && text(at.checked_sub(2)) == Some("(");
    text(Some(at + 1)) == Some("::") && text(at.checked_sub(1)) != Some("::") && !is_visibility
}

/// Resolves the first word of a path to a module.
fn base(module: &[String], crate_name: &str, children: &[&str], first: &str) -> Option<Vec<String>> {
    let parent = || module.split_last().map(|(_, parent)| parent.to_vec()).unwrap_or_default();
    match first {
        "crate" => Some(Vec::new()),
        "self" => Some(module.to_vec()),
        "super" => Some(parent()),
        name if name == crate_name => Some(Vec::new()),
        name if children.contains(&name) => Some([module, &[name.to_owned()]].concat()),
        _ => None,
    }
}

/// Reads the rest of a path, with its groups: `a::{self, b::C, d as e}`.
struct Tree<'t, 'a> {
    tokens: &'t [Token<'a>],
    found: &'t mut Vec<Import>,
}

impl Tree<'_, '_> {
    /// Reads from the token behind a `::`, and returns the position behind the tree.
    fn read(&mut self, mut at: usize, mut path: Vec<String>) -> usize {
        let Some(first) = self.tokens.get(at) else { return at };
        let line = first.line;
        while let Some(token) = self.tokens.get(at) {
            match token.text {
                "{" => return self.group(at + 1, &path),
                "super" => drop(path.pop()),
                "self" => {}
                // A glob names the module itself.
                "*" => {
                    self.found.push(Import { path, line });
                    return at + 1;
                }
                text if text.starts_with(|c: char| c.is_alphabetic() || c == '_') => path.push(text.to_owned()),
                _ => break,
            }
            at += 1;
            match self.tokens.get(at) {
                Some(next) if next.text == "::" => at += 1,
                _ => break,
            }
        }
        self.found.push(Import { path, line });
        at
    }

    fn group(&mut self, mut at: usize, path: &[String]) -> usize {
        while let Some(token) = self.tokens.get(at) {
            match token.text {
                "}" => return at + 1,
                "," => at += 1,
                // The new name behind `as` is no path.
                "as" => at += 2,
                _ => at = self.read(at, path.to_vec()),
            }
        }
        at
    }
}

#[cfg(test)]
mod tests;
