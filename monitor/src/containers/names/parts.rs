//! Parts of the runtimes' JSON documents of which only a bounded amount is kept, however long they are.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::containers::info::NAME_VARIABLE;
use crate::foreign::text;

/// Bytes of labels that are kept while a document is read: Kubernetes' names are among the last.
const LABELS: usize = 64 << 10;
/// Most containers of a list.
const LISTED: usize = 10_000;

/// The first text of a list.
#[derive(Debug, Default)]
pub(super) struct FirstText(pub(super) Option<String>);

/// The value of `CONTAINER_NAME` in a list of variables.
#[derive(Debug, Default)]
pub(super) struct OwnName(pub(super) Option<String>);

/// Labels, without those that are longer than all labels of a report may be.
#[derive(Debug, Default)]
pub(super) struct Labels(pub(super) BTreeMap<String, String>);

/// The containers of a list by their ids.
#[derive(Debug)]
pub(super) struct Listed<T>(pub(super) HashMap<String, T>);

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

/// An element of a list.
pub(super) trait Element {
    /// Its id.
    fn id(&self) -> &str;
}

/// Reads a list element by element into `T`.
struct Elements<F, T, E>(F, PhantomData<(T, E)>);

impl<'de, F: Fn(&mut T, E), T: Default, E: Deserialize<'de>> Visitor<'de> for Elements<F, T, E> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_unit<X>(self) -> Result<T, X> {
        Ok(T::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<T, A::Error> {
        let mut kept = T::default();
        while let Some(element) = list.next_element()? {
            (self.0)(&mut kept, element);
        }
        Ok(kept)
    }
}

impl<'de> Deserialize<'de> for FirstText {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let keep = |kept: &mut Self, element: Cow<'_, str>| {
            kept.0.get_or_insert_with(|| text::cut(&element, text::NAME).to_owned());
        };
        from.deserialize_any(Elements(keep, PhantomData))
    }
}

impl<'de> Deserialize<'de> for OwnName {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let keep = |kept: &mut Self, element: Cow<'_, str>| {
            if let (None, Some(name)) = (&kept.0, element.strip_prefix(NAME_VARIABLE)) {
                kept.0 = Some(text::cut(name, text::NAME).to_owned());
            }
        };
        from.deserialize_any(Elements(keep, PhantomData))
    }
}

impl<'de, T: Deserialize<'de> + Element> Deserialize<'de> for Listed<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let keep = |kept: &mut Listed<T>, element: T| {
            if kept.0.len() < LISTED {
                kept.0.insert(element.id().to_owned(), element);
            }
        };
        from.deserialize_any(Elements(keep, PhantomData))
    }
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(LabelVisitor)
    }
}

struct LabelVisitor;

impl<'de> Visitor<'de> for LabelVisitor {
    type Value = Labels;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("labels")
    }

    fn visit_unit<X>(self) -> Result<Labels, X> {
        Ok(Labels::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Labels, A::Error> {
        let (mut labels, mut left) = (BTreeMap::new(), LABELS);
        while let Some(key) = map.next_key::<Cow<'_, str>>()? {
            if left < key.len() {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let value = map.next_value::<Cow<'_, str>>()?;
            let length = key.len() + value.len();
            if length <= left.min(text::LABELS) {
                left -= length;
                labels.insert(key.into_owned(), value.into_owned());
            }
        }
        Ok(Labels(labels))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_long_lists_only_what_is_looked_for_is_kept() {
        let names = format!("[\"web\"{}]", ",\"x\"".repeat(1000));
        assert_eq!(serde_json::from_str::<FirstText>(&names).unwrap().0.as_deref(), Some("web"));
        let variables = format!("[\"A=b\",\"CONTAINER_NAME={}\"]", "n".repeat(9000));
        assert_eq!(serde_json::from_str::<OwnName>(&variables).unwrap().0.unwrap().len(), text::NAME);
        assert_eq!(serde_json::from_str::<OwnName>("null").unwrap().0, None);
    }

    #[test]
    fn a_huge_label_does_not_hide_the_others_and_all_together_are_bounded() {
        let huge = format!("{{\"a\":\"{}\",\"b\":\"c\"}}", "x".repeat(100_000));
        assert_eq!(serde_json::from_str::<Labels>(&huge).unwrap().0, [("b".to_owned(), "c".to_owned())].into());
        let many: Vec<String> = (0..3000).map(|at| format!("\"{at:05}\":\"{}\"", "v".repeat(95))).collect();
        let kept = serde_json::from_str::<Labels>(&format!("{{{}}}", many.join(","))).unwrap().0;
        assert_eq!(kept.len(), LABELS / 100);
    }
}
