//! Patterns for names and paths. Pure.

/// A pattern: `*` matches any text without a slash, `**` any text, `?` one character other than a slash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(Vec<Token>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    This(char),
    One,
    Some,
    All,
}

impl Glob {
    /// Parses a pattern.
    pub fn new(pattern: &str) -> Self {
        let mut tokens = Vec::new();
        for c in pattern.chars() {
            match (c, tokens.last()) {
                ('*', Some(Token::Some | Token::All)) => {
                    tokens.pop();
                    tokens.push(Token::All);
                }
                ('*', _) => tokens.push(Token::Some),
                ('?', _) => tokens.push(Token::One),
                (c, _) => tokens.push(Token::This(c)),
            }
        }
        Self(tokens)
    }

    /// True if the whole text matches. Takes time in proportion to the product of both lengths.
    pub fn matches(&self, text: &str) -> bool {
        let text: Vec<char> = text.chars().collect();
        // `reached[i]`: the tokens so far match the first `i` characters.
        let mut reached = vec![false; text.len() + 1];
        reached[0] = true;
        for token in &self.0 {
            let mut next = vec![false; text.len() + 1];
            for at in 0..=text.len() {
                let before = at.checked_sub(1).map(|before| (text[before], reached[before], next[before]));
                next[at] = match (*token, before) {
                    (Token::This(wanted), Some((c, true, _))) => c == wanted,
                    (Token::One, Some((c, true, _))) => c != '/',
                    (Token::This(_) | Token::One, _) => false,
                    (Token::Some, before) => reached[at] || before.is_some_and(|(c, _, goes_on)| goes_on && c != '/'),
                    (Token::All, before) => reached[at] || before.is_some_and(|(.., goes_on)| goes_on),
                };
            }
            reached = next;
        }
        reached[text.len()]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn stars_and_question_marks_are_what_they_are_in_a_shell() {
        for (pattern, text, fits) in [
            ("", "", true),
            ("*", "", true),
            ("web", "web", true),
            ("web", "web2", false),
            ("web*", "web-1", true),
            ("*-test", "a-test-test", true),
            ("?eb", "web", true),
            ("?", "/", false),
            ("/jobs/*", "/jobs/a", true),
            ("/jobs/*", "/jobs/a/b", false),
            ("/jobs/**", "/jobs/a/b", true),
            ("prod/**/app", "prod/x/y/app", true),
            ("***", "a/b", true),
            ("*ä?", "grün-äß", true),
        ] {
            assert_eq!(Glob::new(pattern).matches(text), fits, "{pattern} {text}");
        }
    }

    proptest! {
        #[test]
        fn a_text_is_of_its_own_pattern_and_of_any_with_a_part_replaced(text in "[a-z/]{0,12}", from in 0usize..12, to in 0usize..12) {
            prop_assert!(Glob::new(&text).matches(&text));
            let (from, to) = (from.min(to).min(text.len()), from.max(to).min(text.len()));
            let replaced = format!("{}**{}", &text[..from], &text[to..]);
            prop_assert!(Glob::new(&replaced).matches(&text));
        }
    }
}
