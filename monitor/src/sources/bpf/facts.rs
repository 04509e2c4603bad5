//! Facts about the running kernel that the programs need: offsets of fields, and functions.

use std::collections::BTreeMap;

use monitor_common::kernel::{CAST, FLUSH, FUNCTIONS};

use super::btf::Layouts;

/// A constant of an object, and the fact that it is set to.
pub(super) type Constant = (&'static str, Fact);

/// A fact that differs from kernel to kernel.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fact {
    /// The offset of a field, by structure and path.
    Field(&'static str, &'static str),
    /// The offset of a field that has moved: the first of these paths that exists.
    FirstOf(&'static str, &'static [&'static str]),
    /// The value of a constant, by enumeration and name.
    Value(&'static str, &'static str),
    /// The value of an optional constant; 0 if the kernel lacks it.
    ValueIfAny(&'static str, &'static str),
    /// The number of elements of an optional field; 0 if the kernel lacks it.
    LengthIfAny(&'static str, &'static str),
    /// The offset in `struct cgroup` of the pointer to a controller's state, by its constant of
    /// `enum cgroup_subsys_id`; 0 if the kernel is built without the controller.
    Controller(&'static str),
    /// The BTF id of a structure that a program casts memory to; 0 if the kernel does not allow casts, or if the
    /// structure lacks the field.
    Castable(&'static str, &'static str),
    /// The offset of a field that is needed only where casts are allowed; 0 if the kernel lacks it.
    IfAny(&'static str, &'static str),
    /// The offset in `struct cgroup` of the argument of the function that flushes CPU time: `self` since the function
    /// takes a state, 0 while it took the cgroup.
    Flushed,
}

impl Fact {
    /// Returns the number, or the name of what the kernel lacks.
    pub(super) fn of(self, kernel: &Layouts) -> Result<u64, String> {
        let field = |structure, path| {
            kernel.offset(structure, path).ok_or_else(|| format!("this kernel has no {structure}.{path}"))
        };
        let value =
            |enumeration, name| kernel.constant(enumeration, name).ok_or_else(|| format!("this kernel has no {name}"));
        match self {
            Self::Field(structure, path) => field(structure, path),
            Self::FirstOf(structure, paths) => {
                let found = paths.iter().find_map(|path| kernel.offset(structure, path));
                found.ok_or_else(|| format!("this kernel has no {structure}.{}", paths.join(" or ")))
            }
            Self::Value(enumeration, name) => value(enumeration, name),
            Self::ValueIfAny(enumeration, name) => Ok(kernel.constant(enumeration, name).unwrap_or_default()),
            Self::LengthIfAny(structure, path) => Ok(kernel.length(structure, path).unwrap_or_default()),
            Self::Controller(name) => {
                let states = field("cgroup", "subsys")?;
                Ok(kernel.constant("cgroup_subsys_id", name).map_or(0, |at| states + at * 8))
            }
            Self::Castable(structure, path) => Ok(function(kernel, CAST)
                .and(kernel.offset(structure, path))
                .and(kernel.structure(structure))
                .map_or(0, u64::from)),
            Self::IfAny(structure, path) => Ok(kernel.offset(structure, path).unwrap_or_default()),
            Self::Flushed => match names(FLUSH).first().and_then(|now| kernel.function(now)) {
                Some(_) => field("cgroup", "self"),
                None => Ok(0),
            },
        }
    }
}

/// All facts, gathered once: the kernel's BTF takes megabytes and is not kept.
#[derive(Debug)]
pub(super) struct Facts {
    constants: BTreeMap<&'static str, Result<u64, String>>,
    /// The id of each function that the kernel has, by its placeholder.
    functions: BTreeMap<u32, u32>,
}

impl Facts {
    /// Looks up these constants and all functions.
    pub(super) fn gather(kernel: &Layouts, constants: impl Iterator<Item = Constant>) -> Self {
        let ids = FUNCTIONS.iter().filter_map(|(placeholder, _)| Some((*placeholder, function(kernel, *placeholder)?)));
        Self { constants: constants.map(|(name, fact)| (name, fact.of(kernel))).collect(), functions: ids.collect() }
    }

    /// Returns the values of an object's constants, or the name of what the kernel lacks.
    pub(super) fn numbers(&self, constants: &[Constant]) -> Result<Vec<(&'static str, u64)>, String> {
        constants.iter().map(|(name, _)| Ok((*name, self.constant(name)?))).collect()
    }

    fn constant(&self, name: &'static str) -> Result<u64, String> {
        self.constants.get(name).cloned().unwrap_or_else(|| Err(format!("unknown kernel fact {name}")))
    }

    /// Returns the first of these functions that this kernel lacks, by all its names.
    pub(super) fn lacking(&self, placeholders: &[u32]) -> Option<String> {
        let missing = placeholders.iter().find(|placeholder| !self.functions.contains_key(placeholder));
        missing.map(|placeholder| format!("this kernel has no {}", names(*placeholder).join(" or ")))
    }

    /// Returns the object with the placeholders replaced by this kernel's function ids. A missing function becomes 0,
    /// which is not a valid id: the verifier accepts it only in a branch that is never taken.
    pub(super) fn put_into(&self, elf: &[u8]) -> Vec<u64> {
        let mut words = vec![0u64; elf.len().div_ceil(8)];
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut words);
        bytes[..elf.len()].copy_from_slice(elf);
        // BPF_JMP | BPF_CALL, with BPF_PSEUDO_KFUNC_CALL as its source register, and the function id in the upper half.
        let call = |id: u32| (u64::from(id) << 32 | 0x2085).to_le();
        for (placeholder, _) in FUNCTIONS {
            let id = self.functions.get(placeholder).copied().unwrap_or_default();
            words.iter_mut().filter(|word| **word == call(*placeholder)).for_each(|word| *word = call(id));
        }
        words
    }
}

/// Returns the current and former names of a function.
fn names(placeholder: u32) -> &'static [&'static str] {
    FUNCTIONS.iter().find(|(known, _)| *known == placeholder).map_or(&[], |(_, names)| names)
}

/// Returns the id of a function in this kernel.
fn function(kernel: &Layouts, placeholder: u32) -> Option<u32> {
    names(placeholder).iter().find_map(|name| kernel.function(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_give_way_to_ids_and_nothing_else_changes() {
        let facts = Facts { constants: BTreeMap::new(), functions: BTreeMap::from([(FLUSH, 77)]) };
        let mut elf = vec![1; 8];
        for placeholder in [FLUSH, CAST] {
            elf.extend([0x85, 0x20, 0, 0]);
            elf.extend(placeholder.to_le_bytes());
        }
        elf.push(9);
        let words = facts.put_into(&elf);
        let bytes: &[u8] = bytemuck::cast_slice(&words);
        let mut expected = vec![1, 1, 1, 1, 1, 1, 1, 1, 0x85, 0x20, 0, 0, 77, 0, 0, 0, 0x85, 0x20, 0, 0, 0, 0, 0, 0, 9];
        expected.resize(32, 0);
        assert_eq!(bytes, expected);
        assert_eq!(facts.lacking(&[FLUSH]), None);
        assert_eq!(facts.lacking(&[FLUSH, CAST]).as_deref(), Some("this kernel has no bpf_rdonly_cast"));
    }
}
