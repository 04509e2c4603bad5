//! Directories that a walk skips, matched name by name on the way down.

use std::ffi::CStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// The excluded paths, as lists of names below the root.
#[derive(Debug)]
pub(super) struct Exclusions(Vec<Vec<Vec<u8>>>);

/// The excluded paths that lead through a directory, and how many names of them it is below the root.
#[derive(Debug)]
pub(super) struct Matching {
    depth: usize,
    paths: Vec<usize>,
}

impl Exclusions {
    /// Takes paths inside the root. The root itself cannot be excluded.
    pub(super) fn new(paths: &[PathBuf]) -> Self {
        let names = |path: &Path| -> Vec<Vec<u8>> {
            let components = path.components().filter_map(|component| match component {
                Component::Normal(name) => Some(name.as_bytes().to_vec()),
                _ => None,
            });
            components.collect()
        };
        Self(paths.iter().map(|path| names(path)).filter(|names| !names.is_empty()).collect())
    }

    /// Returns the excluded paths that lead through the root: all of them.
    pub(super) fn all(&self) -> Matching {
        Matching { depth: 0, paths: (0..self.0.len()).collect() }
    }

    /// True if an entry of a directory is excluded.
    pub(super) fn excludes(&self, directory: &Matching, name: &CStr) -> bool {
        self.through(directory, name).any(|path| self.0[path].len() == directory.depth + 1)
    }

    /// Returns the excluded paths that lead through a subdirectory.
    pub(super) fn below(&self, directory: &Matching, name: &CStr) -> Matching {
        Matching { depth: directory.depth + 1, paths: self.through(directory, name).collect() }
    }

    fn through<'a>(&'a self, directory: &'a Matching, name: &'a CStr) -> impl Iterator<Item = usize> {
        let has = |path: usize| self.0[path].get(directory.depth).is_some_and(|part| part == name.to_bytes());
        directory.paths.iter().copied().filter(move |path| has(*path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_excluded_where_all_its_names_match() {
        let exclusions = Exclusions::new(&["/a/b".into(), "c".into(), "/".into()]);
        let root = exclusions.all();
        assert!(exclusions.excludes(&root, c"c") && !exclusions.excludes(&root, c"a"));
        let inner = exclusions.below(&root, c"a");
        assert!(exclusions.excludes(&inner, c"b") && !exclusions.excludes(&inner, c"c"));
        let other = exclusions.below(&root, c"x");
        assert!(!exclusions.excludes(&other, c"b") && !exclusions.excludes(&exclusions.below(&inner, c"z"), c"b"));
    }
}
