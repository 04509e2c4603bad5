//! Iterator programs: on each read by the agent, the kernel runs one for each cgroup or task
//! (`Documentation/bpf/bpf_iterators.rst`). One system call replaces reading thousands of files.

mod cgroups;
mod controllers;
mod load;
pub(super) mod objects;
mod tasks;
mod times;

use std::io;

use monitor_common::{Cpu, Memory};

use self::cgroups::Cgroups;
use self::controllers::Controllers;
use self::tasks::Tasks;
use self::times::Times;
use super::load::Host;
use super::part::Part;
use crate::containers::Roots;
use crate::metrics::{CONTROLLER_ITERATOR, CPU_ITERATOR, MEMORY_ITERATOR, Metric, Origin, Rows, TASK_ITERATOR};
use crate::programs::{ProgramState, State};
use crate::readings::CpuTime;
use crate::refusal::Refusal;
use crate::snapshot::{CgroupId, Coverage, Snapshot};

/// Getter of the field that feeds a metric.
type CpuField = fn(&CpuTime) -> u64;
type MemoryField = fn(&Memory) -> u64;

/// The iterators that this host allows.
#[derive(Default)]
pub(super) struct Iterators {
    cpu: Option<(Cgroups<Cpu>, Rows<CpuField>)>,
    controllers: Option<Controllers>,
    memory: Option<(Cgroups<Memory>, Rows<MemoryField>)>,
    tasks: Option<Tasks>,
    times: Times,
}

/// Loads the iterator programs for a part of the tree.
pub(super) fn open(part: &Part, roots: &Roots, host: &Host) -> (Iterators, Vec<ProgramState>) {
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
    (Iterators { cpu, controllers: controllers.ok(), memory, tasks: tasks.ok(), times: Times::default() }, programs)
}

impl Iterators {
    /// Fills in the values that the iterators find. The metrics of a failed run are read from files, and the error is
    /// returned.
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
        // The root's CPU time is not kept by rstat.
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

impl CpuTime {
    /// In whole microseconds, as the file has it.
    fn new(found: &Cpu, (user, system): (u64, u64)) -> Self {
        let whole = |nanoseconds: u64| nanoseconds / 1_000 * 1_000;
        Self { total: whole(found.total), user: whole(user), system: whole(system) }
    }
}
