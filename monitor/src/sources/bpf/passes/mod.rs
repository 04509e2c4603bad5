//! Passes: programs that the kernel runs once per cgroup, or once per task, whenever the agent asks for it
//! (`Documentation/bpf/bpf_iterators.rst`). One system call reads what would take thousands of files.

mod cgroups;
mod controllers;
mod objects;
mod tasks;

use std::collections::BTreeMap;
use std::io;

use aya::Ebpf;
use aya::programs::{Iter, ProgramError};
use monitor_common::{Cpu, Memory};

use self::cgroups::Cgroups;
use self::controllers::Controllers;
use self::objects::Object;
use self::tasks::Tasks;
use super::facts::Constant;
use super::load::{Host, loader};
use super::sys::{Iterator, Over};
use super::{Part, ProgramState, State};
use crate::containers::Roots;
use crate::metrics::{CONTROLLER_ITERATOR, CPU_ITERATOR, MEMORY_ITERATOR, Metric, Origin, Rows, TASK_ITERATOR};
use crate::readings::CpuTime;
use crate::refusal::{BPF, Capability, PERFMON, Refusal, Step, explain};
use crate::snapshot::{CgroupId, Coverage, Snapshot};

/// The programs' names.
pub(super) const NAMES: [&str; 4] = [CPU_ITERATOR, CONTROLLER_ITERATOR, MEMORY_ITERATOR, TASK_ITERATOR];

const OBJECTS: [&Object; 4] = [&objects::CPU, &objects::CONTROLLERS, &objects::MEMORY, &objects::TASKS];

/// The capabilities that each of them takes.
pub(super) const TAKES: &[Capability] = &[BPF, PERFMON];

/// The objects that they are in: name and content.
pub(super) fn objects() -> impl std::iter::Iterator<Item = (&'static str, &'static [u8])> {
    OBJECTS.into_iter().map(|object| (object.name, object.elf))
}

/// All that the objects must be told.
pub(super) fn constants() -> impl std::iter::Iterator<Item = Constant> {
    OBJECTS.into_iter().flat_map(|object| object.constants).copied()
}

/// What a row picks.
type CpuField = fn(&CpuTime) -> u64;
type MemoryField = fn(&Memory) -> u64;

/// The passes that this host allows.
#[derive(Default)]
pub(super) struct Passes {
    cpu: Option<(Cgroups<Cpu>, Rows<CpuField>)>,
    controllers: Option<Controllers>,
    memory: Option<(Cgroups<Memory>, Rows<MemoryField>)>,
    tasks: Option<Tasks>,
    times: Times,
}

/// CPU time of each cgroup: all of it, exactly, if the latest pass has found it, and user and system time as they were told
/// the last time.
#[derive(Default)]
struct Times(BTreeMap<CgroupId, (Option<u64>, (u64, u64))>);

impl Times {
    /// All of it, in nanoseconds.
    fn total(&self, id: CgroupId) -> Option<u64> {
        self.0.get(&id)?.0
    }
}

/// Loads the programs of the passes over a part of the tree.
pub(super) fn open(part: &Part, roots: &Roots, host: &Host) -> (Passes, Vec<ProgramState>) {
    let mut programs = Vec::new();
    let mut note = |name, refusal: Option<&Refusal>| {
        let state = refusal.map_or(State::Attached, |refusal| State::Refused(refusal.clone()));
        programs.push(ProgramState { name, state });
    };
    let v2 = || part.top.iter().cloned().collect();
    let cpu = Cgroups::open(&objects::CPU, v2(), part.scope, roots, host);
    note(CPU_ITERATOR, cpu.as_ref().err());
    let controllers = Controllers::open(part, roots, host);
    note(CONTROLLER_ITERATOR, controllers.as_ref().err());
    let memory = Cgroups::open(&objects::MEMORY, v2(), part.scope, roots, host);
    note(MEMORY_ITERATOR, memory.as_ref().err());
    let tasks = Tasks::open(part, roots, host);
    note(TASK_ITERATOR, tasks.as_ref().err());
    let of_cpu = Metric::fed_by(|origin| match origin {
        Origin::CpuIterator(pick) => Some(*pick),
        _ => None,
    });
    let of_memory = Metric::fed_by(|origin| match origin {
        Origin::MemoryIterator(pick) => Some(*pick),
        _ => None,
    });
    let (cpu, memory) = (cpu.ok().zip(Some(of_cpu)), memory.ok().zip(Some(of_memory)));
    (Passes { cpu, controllers: controllers.ok(), memory, tasks: tasks.ok(), times: Times::default() }, programs)
}

impl Passes {
    /// Fills in what the passes find. A pass that fails leaves its numbers to the files, and says why.
    pub(super) fn sample(&mut self, into: &mut Snapshot) -> io::Result<()> {
        let cpu = self.cpu.as_mut().map_or(Ok(()), |(cpu, rows)| fill_cpu(cpu, rows, &mut self.times, into));
        let controllers = self.controllers.as_mut().map_or(Ok(()), |controllers| controllers.sample(&self.times, into));
        let memory = self.memory.as_mut().map_or(Ok(()), |(memory, rows)| fill_memory(memory, rows, into));
        let tasks = self.tasks.as_mut().map_or(Ok(()), |tasks| tasks.sample(into));
        cpu.and(controllers).and(memory).and(tasks)
    }
}

fn fill_cpu(cpu: &mut Cgroups<Cpu>, rows: &Rows<CpuField>, times: &mut Times, into: &mut Snapshot) -> io::Result<()> {
    if into.coverage == Coverage::All {
        times.0.retain(|id, _| into.cgroups.contains_key(id));
    }
    times.0.values_mut().for_each(|(total, _)| *total = None);
    for found in cpu.pass(0)? {
        let id = CgroupId(found.cgroup);
        // The root's time is not counted here.
        let Some(cgroup) = into.cgroups.get_mut(&id).filter(|cgroup| !cgroup.identity.is_root) else { continue };
        let (total, told) = times.0.entry(id).or_default();
        (*total, *told) = (Some(found.total), found.divided(*told));
        let time = CpuTime::new(found, *told);
        cgroup.values.fill(rows, |pick| Ok(pick(&time)));
    }
    Ok(())
}

fn fill_memory(memory: &mut Cgroups<Memory>, rows: &Rows<MemoryField>, into: &mut Snapshot) -> io::Result<()> {
    for found in memory.pass(0)?.iter().filter(|found| found.has_memory != 0) {
        let cgroup = into.cgroups.get_mut(&CgroupId(found.cgroup));
        let Some(cgroup) = cgroup.filter(|cgroup| !cgroup.identity.is_root) else { continue };
        cgroup.values.fill(rows, |pick| Ok(pick(found)));
    }
    Ok(())
}

/// Loads an object and its program: with tables of so many entries, for the tasks of a cgroup and those below it (0 for all).
fn load(object: &Object, entries: u32, scope: u64, host: &Host) -> Result<Ebpf, Refusal> {
    if let Some(refusal) = host.refuses(object.program) {
        return Err(refusal);
    }
    let types = host.types.as_ref().map_err(Refusal::clone)?;
    if let Some(cause) = types.facts.lacking(object.functions) {
        return Err(Refusal::new(cause, object.cure));
    }
    let constants = types.facts.numbers(object.constants).map_err(|cause| Refusal::new(cause, object.cure))?;
    let elf = types.facts.put_into(object.elf);
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
        tracing::debug!("{}: {error:?}", object.program);
        explain(Step::LoadTracing, &error, host.capabilities)
    })?;
    Ok(ebpf)
}

/// Binds the program of a loaded object to what it goes through.
fn bind(ebpf: &Ebpf, object: &Object, over: Over<'_>, host: &Host) -> Result<Iterator, Refusal> {
    let program = ebpf.program(object.program).and_then(|program| program.fd().ok());
    let program = program.ok_or_else(|| Refusal { cause: "it is not loaded".to_owned(), cure: None })?;
    let bound = Iterator::new(std::os::fd::AsFd::as_fd(program), over);
    bound.map_err(|error| explain(Step::AttachIterator, &error, host.capabilities))
}

impl CpuTime {
    /// As the file has it, which tells whole microseconds.
    fn new(found: &Cpu, (user, system): (u64, u64)) -> Self {
        let whole = |nanoseconds: u64| nanoseconds / 1_000 * 1_000;
        Self { total: whole(found.total), user: whole(user), system: whole(system) }
    }
}
