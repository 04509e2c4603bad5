//! Loads and attaches each program on its own, so that one refusal does not affect the others.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use aya::maps::ProgramArray;
use aya::programs::links::{CgroupAttachMode, FdLink};
use aya::programs::{
    BtfTracePoint, CgroupSkb, CgroupSkbAttachType, FEntry, FExit, Program, ProgramError, RawTracePoint,
};
use aya::{Btf, BtfError, Ebpf, EbpfLoader, Endianness};
use rustix::thread::CapabilitySet;

use super::btf::Layouts;
use super::counters::Trampoline;
use super::elf::elf;
use super::facts::Facts;
use super::iterators::objects as iterators;
use super::objects::{OBJECTS, Object};
use super::pins::PinnedObject;
use super::sys;
use crate::containers::Roots;
use crate::foreign;
use crate::programs::Hook;
use crate::refusal::{Decision, KNOWN_KERNELS, Refusal, Step, explain};

/// Longest description of the kernel's types.
const LONGEST_TYPES: usize = 64 << 20;
/// The fields that the programs load: constant for the offset, structure, field.
const OFFSETS: &[(&str, &str, &str)] = &[
    ("TASK_SIGNAL", "task_struct", "signal"),
    ("TASK_GROUP_LEADER", "task_struct", "group_leader"),
    ("TASK_START_TIME", "task_struct", "start_time"),
    ("SIGNAL_LIVE", "signal_struct", "live"),
    ("SIGNAL_THREADS", "signal_struct", "nr_threads"),
    ("SIGNAL_OOM_MM", "signal_struct", "oom_mm"),
    ("CGROUP_SELF", "cgroup", "self"),
    ("CGROUP_KN", "cgroup", "kn"),
    ("CGROUP_ROOT", "cgroup", "root"),
    ("ROOT_HIERARCHY", "cgroup_root", "hierarchy_id"),
    ("CSS_PARENT", "cgroup_subsys_state", "parent"),
    ("CSS_CGROUP", "cgroup_subsys_state", "cgroup"),
    ("KERNFS_ID", "kernfs_node", "id"),
];

/// The host, as far as eBPF programs depend on it.
pub(super) struct Host {
    pub(super) capabilities: CapabilitySet,
    /// The kernel's types, or the reason why they are unknown.
    pub(super) types: Result<Types, Refusal>,
    /// The decision about each program.
    pub(super) decisions: Vec<(&'static str, Decision)>,
    /// True if tasks are preempted at tracepoints too (`Documentation/core-api/real-time`).
    is_real_time: bool,
}

impl Host {
    /// Examines the host.
    pub(super) fn of(roots: &Roots, decisions: &[(&'static str, Decision)]) -> Self {
        let effective = rustix::thread::capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
        Self {
            capabilities: effective,
            types: Types::read(&roots.sys),
            decisions: decisions.to_vec(),
            is_real_time: roots.sys.join("kernel/realtime").exists(),
        }
    }

    /// Returns the reason for not attaching a program, if there is one.
    pub(super) fn refuses(&self, name: &str) -> Option<Refusal> {
        match decision(&self.decisions, name) {
            Decision::Take => None,
            Decision::Off(why) => Some(Refusal { cause: why, remedy: None }),
            Decision::Refused(refusal) => Some(refusal),
        }
    }
}

/// Returns the decision about a program. An unknown one is attached.
pub(super) fn decision(decisions: &[(&'static str, Decision)], name: &str) -> Decision {
    decisions.iter().find(|(known, _)| *known == name).map_or(Decision::Take, |(_, decision)| decision.clone())
}

/// Returns a loader for one object. It needs no BTF of the kernel, since nothing is relocated by type.
pub(super) fn loader<'a>() -> EbpfLoader<'a> {
    let mut loader = EbpfLoader::new();
    loader.btf(None);
    loader
}

/// The kernel's types.
pub(super) struct Types {
    pub(super) btf: Btf,
    pub(super) facts: Facts,
    offsets: Vec<(&'static str, u64)>,
}

impl Types {
    /// Parses the kernel's BTF.
    pub(super) fn read(sys: &Path) -> Result<Self, Refusal> {
        let path = sys.join("kernel/btf/vmlinux");
        let refusal = |cause: String| {
            Refusal::new(
                format!("{}: {cause}", path.display()),
                "run a kernel with CONFIG_DEBUG_INFO_BTF=y and keep /sys readable for the agent",
            )
        };
        let bytes = foreign::read(&path, LONGEST_TYPES).map_err(|error| refusal(error.to_string()))?;
        let btf = Btf::parse(&bytes, Endianness::default()).map_err(|error| refusal(error.to_string()))?;
        let layouts = Layouts::parse(bytes).ok_or_else(|| refusal("is of an unknown form".to_owned()))?;
        let counting = OBJECTS.iter().flat_map(|object| object.constants).copied();
        let facts = Facts::gather(&layouts, iterators::constants().chain(counting));
        let offset = |&(constant, structure, field): &(&'static str, &'static str, &str)| {
            let offset = layouts.offset(structure, field);
            offset.map(|offset| (constant, offset)).ok_or_else(|| refusal(format!("has no {structure}.{field}")))
        };
        let offsets = OFFSETS.iter().map(offset).collect::<Result<_, _>>()?;
        Ok(Self { btf, facts, offsets })
    }
}

/// The result of loading one object.
pub(super) struct Loaded {
    /// Holds programs, links and maps; `None` when not even the maps could be created.
    pub(super) ebpf: Option<Ebpf>,
    pub(super) programs: Vec<(&'static str, Result<(), Refusal>)>,
    /// The links that are pinned.
    pub(super) links: Vec<OwnedFd>,
    /// The trampolines that may miss events because tasks are preempted in them.
    pub(super) trampolines: Vec<Trampoline>,
}

/// The part of the cgroup tree that programs are attached to.
pub(super) struct Target<'a> {
    /// The cgroup whose packets are counted, with its descendants.
    pub(super) cgroup: &'a Path,
    /// Its id, for the tracepoints; 0 for the machine.
    pub(super) scope: u64,
}

/// Loads an object, lets `maps` fill the outer maps, and attaches the programs. Pinned links of the previous agent are
/// kept and get these programs.
pub(super) fn load(
    object: &Object,
    host: &Host,
    target: &Target<'_>,
    kept: Option<&PinnedObject>,
    maps: impl FnOnce(&Ebpf) -> io::Result<()>,
) -> Loaded {
    let refused = |refusal: Refusal| Loaded {
        ebpf: None,
        links: Vec::new(),
        trampolines: Vec::new(),
        programs: object.programs.iter().map(|(name, _)| (*name, Err(refusal.clone()))).collect(),
    };
    let refusals = object.programs.iter().map(|(name, _)| host.refuses(name).map(|refusal| (*name, Err(refusal))));
    if let Some(programs) = refusals.collect() {
        return Loaded { ebpf: None, links: Vec::new(), trampolines: Vec::new(), programs };
    }
    let found = match kept.filter(|kept| kept.since().is_some()).map(PinnedObject::found_maps).transpose() {
        Ok(found) => found.unwrap_or_default(),
        Err(error) => return refused(Refusal { cause: format!("the pinned maps: {error}"), remedy: None }),
    };
    let types = host.types.as_ref().ok();
    let constants = match types.map_or(Ok(Vec::new()), |types| types.facts.numbers(object.constants)) {
        Ok(constants) => constants,
        Err(cause) => return refused(Refusal::new(cause, KNOWN_KERNELS)),
    };
    // Objects with kernel constants may call kernel functions too.
    let fitted = types.filter(|_| !constants.is_empty()).map(|types| types.facts.put_into(elf(object.name)));
    let elf = fitted.as_deref().map_or(elf(object.name), bytemuck::cast_slice);
    let mut loader = loader();
    loader.override_global("SCOPE", &target.scope, false);
    for (constant, offset) in types.iter().flat_map(|types| &types.offsets) {
        loader.override_global(constant, offset, false);
    }
    for (constant, value) in &constants {
        loader.override_global(constant, value, true);
    }
    for (name, path) in &found {
        loader.map_pin_path(name, path.as_path());
    }
    let mut ebpf = match loader.load(elf) {
        Ok(ebpf) => ebpf,
        Err(error) => {
            tracing::debug!(object = object.name, ?error, "eBPF object not loaded");
            return refused(explain(Step::Maps, &error, host.capabilities));
        }
    };
    if let Err(error) = maps(&ebpf) {
        return refused(explain(Step::Maps, &error, host.capabilities));
    }
    let mut links = Vec::new();
    let mut trampolines = Vec::new();
    let mut programs = Vec::new();
    for &(name, hook) in object.programs {
        if let Some(refusal) = host.refuses(name) {
            programs.push((name, Err(refusal)));
            continue;
        }
        let mut attaching = Attaching { ebpf: &mut ebpf, name, host, target, kept, trampolines: &mut trampolines };
        let result = match (attaching.attach(hook), kept.and_then(|kept| kept.link(name))) {
            (Ok(link), _) => Ok(link),
            (Err(refusal), Some(link)) => {
                tracing::warn!(
                    program = name,
                    cause = %refusal.cause,
                    "Program not replaced: the previous one keeps counting"
                );
                Ok(Some(link))
            }
            (Err(refusal), None) => Err(refusal),
        };
        programs.push((name, result.map(|link| links.extend(link))));
    }
    Loaded { ebpf: Some(ebpf), programs, links, trampolines }
}

/// A program while it is loaded and attached.
struct Attaching<'a> {
    ebpf: &'a mut Ebpf,
    name: &'static str,
    host: &'a Host,
    target: &'a Target<'a>,
    kept: Option<&'a PinnedObject>,
    trampolines: &'a mut Vec<Trampoline>,
}

impl Attaching<'_> {
    /// Loads the program and attaches it. Returns a pinned link; the object holds any other.
    fn attach(&mut self, hook: Hook) -> Result<Option<OwnedFd>, Refusal> {
        match hook {
            Hook::Ingress => self.attach_to_cgroup(CgroupSkbAttachType::Ingress),
            Hook::Egress => self.attach_to_cgroup(CgroupSkbAttachType::Egress),
            Hook::RawTracepoint | Hook::BtfTracepoint | Hook::Entry(_) | Hook::Exit(_) => self.attach_trampoline(hook),
            Hook::Messages => self.attach_alone(hook),
        }
    }

    fn attach_to_cgroup(&mut self, kind: CgroupSkbAttachType) -> Result<Option<OwnedFd>, Refusal> {
        let (name, cgroup, kept, told) = (self.name, self.target.cgroup, self.kept, self.told());
        let program: &mut CgroupSkb = of_kind(program(self.ebpf, name)?)?;
        program.load().map_err(|error| told(Step::LoadNetwork, &error))?;
        if let Some(link) = kept.and_then(|kept| kept.link(name)) {
            let fd = program.fd().map_err(|error| told(Step::AttachCgroup, &error))?;
            match sys::update(link.as_fd(), fd.as_fd()) {
                Ok(()) => return Ok(Some(link)),
                // The link's cgroup was removed, and another one has taken its path.
                Err(error) if error.raw_os_error() == Some(libc::ENOLINK) => {}
                Err(error) => return Err(told(Step::Exchange, &error)),
            }
        }
        let directory = foreign::open(cgroup)
            .map_err(|error| Refusal { cause: format!("{}: {error}", cgroup.display()), remedy: None })?;
        // Links coexist with others; the mode is only for kernels without links.
        let id = program.attach(directory, kind, CgroupAttachMode::Single);
        let id = id.map_err(|error| told(Step::AttachCgroup, &error))?;
        let Some(kept) = kept else { return Ok(None) };
        let link = program.take_link(id).map_err(|error| told(Step::AttachCgroup, &error))?;
        let link = FdLink::try_from(link).map_err(|error| told(Step::Pin, &error))?;
        kept.keep_link(name, link).map(Some).map_err(|error| told(Step::Pin, &error))
    }

    fn attach_alone(&mut self, hook: Hook) -> Result<Option<OwnedFd>, Refusal> {
        let told = self.told();
        self.load_tracing(self.name, hook)?;
        let program: &mut BtfTracePoint = of_kind(program(self.ebpf, self.name)?)?;
        program.attach().map(|_| None).map_err(|error| told(Step::AttachTracing, &error))
    }

    /// Attaches a trampoline to a tracepoint or a function. It tail-calls the counting program, which stands in the map
    /// of its name.
    fn attach_trampoline(&mut self, hook: Hook) -> Result<Option<OwnedFd>, Refusal> {
        let (name, kept, told) = (self.name, self.kept, self.told());
        let may_miss = hook.is_of_descriptors() || self.host.is_real_time;
        self.load_tracing(&format!("count_{name}"), hook)?;
        let map = name.to_uppercase();
        let counting = program(self.ebpf, &format!("count_{name}"))?.fd().and_then(|fd| Ok(fd.try_clone()?));
        let counting = counting.map_err(|error| told(Step::Exchange, &error))?;
        let now =
            self.ebpf.map_mut(&map).ok_or_else(|| Refusal { cause: format!("it has no map {map}"), remedy: None })?;
        let exchanged = ProgramArray::try_from(now).and_then(|mut now| now.set(0, &counting, 0));
        exchanged.map_err(|error| told(Step::Exchange, &error))?;
        if let Some(link) = kept.and_then(|kept| kept.link(name)) {
            let program = kept.filter(|_| may_miss).and_then(|kept| kept.program(name));
            self.trampolines.extend(program.map(|program| Trampoline::new(name, program)));
            return Ok(Some(link));
        }
        self.load_tracing(name, hook)?;
        let program = program(self.ebpf, name)?;
        let trampoline = may_miss.then(|| program.fd().and_then(|fd| Ok(fd.as_fd().try_clone_to_owned()?))).transpose();
        let trampoline = trampoline.map_err(|error| told(Step::AttachTracing, &error))?;
        macro_rules! attach {
            ($kind:ty $(, $place:expr)?) => {{
                let program: &mut $kind = of_kind(program)?;
                let id = program.attach($($place)?).map_err(|error| told(Step::AttachTracing, &error))?;
                kept.map(|_| program.take_link(id).map(FdLink::from))
            }};
        }
        let link = match hook {
            Hook::BtfTracepoint => attach!(BtfTracePoint),
            Hook::Entry(_) => attach!(FEntry),
            Hook::Exit(_) => attach!(FExit),
            _ => attach!(RawTracePoint, name),
        };
        let pinned = match (kept, &trampoline) {
            (Some(kept), Some(trampoline)) => kept.keep_program(name, trampoline.as_fd()),
            _ => Ok(()),
        };
        self.trampolines.extend(trampoline.map(|program| Trampoline::new(name, program)));
        let Some((link, kept)) = link.zip(kept) else { return Ok(None) };
        pinned.map_err(|error| told(Step::Pin, &error))?;
        let link = link.map_err(|error| told(Step::Pin, &error))?;
        kept.keep_link(name, link).map(Some).map_err(|error| told(Step::Pin, &error))
    }

    fn load_tracing(&mut self, program_name: &str, hook: Hook) -> Result<(), Refusal> {
        let (name, host, told) = (self.name, self.host, self.told());
        let program = program(self.ebpf, program_name)?;
        let types = || host.types.as_ref().map_err(Refusal::clone);
        let result = match hook {
            Hook::BtfTracepoint | Hook::Messages => of_kind::<BtfTracePoint>(program)?.load(name, &types()?.btf),
            Hook::Entry(functions) => {
                let (program, types) = (of_kind::<FEntry>(program)?, types()?);
                first(functions, |function| program.load(function, &types.btf))?
            }
            Hook::Exit(functions) => {
                let (program, types) = (of_kind::<FExit>(program)?, types()?);
                first(functions, |function| program.load(function, &types.btf))?
            }
            _ => of_kind::<RawTracePoint>(program)?.load(),
        };
        let step = if let Hook::Entry(_) | Hook::Exit(_) = hook { Step::LoadFunction } else { Step::LoadTracing };
        result.map_err(|error| told(step, &error))
    }

    /// Turns the kernel's error into a refusal with a remedy.
    fn told(&self) -> impl Fn(Step, &(dyn std::error::Error + 'static)) -> Refusal + use<> {
        let (name, capabilities) = (self.name, self.host.capabilities);
        move |step, error| {
            tracing::debug!(program = name, ?error, "eBPF program not attached");
            explain(step, error, capabilities)
        }
    }
}

/// Loads a program for the first of these functions that the kernel has.
fn first(
    functions: &[&str],
    mut load: impl FnMut(&str) -> Result<(), ProgramError>,
) -> Result<Result<(), ProgramError>, Refusal> {
    let is_there =
        |result: &Result<_, _>| !matches!(result, Err(ProgramError::Btf(BtfError::UnknownBtfTypeName { .. })));
    let loaded = functions.iter().map(|function| load(function)).find(is_there);
    loaded.ok_or_else(|| Refusal::new(format!("this kernel has no {}", functions.join(" or ")), KNOWN_KERNELS))
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Program, Refusal> {
    ebpf.program_mut(name).ok_or_else(|| Refusal { cause: "it is not in the object".to_owned(), remedy: None })
}

fn of_kind<'a, T>(program: &'a mut Program) -> Result<&'a mut T, Refusal>
where
    &'a mut T: TryFrom<&'a mut Program, Error = ProgramError>,
{
    program.try_into().map_err(|error: ProgramError| Refusal { cause: error.to_string(), remedy: None })
}
