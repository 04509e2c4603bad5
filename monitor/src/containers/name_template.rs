//! Template of the names under which containers are reported. Pure.

use std::collections::BTreeMap;

use super::info::{KUBERNETES_NAMESPACE, KUBERNETES_POD};
use crate::foreign::text;

/// The words of a template, each in braces.
const WORDS: [(&str, Word); 5] =
    [("name", Word::Name), ("host", Word::Host), ("id", Word::Id), ("namespace", Word::Namespace), ("pod", Word::Pod)];

/// A text with words in braces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameTemplate(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Word(Word),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Name,
    Host,
    Id,
    Namespace,
    Pod,
}

impl Default for NameTemplate {
    /// The container's own name.
    fn default() -> Self {
        Self(vec![Part::Word(Word::Name)])
    }
}

impl NameTemplate {
    /// Parses a template.
    ///
    /// # Errors
    /// An unknown word, or a template that gives containers the same name; the text completes "SETTING VALUE: …".
    pub fn parse(text: &str) -> Result<Self, String> {
        let known = "{name}, {host}, {id}, {namespace}, {pod}";
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (word, behind) = after.split_once('}').ok_or_else(|| "has a { without a }".to_owned())?;
            let found = WORDS.iter().find(|(name, _)| *name == word);
            let (_, word) = found.ok_or_else(|| format!("has the word {{{word}}}; known are {known}"))?;
            parts.extend([Part::Text(before.to_owned()), Part::Word(*word)]);
            rest = behind;
        }
        parts.push(Part::Text(rest.to_owned()));
        parts.retain(|part| !matches!(part, Part::Text(text) if text.is_empty()));
        if parts.iter().any(|part| matches!(part, Part::Word(Word::Name | Word::Id))) {
            Ok(Self(parts))
        } else {
            Err("has neither {name} nor {id}, which tell the containers of a machine apart".to_owned())
        }
    }

    /// Makes the name of a container that goes by `name`. A word of Kubernetes is empty elsewhere.
    pub(super) fn name(&self, name: &str, id: &str, host: &str, labels: &BTreeMap<String, String>) -> String {
        let label = |key: &str| labels.get(key).map_or("", String::as_str);
        let parts = self.0.iter().map(|part| match part {
            Part::Text(text) => text,
            Part::Word(Word::Name) => name,
            Part::Word(Word::Host) => host,
            Part::Word(Word::Id) => id,
            Part::Word(Word::Namespace) => label(KUBERNETES_NAMESPACE),
            Part::Word(Word::Pod) => label(KUBERNETES_POD),
        });
        text::cut(&parts.collect::<String>(), text::NAME).to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_replaced_once_and_the_rest_stays() {
        let labels = [("io.kubernetes.pod.namespace", "shop"), ("io.kubernetes.pod.name", "web-0")];
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let made = |text: &str| NameTemplate::parse(text).unwrap().name("{host}", "0123", "hosta", &labels);
        assert_eq!(made("{name}"), "{host}");
        assert_eq!(made("{host}/{name}"), "hosta/{host}");
        assert_eq!(made("{namespace}.{pod}.{id}}"), "shop.web-0.0123}");
        assert_eq!(NameTemplate::parse("{name}"), Ok(NameTemplate::default()));
    }

    #[test]
    fn a_template_that_tells_no_containers_apart_is_refused() {
        for (text, words) in [("{host}", "neither"), ("", "neither"), ("{name", "without a }"), ("{nam}", "{nam}")] {
            assert!(NameTemplate::parse(text).unwrap_err().contains(words), "{text}");
        }
    }
}
