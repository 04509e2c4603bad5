//! Loads and attaches each program alone: what one is refused takes no other down.

use std::fs::{self, File};
use std::path::Path;

use aya::programs::links::CgroupAttachMode;
use aya::programs::{BtfTracePoint, CgroupSkb, CgroupSkbAttachType, Program, ProgramError, RawTracePoint};
use aya::{Btf, Ebpf, EbpfLoader, Endianness};
use rustix::thread::CapabilitySet;

use super::btf::Layouts;
use super::objects::{Hook, Object};
use super::refusal::{Refusal, Step, explain};

/// The fields that the programs load, with the constants that tell them where: constant, structure, field.
const OFFSETS: &[(&str, &str, &str)] = &[
    ("TASK_TGID", "task_struct", "tgid"),
    ("TASK_SIGNAL", "task_struct", "signal"),
    ("TASK_GROUP_LEADER", "task_struct", "group_leader"),
    ("TASK_START_TIME", "task_struct", "start_time"),
    ("SIGNAL_LIVE", "signal_struct", "live"),
];

/// What the host offers to programs.
pub(super) struct Host {
    pub(super) capabilities: CapabilitySet,
    /// The kernel's types, or why they are not known.
    pub(super) types: Result<Types, Refusal>,
}

/// The kernel's types.
pub(super) struct Types {
    btf: Btf,
    offsets: Vec<(&'static str, u64)>,
}

impl Types {
    /// Reads the kernel's own description of itself.
    pub(super) fn read(sys: &Path) -> Result<Self, Refusal> {
        let path = sys.join("kernel/btf/vmlinux");
        let refusal = |cause: String| {
            Refusal::new(
                format!("{}: {cause}", path.display()),
                "run a kernel with CONFIG_DEBUG_INFO_BTF=y and keep /sys readable for the agent",
            )
        };
        let bytes = fs::read(&path).map_err(|error| refusal(error.to_string()))?;
        let btf = Btf::parse(&bytes, Endianness::default()).map_err(|error| refusal(error.to_string()))?;
        let layouts = Layouts::parse(bytes).ok_or_else(|| refusal("is of an unknown form".to_owned()))?;
        let offset = |&(constant, structure, field): &(&'static str, &str, &str)| {
            let offset = layouts.offset(structure, field);
            offset.map(|offset| (constant, offset)).ok_or_else(|| refusal(format!("has no {structure}.{field}")))
        };
        Ok(Self { btf, offsets: OFFSETS.iter().map(offset).collect::<Result<_, _>>()? })
    }
}

/// What became of the programs of one object.
pub(super) struct Loaded {
    /// Holds programs, links and maps; `None` when not even the maps could be created.
    pub(super) ebpf: Option<Ebpf>,
    pub(super) programs: Vec<(&'static str, Result<(), Refusal>)>,
}

/// Loads an object and attaches its programs: to `cgroup`, or to the tracepoints for the events of `scope`.
pub(super) fn load(object: &Object, host: &Host, cgroup: &Path, scope: u64) -> Loaded {
    let refused = |refusal: Refusal| Loaded {
        ebpf: None,
        programs: object.programs.iter().map(|(name, _)| (*name, Err(refusal.clone()))).collect(),
    };
    if object.elf.is_empty() {
        return refused(Refusal::new(
            "this binary was built without the eBPF objects",
            "build it with cargo xtask build-ebpf",
        ));
    }
    let mut loader = EbpfLoader::new();
    // Nothing is relocated by type, so the loader need not know the kernel's.
    loader.btf(None).override_global("SCOPE", &scope, false);
    for (constant, offset) in host.types.iter().flat_map(|types| &types.offsets) {
        loader.override_global(constant, offset, false);
    }
    let mut ebpf = match loader.load(object.elf) {
        Ok(ebpf) => ebpf,
        Err(error) => {
            tracing::debug!("{}: {error:?}", object.counters);
            return refused(explain(Step::Maps, &error, host.capabilities));
        }
    };
    let programs =
        object.programs.iter().map(|&(name, hook)| (name, attach(&mut ebpf, name, hook, host, cgroup))).collect();
    Loaded { ebpf: Some(ebpf), programs }
}

fn attach(ebpf: &mut Ebpf, name: &str, hook: Hook, host: &Host, cgroup: &Path) -> Result<(), Refusal> {
    let program =
        ebpf.program_mut(name).ok_or_else(|| Refusal { cause: "it is not in the object".to_owned(), cure: None })?;
    let told = |step| {
        move |error: ProgramError| {
            tracing::debug!("{name}: {error:?}");
            explain(step, &error, host.capabilities)
        }
    };
    match hook {
        Hook::Ingress | Hook::Egress => {
            let kind = if hook == Hook::Ingress { CgroupSkbAttachType::Ingress } else { CgroupSkbAttachType::Egress };
            let program: &mut CgroupSkb = of_kind(program)?;
            program.load().map_err(told(Step::LoadNetwork))?;
            let directory = File::open(cgroup)
                .map_err(|error| Refusal { cause: format!("{}: {error}", cgroup.display()), cure: None })?;
            // Links always stand beside others'; the mode is for the older way of attaching.
            program.attach(directory, kind, CgroupAttachMode::Single).map_err(told(Step::AttachCgroup))?;
        }
        Hook::RawTracepoint => {
            let program: &mut RawTracePoint = of_kind(program)?;
            program.load().map_err(told(Step::LoadTracing))?;
            program.attach(name).map_err(told(Step::AttachTracepoint))?;
        }
        Hook::BtfTracepoint => {
            let program: &mut BtfTracePoint = of_kind(program)?;
            let types = host.types.as_ref().map_err(Refusal::clone)?;
            program.load(name, &types.btf).map_err(told(Step::LoadTracing))?;
            program.attach().map_err(told(Step::AttachTracepoint))?;
        }
    }
    Ok(())
}

fn of_kind<'a, T>(program: &'a mut Program) -> Result<&'a mut T, Refusal>
where
    &'a mut T: TryFrom<&'a mut Program, Error = ProgramError>,
{
    program.try_into().map_err(|error: ProgramError| Refusal { cause: error.to_string(), cure: None })
}
