//! The compiled objects inside this binary.

// `ELF`: name and content of each object. The content is empty if the objects were missing at build time.
include!(concat!(env!("OUT_DIR"), "/objects.rs"));

/// All objects: name and content, which is empty if this binary was built without them.
pub fn objects() -> impl Iterator<Item = (&'static str, &'static [u8])> {
    ELF.iter().copied()
}

/// Returns the content of the object with this name.
pub(super) fn elf(name: &str) -> &'static [u8] {
    ELF.iter().find(|(known, _)| *known == name).map_or(&[], |(_, content)| content)
}

#[cfg(test)]
mod tests {
    use crate::programs;

    #[test]
    fn all_objects_are_there_or_none_is() {
        assert!(super::objects().all(|(_, content)| content.is_empty() != programs::are_built()));
    }
}
