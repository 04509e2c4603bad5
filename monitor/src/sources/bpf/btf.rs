//! Where the fields of the running kernel's structures are, from its own description
//! (`Documentation/bpf/btf.rst`): they differ from build to build.

const MAGIC: u16 = 0xEB9F;
const HEADER: usize = 24;

/// `BTF_KIND_STRUCT` and `BTF_KIND_UNION`.
const STRUCT: u32 = 4;
const UNION: u32 = 5;

/// The description.
#[derive(Debug)]
pub struct Layouts {
    bytes: Vec<u8>,
    types: Vec<usize>,
    strings: usize,
}

impl Layouts {
    /// Takes the content of `/sys/kernel/btf/vmlinux`. `None` if it is none, or of a kind that this reader does not know.
    pub fn parse(bytes: Vec<u8>) -> Option<Self> {
        let word = |at: usize| word(&bytes, at);
        if bytes.get(..2)? != MAGIC.to_le_bytes() {
            return None;
        }
        let header = usize::try_from(word(4)?).ok().filter(|length| *length >= HEADER)?;
        let begin = header.checked_add(usize::try_from(word(8)?).ok()?)?;
        let end = begin.checked_add(usize::try_from(word(12)?).ok()?)?;
        let strings = header.checked_add(usize::try_from(word(16)?).ok()?)?;
        // Type 0 is `void`, which has no entry.
        let mut types = vec![usize::MAX];
        let mut at = begin;
        while at < end {
            types.push(at);
            at = at.checked_add(12)?.checked_add(tail(word(at.checked_add(4)?)?)?)?;
        }
        Some(Self { bytes, types, strings })
    }

    /// The offset in bytes of a field of a named structure; anonymous structures and unions in between are looked into.
    pub fn offset(&self, structure: &str, field: &str) -> Option<u64> {
        let at = self
            .types
            .iter()
            .copied()
            .find(|&at| self.kind(at) == Some(STRUCT) && self.name(at) == Some(structure.as_bytes()))?;
        self.field(at, field, 4).map(|bits| u64::from(bits / 8))
    }

    fn field(&self, at: usize, field: &str, depth: u8) -> Option<u32> {
        let count = word(&self.bytes, at.checked_add(4)?)? & 0xffff;
        for member in 0..usize::try_from(count).ok()? {
            let member = at.checked_add(12 + member * 12)?;
            let bits = word(&self.bytes, member.checked_add(8)?)? & 0x00ff_ffff;
            let name = self.name(member)?;
            if name == field.as_bytes() {
                return Some(bits);
            }
            if name.is_empty() && depth > 0 {
                let inner = *self.types.get(usize::try_from(word(&self.bytes, member.checked_add(4)?)?).ok()?)?;
                if let (Some(STRUCT | UNION), Some(found)) = (self.kind(inner), self.field(inner, field, depth - 1)) {
                    return Some(bits + found);
                }
            }
        }
        None
    }

    fn kind(&self, at: usize) -> Option<u32> {
        Some(word(&self.bytes, at.checked_add(4)?)? >> 24 & 0x1f)
    }

    /// The name of what begins at `at`: both types and members begin with it.
    fn name(&self, at: usize) -> Option<&[u8]> {
        let start = self.strings.checked_add(usize::try_from(word(&self.bytes, at)?).ok()?)?;
        let text = self.bytes.get(start..)?;
        text.get(..text.iter().position(|&byte| byte == 0)?)
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

/// Bytes that follow the twelve of each type (`include/uapi/linux/btf.h`).
fn tail(info: u32) -> Option<usize> {
    let entries = usize::try_from(info & 0xffff).ok()?;
    Some(match info >> 24 & 0x1f {
        // Pointer, forward declaration, typedef, volatile, const, restrict, function, float, type tag.
        2 | 7 | 8 | 9 | 10 | 11 | 12 | 16 | 18 => 0,
        // Integer, variable, declaration tag.
        1 | 14 | 17 => 4,
        // Array.
        3 => 12,
        STRUCT | UNION => 12 * entries,
        // Enumeration, function prototype.
        6 | 13 => 8 * entries,
        // Data section, 64-bit enumeration.
        15 | 19 => 12 * entries,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `struct inner { int a; }`, `struct outer { int x; struct { int a; … }; int *live; }` by hand.
    fn sample() -> Vec<u8> {
        let strings = b"\0int\0outer\0x\0a\0live\0";
        let mut types: Vec<u32> = Vec::new();
        types.extend([1, 1 << 24, 4, 32]);
        types.extend([0, STRUCT << 24 | 1, 4, 13, 1, 0]);
        types.extend([5, STRUCT << 24 | 3, 16, 11, 1, 0, 0, 2, 32, 15, 1, 64]);
        let types: Vec<u8> = types.into_iter().flat_map(u32::to_le_bytes).collect();
        let mut bytes = vec![0x9f, 0xeb, 1, 0];
        for field in [24, 0, types.len(), types.len(), strings.len()] {
            bytes.extend(u32::try_from(field).unwrap().to_le_bytes());
        }
        bytes.extend(types);
        bytes.extend(strings);
        bytes
    }

    #[test]
    fn fields_are_found_through_anonymous_structures() {
        let layouts = Layouts::parse(sample()).unwrap();
        assert_eq!(layouts.offset("outer", "x"), Some(0));
        assert_eq!(layouts.offset("outer", "a"), Some(4));
        assert_eq!(layouts.offset("outer", "live"), Some(8));
        assert_eq!(layouts.offset("outer", "gone"), None);
        assert_eq!(layouts.offset("gone", "x"), None);
    }

    #[test]
    fn this_kernels_description_has_the_fields_that_the_programs_need() {
        let Ok(bytes) = std::fs::read("/sys/kernel/btf/vmlinux") else {
            eprintln!("SKIPPED: /sys/kernel/btf/vmlinux cannot be read here");
            return;
        };
        let layouts = Layouts::parse(bytes).unwrap();
        for (structure, field) in [("task_struct", "tgid"), ("task_struct", "signal"), ("signal_struct", "live")] {
            assert!(layouts.offset(structure, field).unwrap() > 0, "{structure}.{field}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_description_or_none(noise in proptest::collection::vec(any::<u8>(), 0..200), cut in 0usize..200, at in 0usize..200, byte: u8) {
            let mut bytes = sample();
            bytes.truncate(cut.max(24));
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
            for bytes in [noise, bytes] {
                if let Some(layouts) = Layouts::parse(bytes) {
                    let _total = layouts.offset("outer", "a");
                }
            }
        }
    }
}
