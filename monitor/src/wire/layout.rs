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
            match (field.split_once('.'), layout.groups.last_mut()) {
                (None, _) => layout.contract.push((metric, field)),
                (Some((group, field)), Some((last, fields))) if *last == group => fields.push((metric, field)),
                (Some((group, field)), _) => layout.groups.push((group, vec![(metric, field)])),
            }
        }
        layout
    }
}
