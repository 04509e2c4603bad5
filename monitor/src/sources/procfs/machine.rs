//! The machine: its memory, load and CPUs.

use std::path::PathBuf;

use crate::cause::{Cause, CauseKind};
use crate::containers::Roots;
use crate::foreign;
use crate::metrics::Format;
use crate::proc_text;
use crate::readings::{Machine, MachineMemory, Read};
use crate::sources::parse;

/// Longest file: a list of CPUs, or `/proc/vmstat`.
const LONGEST: usize = 1 << 20;

fn text(path: PathBuf) -> Result<Vec<u8>, Cause> {
    foreign::read(&path, LONGEST).map_err(|error| Cause::io(path.display(), &error))
}

fn line(text: &Result<Vec<u8>, Cause>, key: &str) -> Read {
    let text = text.as_ref().map_err(Cause::clone)?;
    proc_text::meminfo(text, key).ok_or_else(|| Cause::new(CauseKind::Missing, format!("meminfo has no {key}")))
}

/// Reads `/proc/meminfo`.
pub(super) fn meminfo(roots: &Roots) -> Result<Vec<u8>, Cause> {
    text(roots.proc.join("meminfo"))
}

/// Reads the numbers that all containers share. A file that is missing costs its own numbers.
pub(super) fn read(roots: &Roots, meminfo: &Result<Vec<u8>, Cause>) -> Machine {
    let load = text(roots.proc.join("loadavg"));
    let load = |at| {
        load.clone().and_then(|text| {
            proc_text::load(&text, at).ok_or_else(|| Cause::new(CauseKind::Invalid, "loadavg is no list of loads"))
        })
    };
    let cpus = text(roots.sys.join("devices/system/cpu/online"));
    Machine {
        memory_total: line(meminfo, "MemTotal"),
        cpus: cpus.and_then(|text| {
            parse::number(Format::List, &text)
                .map_err(|error| Cause::new(CauseKind::Invalid, format!("cpu/online {error}")))
        }),
        load: [load(0), load(1), load(2)],
    }
}

/// Reads the machine's memory.
pub(super) fn memory(roots: &Roots, meminfo: &Result<Vec<u8>, Cause>) -> MachineMemory {
    let line = |key| line(meminfo, key);
    let events = text(roots.proc.join("vmstat"));
    let events = |keys| {
        parse::number(Format::Sum(keys), events.as_ref().map_err(Cause::clone)?)
            .map_err(|error| Cause::new(CauseKind::Missing, format!("/proc/vmstat {error}")))
    };
    MachineMemory {
        used: line("MemTotal").and_then(|total| Ok(total.saturating_sub(line("MemAvailable")?))),
        anon: line("AnonPages"),
        file: ["Cached", "Buffers", "SwapCached"]
            .into_iter()
            .try_fold(0u64, |sum, key| Ok(sum.saturating_add(line(key)?))),
        swap: line("SwapTotal").and_then(|total| Ok(total.saturating_sub(line("SwapFree")?))),
        oom_kills: events(&["oom_kill"]),
        mapped: line("Mapped"),
        active_file: line("Active(file)"),
        slab_reclaimable: line("SReclaimable"),
        slab_unreclaimable: line("SUnreclaim"),
        shmem: line("Shmem"),
        dirty: line("Dirty"),
        writeback: line("Writeback"),
        faults: events(&["pgfault"]),
        major_faults: events(&["pgmajfault"]),
        refaults: events(&["workingset_refault_anon", "workingset_refault_file"]),
        // The other counters of scanned pages leave out those that a cgroup's limit made the kernel look at.
        scanned: events(&["pgscan_anon", "pgscan_file"]),
    }
}
