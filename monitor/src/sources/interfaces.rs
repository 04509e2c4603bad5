//! Source of the interfaces of network namespaces, from `/proc/PID/net/dev` (`Documentation/filesystems/proc.rst`).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::network_namespace;
use super::source::{Source, SourceError};
use crate::containers::info::KUBERNETES_CONTAINER;
use crate::foreign;
use crate::proc_text;
use crate::readings::Interface;
use crate::snapshot::{CgroupId, Coverage, Snapshot};

/// The most bytes of a table that are read: a container may make thousands of interfaces.
const LONGEST: usize = 1 << 20;

/// Reads the interfaces of each network namespace once. They belong to the machine if it is the machine's, to the
/// sandbox of a pod if there is one, else to the first of the containers in it. So a sum over all containers counts
/// nothing twice.
#[derive(Debug)]
pub struct Interfaces {
    proc: PathBuf,
}

/// Orders the containers of a namespace: the first one has its interfaces.
type Precedence = (bool, bool, CgroupId);

impl Interfaces {
    /// Reads below this directory.
    pub fn new(proc: PathBuf) -> Self {
        Self { proc }
    }

    fn read(&self, process: &str) -> Option<Arc<[Interface]>> {
        let text = foreign::read(&self.proc.join(process).join("net/dev"), LONGEST).ok()?;
        table(&text).map(Into::into)
    }
}

impl Source for Interfaces {
    fn name(&self) -> &'static str {
        "interfaces"
    }

    fn sample(&mut self, into: &mut Snapshot) -> Result<(), SourceError> {
        if into.coverage != Coverage::All {
            return Ok(());
        }
        let mut owners: BTreeMap<u64, (Precedence, String)> = BTreeMap::new();
        for (id, cgroup) in &into.cgroups {
            let Some(process) = network_namespace::process(cgroup, into.scope) else { continue };
            let Ok(namespace) = network_namespace::number(&self.proc, &process) else { continue };
            let is_part_of_pod = cgroup.identity.labels.contains_key(KUBERNETES_CONTAINER);
            let candidate = ((!cgroup.identity.is_root, is_part_of_pod, *id), process);
            let owner = owners.entry(namespace).or_insert_with(|| candidate.clone());
            if candidate.0 < owner.0 {
                *owner = candidate;
            }
        }
        for ((.., id), process) in owners.into_values() {
            if let (Some(cgroup), Some(interfaces)) = (into.cgroups.get_mut(&id), self.read(&process)) {
                cgroup.interfaces = interfaces;
            }
        }
        Ok(())
    }
}

/// Returns the interfaces but loopback; `None` if the text is no table of interfaces.
fn table(text: &[u8]) -> Option<Vec<Interface>> {
    let all = proc_text::interfaces(text)?;
    Some(all.into_iter().filter(|interface| interface.name != proc_text::LOOPBACK).collect())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::readings::InterfaceCounters;
    use crate::snapshot::{Identity, Scope, Stamp};

    const TABLE: &str = "Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     100       1    0    0    0     0          0         0      100       1    0    0    0     0       0          0
  eth0:    1000      10    1    2    0     0          0         0     2000      20    3    4    0     0       0          0
";

    #[test]
    fn a_table_is_read_by_its_columns_without_loopback() {
        let all = table(TABLE.as_bytes()).unwrap();
        let received = InterfaceCounters { bytes: 1000, packets: 10, errors: 1, dropped: 2 };
        let sent = InterfaceCounters { bytes: 2000, packets: 20, errors: 3, dropped: 4 };
        assert_eq!(all, [Interface { name: "eth0".to_owned(), received, sent }]);
        assert_eq!(table(b"x\ny\neth0: 1 2 3\n"), None);
        assert_eq!(table(b"x\ny\n"), Some(Vec::new()));
    }

    #[test]
    fn a_pod_counts_once_and_its_sandbox_has_the_interfaces_and_what_is_on_the_machines_network_has_none() {
        let dir = tempfile::tempdir().unwrap();
        for (process, namespace) in [("1", "host"), ("10", "pod"), ("11", "pod"), ("12", "host")] {
            let process = dir.path().join(process);
            fs::create_dir_all(process.join("ns")).unwrap();
            fs::create_dir_all(process.join("net")).unwrap();
            fs::write(process.join("net/dev"), TABLE).unwrap();
            fs::write(dir.path().join(namespace), "").unwrap();
            symlink(dir.path().join(namespace), process.join("ns/net")).unwrap();
        }
        let mut now = Snapshot::new(Stamp { mono: Duration::ZERO, wall: SystemTime::UNIX_EPOCH });
        now.scope = Scope::Host;
        // The container of the pod is older than its sandbox here, which decides nothing.
        for (id, process, container) in
            [(1, None, None), (2, Some(11), Some("app")), (3, Some(10), None), (4, Some(12), None)]
        {
            let cgroup = now.cgroups.entry(CgroupId(id)).or_default();
            let labels = container.map(|name| (KUBERNETES_CONTAINER.to_owned(), name.to_owned())).into_iter().collect();
            cgroup.identity = Identity { is_root: id == 1, labels, ..Identity::default() }.into();
            cgroup.first_process = process;
        }
        Interfaces::new(dir.path().to_owned()).sample(&mut now).unwrap();
        let counts: Vec<usize> = now.cgroups.values().map(|cgroup| cgroup.interfaces.len()).collect();
        assert_eq!(counts, [1, 0, 1, 0]);
    }
}
