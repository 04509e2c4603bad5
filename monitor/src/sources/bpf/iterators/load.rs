//! Loads an iterator program and attaches it to its target.

use std::os::fd::AsFd;

use aya::Ebpf;
use aya::programs::{Iter, ProgramError};

use super::objects::IteratorObject;
use crate::refusal::{Refusal, Step, explain};
use crate::sources::bpf::elf::elf;
use crate::sources::bpf::load::{Host, loader};
use crate::sources::bpf::sys::{Iterator, Over};

/// Loads an object and its program, with tables of `entries` entries. For tasks, `scope` is the cgroup whose subtree is
/// read; 0 reads all.
pub(super) fn load(object: &IteratorObject, entries: u32, scope: u64, host: &Host) -> Result<Ebpf, Refusal> {
    if let Some(refusal) = host.refuses(object.program) {
        return Err(refusal);
    }
    let types = host.types.as_ref().map_err(Refusal::clone)?;
    if let Some(cause) = types.facts.lacking(object.functions) {
        return Err(Refusal::new(cause, object.remedy));
    }
    let constants = types.facts.numbers(object.constants).map_err(|cause| Refusal::new(cause, object.remedy))?;
    let elf = types.facts.put_into(elf(object.name));
    let mut loader = loader();
    loader.override_global("SCOPE", &scope, false).map_max_entries(object.table, entries);
    for (name, value) in &constants {
        loader.override_global(name, value, true);
    }
    let mut ebpf =
        loader.load(bytemuck::cast_slice(&elf)).map_err(|error| explain(Step::Maps, &error, host.capabilities))?;
    let program: Result<&mut Iter, _> = ebpf
        .program_mut(object.program)
        .ok_or_else(|| ProgramError::InvalidName { name: object.program.to_owned() })
        .and_then(TryInto::try_into);
    program.and_then(|program| program.load(object.over, &types.btf)).map_err(|error| {
        tracing::debug!(program = object.program, ?error, "Iterator program not loaded");
        explain(Step::LoadTracing, &error, host.capabilities)
    })?;
    Ok(ebpf)
}

/// Attaches the program of a loaded object to its target.
pub(super) fn bind(ebpf: &Ebpf, object: &IteratorObject, over: Over<'_>, host: &Host) -> Result<Iterator, Refusal> {
    let program = ebpf.program(object.program).and_then(|program| program.fd().ok());
    let program = program.ok_or_else(|| Refusal { cause: "it is not loaded".to_owned(), remedy: None })?;
    let bound = Iterator::new(program.as_fd(), over);
    bound.map_err(|error| explain(Step::AttachIterator, &error, host.capabilities))
}
