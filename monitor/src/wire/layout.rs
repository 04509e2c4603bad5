//! The places of the numbers in a document.

use crate::metrics::Metric;

type Fields = Vec<(Metric, &'static str)>;

/// The place of each number in a document.
#[derive(Default)]
pub(super) struct Layout {
    /// All of them, with their paths.
    pub(super) fields: Fields,
    /// The numbers of the contract.
    pub(super) contract: Fields,
    /// The groups of the report, in the order of the table.
    pub(super) groups: Vec<(&'static str, Fields)>,
}

impl Layout {
    /// The layout that the table gives.
    pub(super) fn new() -> Self {
        let mut layout = Self::default();
        for (metric, field) in Metric::fields() {
            layout.fields.push((metric, field));
            let Some((group, field)) = field.split_once('.') else {
                layout.contract.push((metric, field));
                continue;
            };
            // The rows of a group need not be adjacent; an object that is written twice would lose its first part.
            match layout.groups.iter_mut().find(|(known, _)| *known == group) {
                Some((_, fields)) => fields.push((metric, field)),
                None => layout.groups.push((group, vec![(metric, field)])),
            }
        }
        layout
    }
}
