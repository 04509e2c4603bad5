//! The process through which a container is seen from inside.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::members::{self, Members};
use crate::snapshot::{Cgroup, CgroupId};

/// The most processes that are looked at.
const MOST: usize = 256;
/// Samples in which a container whose oldest process is outside is looked at: the others start soon.
const LOOKS: u8 = 3;

/// The processes through which containers are seen.
#[derive(Debug, Default)]
pub(super) struct Insides(HashMap<CgroupId, Inside>);

#[derive(Debug)]
struct Inside {
    oldest: u32,
    process: u32,
    looks: u8,
}

impl Insides {
    /// Forgets the containers that are not kept.
    pub(super) fn retain(&mut self, keep: impl Fn(&CgroupId) -> bool) {
        self.0.retain(|id, _| keep(id));
    }

    /// Returns the first process of a container that has left the machine's mount namespace: the root and the network
    /// of an older one, such as the supervisor that systemd-nspawn leaves in the cgroup, are the machine's. Without
    /// such a process, or without the right to look into namespaces, it is the oldest one.
    pub(super) fn of(&mut self, id: CgroupId, cgroup: &Cgroup, oldest: u32, proc: &Path) -> u32 {
        let looks = match self.0.get(&id).filter(|known| known.oldest == oldest) {
            Some(Inside { process, looks: LOOKS.., .. })
                if *process == oldest || proc.join(process.to_string()).exists() =>
            {
                return *process;
            }
            Some(known) => known.looks,
            None => 0,
        };
        let machine = namespace(proc, 1);
        let is_inside =
            |pid: u32| namespace(proc, pid).is_some_and(|own| machine.is_some_and(|machine| own != machine));
        let found = if is_inside(oldest) { Some(oldest) } else { other(cgroup, proc, is_inside) };
        let looks = if found.is_some() { LOOKS } else { looks.saturating_add(1) };
        let process = found.unwrap_or(oldest);
        self.0.insert(id, Inside { oldest, process, looks });
        process
    }
}

fn other(cgroup: &Cgroup, proc: &Path, is_inside: impl Fn(u32) -> bool) -> Option<u32> {
    let Members { pids, .. } = Members::of(members::directory(&cgroup.identity)?, proc).ok()?;
    pids.into_iter().take(MOST).find(|pid| is_inside(*pid))
}

fn namespace(proc: &Path, pid: u32) -> Option<u64> {
    fs::metadata(proc.join(format!("{pid}/ns/mnt"))).ok().map(|namespace| namespace.ino())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Identity;

    /// A process whose mount namespace is a file of its own, or that of another process.
    fn process(proc: &Path, pid: u32, like: Option<u32>) {
        let ns = |pid: u32| proc.join(format!("{pid}/ns"));
        fs::create_dir_all(ns(pid)).unwrap();
        match like {
            Some(other) => fs::hard_link(ns(other).join("mnt"), ns(pid).join("mnt")).unwrap(),
            None => fs::write(ns(pid).join("mnt"), "").unwrap(),
        }
    }

    fn container(dir: &Path, pids: &str) -> Cgroup {
        fs::write(dir.join("cgroup.procs"), pids).unwrap();
        let identity = Identity { v2: Some(dir.to_owned()), ..Identity::default() };
        Cgroup { identity: identity.into(), ..Cgroup::default() }
    }

    #[test]
    fn a_supervisor_in_the_machines_mounts_is_not_inside_and_its_payload_is() {
        let (proc, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        process(proc.path(), 1, None);
        process(proc.path(), 7, Some(1));
        let mut insides = Insides::default();
        let mut inside =
            |pids: &str, oldest| insides.of(CgroupId(5), &container(dir.path(), pids), oldest, proc.path());
        assert_eq!(inside("7\n", 7), 7, "the payload has not started");
        process(proc.path(), 9, None);
        assert_eq!(inside("7\n9\n", 7), 9);
        assert_eq!(inside("", 7), 9, "known");
        fs::remove_dir_all(proc.path().join("9")).unwrap();
        assert_eq!(inside("7\n", 7), 7, "it has ended");
        process(proc.path(), 11, None);
        assert_eq!(inside("11\n12\n", 11), 11);
    }

    #[test]
    fn without_the_right_to_look_it_is_the_oldest() {
        let (proc, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        assert_eq!(Insides::default().of(CgroupId(5), &container(dir.path(), "7\n9\n"), 7, proc.path()), 7);
    }
}
