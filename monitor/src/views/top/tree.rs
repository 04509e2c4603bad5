//! The nesting of containers, by the paths of their cgroups.

use std::collections::BTreeMap;

use crate::views::row::Row;

/// A row's place in the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Branch {
    /// The row.
    pub row: usize,
    /// The branches before its name.
    pub prefix: String,
}

/// Arranges sorted rows as a tree: each below the nearest row that its cgroup is in, siblings in their order.
pub fn grow(rows: &[&Row]) -> Vec<Branch> {
    let by_path: BTreeMap<(&str, &str), usize> =
        rows.iter().enumerate().map(|(place, row)| ((row.host.as_str(), row.cgroup.as_str()), place)).collect();
    let mut children: BTreeMap<Option<usize>, Vec<usize>> = BTreeMap::new();
    for (place, row) in rows.iter().enumerate() {
        children.entry(parent(row, place, &by_path)).or_default().push(place);
    }
    let mut grown = Vec::new();
    for &root in children.get(&None).into_iter().flatten() {
        add(root, "", "", &children, &mut grown);
    }
    grown
}

/// The nearest row that a row's cgroup is in. Of several rows with one path only one can be a parent, and none is its
/// own.
fn parent(row: &Row, place: usize, by_path: &BTreeMap<(&str, &str), usize>) -> Option<usize> {
    let mut path = row.cgroup.trim_end_matches('/');
    while let Some((above, _)) = path.rsplit_once('/') {
        let found = by_path.get(&(row.host.as_str(), if above.is_empty() { "/" } else { above }));
        if let Some(found) = found.filter(|found| **found != place) {
            return Some(*found);
        }
        path = above;
    }
    None
}

fn add(place: usize, own: &str, below: &str, children: &BTreeMap<Option<usize>, Vec<usize>>, grown: &mut Vec<Branch>) {
    grown.push(Branch { row: place, prefix: own.to_owned() });
    let beneath = children.get(&Some(place)).map(Vec::as_slice).unwrap_or_default();
    for (number, &child) in beneath.iter().enumerate() {
        let (branch, line) = if number + 1 == beneath.len() { ("└ ", "  ") } else { ("├ ", "│ ") };
        add(child, &format!("{below}{branch}"), &format!("{below}{line}"), children, grown);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::views::sample;

    #[test]
    fn each_is_below_the_nearest_around_it() {
        let report = sample::some(1);
        let rows: Vec<Row> = report.containers.iter().map(|container| Row::of(&report, container)).collect();
        let rows: Vec<&Row> = rows.iter().collect();
        let drawn: Vec<String> =
            grow(&rows).iter().map(|branch| format!("{}{}", branch.prefix, rows[branch.row].name)).collect();
        assert_eq!(drawn[..5], ["host1", "├ web", "├ db", "│ └ db-backup", "├ job"]);
        assert_eq!(drawn.len(), rows.len());
    }
}
