//! Source of the interfaces of network namespaces, from `/proc/PID/net/dev` (`Documentation/filesystems/proc.rst`).

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

use super::source::{Source, SourceError};
use crate::containers::info::KUBERNETES_CONTAINER;
use crate::foreign;
use crate::readings::{Interface, InterfaceCounters};
use crate::snapshot::{Cgroup, CgroupId, Coverage, Scope, Snapshot};

/// The most bytes of a table that are read: a container may make thousands of interfaces.
const LONGEST: usize = 1 << 20;

/// Reads the interfaces of each network namespace once. They belong to the machine if it is the machine's, to the sandbox of a
/// pod if there is one, else to the first of the containers in it. So a sum over all containers counts nothing twice.
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

    /// Returns the process in whose namespace a cgroup is.
    fn process(cgroup: &Cgroup, scope: Scope) -> Option<String> {
        match (scope, cgroup.identity.is_root) {
            (Scope::SelfContainer, _) => Some("self".to_owned()),
            (Scope::Host, true) => Some("1".to_owned()),
            (Scope::Host, false) => Some(cgroup.first_process?.to_string()),
        }
    }

    fn namespace(&self, process: &str) -> Option<u64> {
        Some(fs::metadata(self.proc.join(process).join("ns/net")).ok()?.ino())
    }

    fn read(&self, process: &str) -> Option<Arc<[Interface]>> {
        let text = foreign::read(&self.proc.join(process).join("net/dev"), LONGEST).ok()?;
        table(std::str::from_utf8(&text).ok()?).map(Into::into)
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
            let Some(process) = Self::process(cgroup, into.scope) else { continue };
            let Some(namespace) = self.namespace(&process) else { continue };
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

/// The interfaces but loopback; `None` if it is no such table. Columns of each direction: bytes, packets, errors, drops and
/// four others.
fn table(text: &str) -> Option<Vec<Interface>> {
    let lines = text.lines().skip(2).map(|line| {
        let (name, numbers) = line.rsplit_once(':')?;
        let numbers: Vec<u64> = numbers.split_whitespace().map(|word| word.parse().ok()).collect::<Option<_>>()?;
        let direction = |at: usize| {
            let [bytes, packets, errors, dropped] = *numbers.get(at..at + 4)? else { return None };
            Some(InterfaceCounters { bytes, packets, errors, dropped })
        };
        Some(Interface { name: name.trim().to_owned(), received: direction(0)?, sent: direction(8)? })
    });
    let all: Vec<Interface> = lines.collect::<Option<_>>()?;
    Some(all.into_iter().filter(|interface| interface.name != "lo").collect())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::snapshot::{Identity, Stamp};

    const TABLE: &str = "Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     100       1    0    0    0     0          0         0      100       1    0    0    0     0       0          0
  eth0:    1000      10    1    2    0     0          0         0     2000      20    3    4    0     0       0          0
";

    #[test]
    fn a_table_is_read_by_its_columns_without_loopback() {
        let all = table(TABLE).unwrap();
        let received = InterfaceCounters { bytes: 1000, packets: 10, errors: 1, dropped: 2 };
        let sent = InterfaceCounters { bytes: 2000, packets: 20, errors: 3, dropped: 4 };
        assert_eq!(all, [Interface { name: "eth0".to_owned(), received, sent }]);
        assert_eq!(table("x\ny\neth0: 1 2 3\n"), None);
        assert_eq!(table("x\ny\n"), Some(Vec::new()));
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
