//! Iterator run over the tasks, with one record per process.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use aya::Ebpf;
use monitor_common::Process as Record;

use super::load::{bind, load};
use super::objects::TASKS;
use crate::containers::Roots;
use crate::containers::own::FIRST_PID_NAMESPACE;
use crate::foreign;
use crate::metrics::{Metric, Origin, Rows};
use crate::proc_text::boot_offset;
use crate::readings::{self, Read as Reading};
use crate::refusal::Refusal;
use crate::snapshot::{CgroupId, Scope, Snapshot, Status};
use crate::sources::bpf::load::Host;
use crate::sources::bpf::part::Part;
use crate::sources::bpf::sys::{Iterator, Over};
use crate::sources::processes::{Process, Processes};

/// Bytes per `read`: twice what the kernel gathers at once.
const READ: usize = 64 << 10;

/// The program and its link.
pub(super) struct Tasks {
    /// Keeps the program alive.
    _ebpf: Ebpf,
    iterator: Iterator,
    records: Vec<u8>,
    /// The shift of the agent's boot clock against the kernel's, in a time namespace.
    shift: i64,
    rows: Rows<fn(&readings::Tasks) -> Reading>,
}

impl Tasks {
    /// Loads the program for the processes that `/proc` would show.
    pub(super) fn open(part: &Part, roots: &Roots, host: &Host) -> Result<Self, Refusal> {
        let scope = watched(part, roots).map_err(|cause| Refusal { cause: cause.to_owned(), remedy: None })?;
        let ebpf = load(&TASKS, 0, scope, host)?;
        let iterator = bind(&ebpf, &TASKS, Over::Tasks, host)?;
        let rows = Metric::fed_by(|origin| match origin {
            Origin::TaskIterator(pick) => Some(*pick),
            _ => None,
        });
        let shift =
            foreign::read(&roots.proc.join("self/timens_offsets"), 4096).ok().and_then(|text| boot_offset(&text));
        Ok(Self { _ebpf: ebpf, iterator, records: Vec::new(), shift: shift.unwrap_or(0), rows })
    }

    /// Fills in the processes of each container.
    pub(super) fn sample(&mut self, into: &mut Snapshot) -> io::Result<()> {
        self.pass()?;
        let now = into.taken.mono;
        let mut sums = sums(&self.records, self.shift, into);
        for (id, cgroup) in into.cgroups.iter_mut().filter(|(_, cgroup)| cgroup.status != Status::Exited) {
            // End of file: the run is complete.
            let sum = sums.remove(id).unwrap_or_else(Processes::none);
            cgroup.first_process = sum.first();
            let tasks = sum.tasks(now);
            cgroup.values.fill(&self.rows, |pick| pick(&tasks));
        }
        Ok(())
    }

    fn pass(&mut self) -> io::Result<()> {
        let mut file = self.iterator.pass()?;
        let mut end = 0;
        loop {
            self.records.resize(end + READ, 0);
            match file.read(&mut self.records[end..]) {
                Ok(0) => break,
                Ok(read) => end += read,
                Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {}
                Err(error) => return Err(error),
            }
        }
        self.records.truncate(end);
        Ok(())
    }
}

/// Returns the cgroup whose processes are read, with its descendants, or 0 for the whole pid namespace: for the
/// machine, and in a pid namespace of its own without a known cgroup.
fn watched(part: &Part, roots: &Roots) -> Result<u64, &'static str> {
    // The kernel iterates over the caller's pid namespace; `/proc` shows that of its mounter.
    let own = fs::read_link(roots.proc.join("self")).ok();
    if own.is_none_or(|own| own.as_os_str() != std::process::id().to_string().as_str()) {
        return Err("/proc shows another pid namespace than the one that the agent is in");
    }
    let is_first = fs::metadata(roots.proc.join("self/ns/pid")).is_ok_and(|ns| ns.ino() == FIRST_PID_NAMESPACE);
    match (part.scope, is_first, part.id.filter(|_| part.top.is_some())) {
        (Scope::Host, true, _) | (Scope::SelfContainer, false, None) => Ok(0),
        // Other containers may share the pid namespace.
        (Scope::SelfContainer, _, Some(id)) => Ok(id.0),
        (Scope::Host, false, _) => Err("the agent is in a pid namespace of its own, which is not the machine's"),
        (Scope::SelfContainer, true, None) => Err("nothing tells the container's processes from the machine's"),
    }
}

/// Returns the processes of each container, including those of nested containers. Pure.
fn sums(records: &[u8], shift: i64, snapshot: &Snapshot) -> BTreeMap<CgroupId, Processes> {
    let mut own: BTreeMap<CgroupId, Processes> = BTreeMap::new();
    let records = records.chunks_exact(size_of::<Record>()).map(bytemuck::pod_read_unaligned::<Record>);
    // Each thread of a process that has lost its first one writes a record.
    let processes: BTreeMap<u32, Record> = records.map(|record| (record.pid, record)).collect();
    for record in processes.into_values() {
        let sum = own.entry(CgroupId(record.cgroup)).or_default();
        sum.add(Process {
            pid: record.pid,
            is_init: false,
            started: Duration::from_nanos(record.started.saturating_add_signed(shift.saturating_mul(1_000_000_000))),
            threads: record.threads.into(),
        });
        sum.add_descriptors(record.descriptors, Some(record.limit));
    }
    let mut sums: BTreeMap<CgroupId, Processes> = BTreeMap::new();
    for (id, processes) in own {
        for container in snapshot.containers(id) {
            sums.entry(container).or_default().merge(&processes);
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::snapshot::{Cgroup, Identity, Place, Stamp};

    fn record(cgroup: u64, pid: u32, descriptors: u64) -> Record {
        Record { cgroup, pid, descriptors, started: u64::from(pid) * 1_000_000_000, limit: 100, threads: 2 }
    }

    #[test]
    fn processes_are_those_of_their_container_and_of_all_around_it() {
        let mut now = Snapshot::new(Stamp { mono: Duration::from_secs(60), wall: SystemTime::UNIX_EPOCH });
        now.scope = Scope::Host;
        for (id, owner, outer) in [(1, 1, None), (2, 2, Some(1)), (3, 2, None), (4, 4, Some(2))] {
            now.places.insert(CgroupId(id), Place { owner: CgroupId(owner), outer: outer.map(CgroupId) });
        }
        for id in [1, 2, 4] {
            let identity = Identity { is_root: id == 1, ..Identity::default() };
            now.cgroups.insert(CgroupId(id), Cgroup { identity: identity.into(), ..Cgroup::default() });
        }
        // One process in each cgroup, and one in a cgroup that no walk has seen: with two threads, without its first
        // one. The agent's clock is ten seconds behind the kernel's.
        let records = [record(1, 7, 1), record(3, 8, 2), record(4, 9, 4), record(5, 10, 8), record(5, 10, 8)];
        let sums = sums(bytemuck::cast_slice(&records), -10, &now);
        let tell = |id: u64| {
            let tasks = sums[&CgroupId(id)].tasks(Duration::from_secs(60));
            (tasks.processes, tasks.threads, tasks.descriptors, tasks.nearest_limit, tasks.uptime)
        };
        assert_eq!(tell(1), (Ok(4), Ok(8), Ok(15), Ok(800), Ok(60)));
        assert_eq!(tell(2), (Ok(2), Ok(4), Ok(6), Ok(400), Ok(60)));
        assert_eq!(tell(4), (Ok(1), Ok(2), Ok(4), Ok(400), Ok(60)));
        assert_eq!(sums.len(), 3);
    }
}
