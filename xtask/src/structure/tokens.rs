//! Splits Rust source into the tokens of paths.

/// A token, and its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token<'a> {
    /// An identifier, `::`, or one other character.
    pub(super) text: &'a str,
    pub(super) line: usize,
}

/// The tokens of a source file without comments, literals and items under `#[cfg(test)]`.
pub(super) fn tokens(source: &str) -> Vec<Token<'_>> {
    without_tests(&scan(source))
}

/// The tokens of a source file without comments and literals.
pub(super) fn scan(source: &str) -> Vec<Token<'_>> {
    let (mut tokens, mut rest, mut line) = (Vec::new(), source, 1);
    while let Some(first) = rest.chars().next() {
        let skipped = comment(rest).or_else(|| literal(rest));
        let length =
            skipped.or_else(|| word(rest)).unwrap_or(if rest.starts_with("::") { 2 } else { first.len_utf8() });
        let (text, behind) = rest.split_at(length);
        if skipped.is_none() && !first.is_whitespace() {
            tokens.push(Token { text, line });
        }
        line += text.matches('\n').count();
        rest = behind;
    }
    tokens
}

/// The length of the identifier at the beginning, or of the number.
fn word(text: &str) -> Option<usize> {
    let length = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    (length > 0).then_some(length)
}

/// The length of the comment at the beginning. Block comments nest.
fn comment(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    let (mut depth, mut at) = (0, 0);
    loop {
        match text.as_bytes().get(at..at + 2) {
            Some(b"/*") => (depth, at) = (depth + 1, at + 2),
            Some(b"*/") if depth > 0 => (depth, at) = (depth - 1, at + 2),
            None if depth > 0 => return Some(text.len()),
            _ => at += 1,
        }
        match (depth, at) {
            (0, 1) => return None,
            (0, _) => return Some(at),
            _ => {}
        }
    }
}

/// The length of the string or character literal at the beginning, prefix included.
fn literal(text: &str) -> Option<usize> {
    let prefix = word(text).filter(|length| ["b", "c", "r", "br", "cr"].contains(&&text[..*length])).unwrap_or(0);
    let body = &text[prefix..];
    if text[..prefix].ends_with('r') {
        let hashes = body.find(|c| c != '#').filter(|hashes| body[*hashes..].starts_with('"'))?;
        let end = format!("\"{}", &body[..hashes]);
        let begin = prefix + hashes + 1;
        return Some(text[begin..].find(&end).map_or(text.len(), |length| begin + length + end.len()));
    }
    match body.chars().next()? {
        '"' => Some(prefix + quoted(body, b'"')),
        // A lifetime has no second quote: `'a`, followed by anything but a quote.
        '\'' => {
            let mut inside = body.chars().skip(1);
            let is_escaped = inside.next()? == '\\';
            (is_escaped || inside.next() == Some('\'')).then(|| prefix + quoted(body, b'\''))
        }
        _ => None,
    }
}

/// The length of a quoted text, both quotes included.
fn quoted(text: &str, quote: u8) -> usize {
    let mut bytes = text.bytes().enumerate().skip(1);
    while let Some((at, byte)) = bytes.next() {
        if byte == b'\\' {
            bytes.next();
        } else if byte == quote {
            return at + 1;
        }
    }
    text.len()
}

fn without_tests<'a>(tokens: &[Token<'a>]) -> Vec<Token<'a>> {
    let (mut kept, mut at) = (Vec::new(), 0);
    while at < tokens.len() {
        match test_attribute(&tokens[at..]) {
            Some(length) => at += length + item(&tokens[at + length..]),
            None => {
                kept.push(tokens[at]);
                at += 1;
            }
        }
    }
    kept
}

/// The number of tokens of `#[cfg(test)]`, or of another condition with `test` in it, at the beginning.
fn test_attribute(tokens: &[Token<'_>]) -> Option<usize> {
    let starts = ["#", "[", "cfg", "("];
    if tokens.len() < starts.len() || tokens.iter().zip(starts).any(|(token, wanted)| token.text != wanted) {
        return None;
    }
    let length = 1 + group(&tokens[1..]);
    let condition = &tokens[..length];
    let has = |word: &str| condition.iter().any(|token| token.text == word);
    (has("test") && !has("not")).then_some(length)
}

/// The number of tokens of the item at the beginning: to its semicolon, or to the end of its body.
fn item(tokens: &[Token<'_>]) -> usize {
    let is_use = tokens.iter().find(|token| !["pub", "(", "crate", "super", ")"].contains(&token.text));
    let is_use = is_use.is_some_and(|token| token.text == "use");
    let mut at = 0;
    while at < tokens.len() {
        let text = tokens[at].text;
        at += if matches!(text, "(" | "[" | "{") { group(&tokens[at..]) } else { 1 };
        if text == ";" || (text == "{" && !is_use) {
            break;
        }
    }
    at
}

/// The number of tokens from a bracket to the one that closes it.
fn group(tokens: &[Token<'_>]) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate() {
        match token.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    tokens.len()
}

#[cfg(test)]
mod tests;
