//! The rule about sizes: files are short.

/// Half of the files have at most this many lines.
pub(super) const MEDIAN: usize = 150;
/// No file has more lines than this.
pub(super) const LONGEST: usize = 400;
/// Files that are a single list, which is not split: the rows of the table of metrics.
const LISTS: [&str; 1] = ["monitor/src/metrics/table.rs"];

/// Returns the violations among files with their numbers of lines.
pub(super) fn violations(files: &[(String, usize)]) -> Vec<String> {
    let mut sizes: Vec<(usize, &str)> = files
        .iter()
        .filter(|(path, _)| !LISTS.contains(&path.as_str()))
        .map(|(path, lines)| (*lines, path.as_str()))
        .collect();
    sizes.sort_by(|one, other| other.cmp(one));
    let long = sizes.iter().take_while(|(lines, _)| *lines > LONGEST);
    let mut violations: Vec<String> =
        long.map(|(lines, path)| format!("{path}: {lines} lines, more than {LONGEST}")).collect();
    let is_there = |list: &&&str| files.iter().any(|(path, _)| path == **list);
    violations.extend(
        LISTS.iter().filter(|list| !is_there(list)).map(|list| format!("{list}: listed as a long file, but not there")),
    );
    let median = sizes.get(sizes.len() / 2).map_or(0, |(lines, _)| *lines);
    if median > MEDIAN {
        violations.push(format!("the median of {} files is {median} lines, more than {MEDIAN}", sizes.len()));
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, lines: usize) -> (String, usize) {
        (path.to_owned(), lines)
    }

    /// The violations of some files beside the list that may be long.
    fn found(files: &[(String, usize)]) -> Vec<String> {
        violations(&[files, &[file(LISTS[0], 1000)]].concat())
    }

    #[test]
    fn long_files_are_named_longest_first() {
        let found =
            found(&[file("a.rs", 401), file("b.rs", 400), file("c.rs", 10), file("d.rs", 500), file("e.rs", 1)]);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[0].starts_with("d.rs: 500"), "{found:?}");
        assert!(found[1].starts_with("a.rs: 401"), "{found:?}");
        assert!(found[2].starts_with("the median of 5 files is 400"), "{found:?}");
    }

    #[test]
    fn short_files_pass() {
        assert!(found(&[file("a.rs", 150), file("b.rs", 400), file("c.rs", 10)]).is_empty());
    }

    #[test]
    fn a_list_may_be_long_and_must_exist() {
        assert!(violations(&[file(LISTS[0], 1000), file("b.rs", 4)]).is_empty());
        let found = violations(&[file("b.rs", 4)]);
        assert_eq!(found, [format!("{}: listed as a long file, but not there", LISTS[0])]);
    }
}
