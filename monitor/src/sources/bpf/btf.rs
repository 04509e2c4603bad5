//! Offsets of fields in the running kernel's structures, from its BTF (`Documentation/bpf/btf.rst`): they differ from
//! build to build.

use std::cell::Cell;

const MAGIC: u16 = 0xEB9F;
const HEADER: usize = 24;

/// `BTF_KIND_ARRAY`, `BTF_KIND_STRUCT` and `BTF_KIND_UNION`.
const ARRAY: u32 = 3;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
/// `BTF_KIND_ENUM` and `BTF_KIND_FUNC`.
const ENUMERATION: u32 = 6;
const FUNCTION: u32 = 12;

/// The kinds of types that are looked up by name.
const NAMED: [u32; 3] = [STRUCT, ENUMERATION, FUNCTION];

/// The kernel's types.
#[derive(Debug)]
pub struct Layouts {
    bytes: Vec<u8>,
    types: Vec<usize>,
    /// The offsets of the types of each kind in [`NAMED`]: about a tenth of all types.
    named: [Vec<u32>; NAMED.len()],
    strings: usize,
    /// The structure found last, cached because its fields are looked up one after another.
    last: Cell<Option<(&'static str, (u32, usize))>>,
}

impl Layouts {
    /// Parses the content of `/sys/kernel/btf/vmlinux`; `None` if it is not BTF, or contains an unknown kind.
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
        let mut named = [const { Vec::new() }; NAMED.len()];
        let mut at = begin;
        while at < end {
            let info = word(at.checked_add(4)?)?;
            if let Some(kind) = NAMED.iter().position(|kind| *kind == info >> 24 & 0x1f) {
                named[kind].push(u32::try_from(types.len()).ok()?);
            }
            types.push(at);
            at = at.checked_add(12)?.checked_add(tail(info)?)?;
        }
        Some(Self { bytes, types, named, strings, last: Cell::new(None) })
    }

    /// Returns the byte offset of a field of a named structure, or of a nested field, as in `a.b`. Anonymous structures
    /// and unions are searched too.
    pub fn offset(&self, structure: &'static str, path: &str) -> Option<u64> {
        Some(u64::from(self.member(structure, path)?.0 / 8))
    }

    /// Returns the number of elements of an array field.
    pub fn length(&self, structure: &'static str, path: &str) -> Option<u64> {
        let array = self.bare(self.member(structure, path)?.1)?;
        (self.kind(array)? == ARRAY).then(|| word(&self.bytes, array.checked_add(20)?).map(u64::from))?
    }

    /// Returns the bit offset of a field, and the position of its type.
    fn member(&self, structure: &'static str, path: &str) -> Option<(u32, usize)> {
        let mut at = self.find_structure(structure)?.1;
        let mut bits = 0u32;
        for field in path.split('.') {
            let (offset, kind) = self.field(self.bare(at)?, field, 4)?;
            (bits, at) = (bits.checked_add(offset)?, kind);
        }
        Some((bits, at))
    }

    /// Returns the id of a named structure.
    pub fn structure(&self, name: &'static str) -> Option<u32> {
        Some(self.find_structure(name)?.0)
    }

    /// Returns the id of a function.
    pub fn function(&self, name: &str) -> Option<u32> {
        Some(self.find(FUNCTION, name)?.0)
    }

    /// Returns the value of a constant of an enumeration; with an empty name, of any anonymous enumeration.
    pub fn constant(&self, enumeration: &str, name: &str) -> Option<u64> {
        self.called(ENUMERATION, enumeration).find_map(|(_, at)| {
            let count = word(&self.bytes, at.checked_add(4)?)? & 0xffff;
            (0..usize::try_from(count).ok()?)
                .map(|member| at + 12 + member * 8)
                .find(|&member| self.is_called(member, name))
                .and_then(|member| word(&self.bytes, member + 4).map(u64::from))
        })
    }

    fn find_structure(&self, name: &'static str) -> Option<(u32, usize)> {
        if let Some((last, found)) = self.last.get()
            && last == name
        {
            return Some(found);
        }
        let found = self.find(STRUCT, name)?;
        self.last.set(Some((name, found)));
        Some(found)
    }

    /// Returns the id and the position of a type.
    fn find(&self, kind: u32, name: &str) -> Option<(u32, usize)> {
        self.called(kind, name).next()
    }

    fn called(&self, kind: u32, name: &str) -> impl Iterator<Item = (u32, usize)> {
        let named = NAMED.iter().position(|known| *known == kind).map_or(&[][..], |kind| &self.named[kind]);
        let all = named.iter().filter_map(|id| Some((*id, self.described(*id)?)));
        all.filter(move |&(_, at)| self.is_called(at, name))
    }

    /// Resolves typedefs and qualifiers to the structure or union behind them.
    fn bare(&self, mut at: usize) -> Option<usize> {
        for _ in 0..8 {
            match self.kind(at)? {
                // Typedef, volatile, const, restrict, type tag.
                8..=11 | 18 => at = self.described(word(&self.bytes, at.checked_add(8)?)?)?,
                _ => break,
            }
        }
        Some(at)
    }

    fn described(&self, id: u32) -> Option<usize> {
        self.types.get(usize::try_from(id).ok()?).copied()
    }

    /// Returns the bit offset of a field, and the position of its type.
    fn field(&self, at: usize, field: &str, depth: u8) -> Option<(u32, usize)> {
        if !matches!(self.kind(at), Some(STRUCT | UNION)) {
            return None;
        }
        let count = word(&self.bytes, at.checked_add(4)?)? & 0xffff;
        for member in 0..usize::try_from(count).ok()? {
            let member = at.checked_add(12 + member * 12)?;
            let bits = word(&self.bytes, member.checked_add(8)?)? & 0x00ff_ffff;
            let kind = self.described(word(&self.bytes, member.checked_add(4)?)?)?;
            if self.is_called(member, field) {
                return Some((bits, kind));
            }
            if self.is_called(member, "")
                && depth > 0
                && let Some((found, kind)) = self.field(kind, field, depth - 1)
            {
                return Some((bits + found, kind));
            }
        }
        None
    }

    fn kind(&self, at: usize) -> Option<u32> {
        Some(word(&self.bytes, at.checked_add(4)?)? >> 24 & 0x1f)
    }

    /// True if this is the name of the type or member at `at`.
    fn is_called(&self, at: usize, name: &str) -> bool {
        let start = word(&self.bytes, at).and_then(|name| self.strings.checked_add(usize::try_from(name).ok()?));
        let text = start.and_then(|start| self.bytes.get(start..));
        text.and_then(|text| text.strip_prefix(name.as_bytes())).is_some_and(|rest| rest.first() == Some(&0))
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

/// Returns the number of bytes behind the twelve-byte header of a type (`include/uapi/linux/btf.h`).
fn tail(info: u32) -> Option<usize> {
    let entries = usize::try_from(info & 0xffff).ok()?;
    Some(match info >> 24 & 0x1f {
        // Pointer, forward declaration, typedef, volatile, const, restrict, function, float, type tag.
        2 | 7 | 8 | 9 | 10 | 11 | 12 | 16 | 18 => 0,
        // Integer, variable, declaration tag.
        1 | 14 | 17 => 4,
        ARRAY => 12,
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

    /// Hand-made BTF of `struct { int a; }`, `struct outer { int x; struct { … }; int live; const struct { … } in; }`,
    /// `enum order { FIRST = 7 }` `int run()`, `enum { ONLY = 9 }` and `struct list { int[6]; }`.
    fn sample() -> Vec<u8> {
        let strings = b"\0int\0outer\0x\0a\0live\0in\0order\0FIRST\0run\0ONLY\0list\0items\0";
        let mut types: Vec<u32> = Vec::new();
        types.extend([1, 1 << 24, 4, 32]);
        types.extend([0, STRUCT << 24 | 1, 4, 13, 1, 0]);
        types.extend([5, STRUCT << 24 | 4, 16, 11, 1, 0, 0, 2, 32, 15, 1, 64, 20, 4, 96]);
        types.extend([0, 10 << 24, 2]);
        types.extend([23, ENUMERATION << 24 | 1, 4, 29, 7]);
        types.extend([35, FUNCTION << 24, 0]);
        types.extend([0, ENUMERATION << 24 | 1, 4, 39, 9]);
        types.extend([0, ARRAY << 24, 0, 1, 1, 6]);
        types.extend([44, STRUCT << 24 | 1, 24, 49, 8, 0]);
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
        assert_eq!(layouts.offset("outer", "in.a"), Some(12));
        assert_eq!(layouts.offset("outer", "x.a"), None);
        assert_eq!(layouts.offset("outer", "gone"), None);
        assert_eq!(layouts.offset("gone", "x"), None);
    }

    #[test]
    fn types_and_constants_are_found_by_name() {
        let layouts = Layouts::parse(sample()).unwrap();
        assert_eq!((layouts.structure("outer"), layouts.function("run")), (Some(3), Some(6)));
        assert_eq!((layouts.structure("run"), layouts.function("outer")), (None, None));
        assert_eq!((layouts.constant("order", "FIRST"), layouts.constant("order", "LAST")), (Some(7), None));
        assert_eq!((layouts.constant("", "ONLY"), layouts.constant("", "FIRST")), (Some(9), None));
        assert_eq!((layouts.length("list", "items"), layouts.length("outer", "x")), (Some(6), None));
    }

    #[test]
    fn this_kernels_description_has_the_fields_that_the_programs_need() {
        let Ok(bytes) = crate::foreign::read("/sys/kernel/btf/vmlinux".as_ref(), 64 << 20) else {
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
                    let _total = (layouts.offset("outer", "in.a"), layouts.constant("order", "FIRST"), layouts.function("run"));
                }
            }
        }
    }
}
