//! Iterator runs over the v2 tree and the trees of the v1 controllers that read the controllers' state of each cgroup.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::Hasher;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

use monitor_common::{Controllers as Record, UNKNOWN};

use super::cgroups::Cgroups;
use super::objects::CONTROLLERS;
use super::times::Times;
use crate::containers::Roots;
use crate::metrics::ChangeToken;
use crate::metrics::{Metric, Origin, Rows};
use crate::readings::Controllers as Known;
use crate::refusal::Refusal;
use crate::snapshot::{Cgroup, CgroupId, Coverage, Identity, Snapshot, Status};
use crate::sources::bpf::load::Host;
use crate::sources::bpf::part::Part;

/// The v1 controllers that the program reads. Each has a tree of its own, or shares one.
const V1: [&str; 5] = ["cpu", "memory", "pids", "freezer", "blkio"];

/// The program and its trees: v2, then those of the mounted v1 controllers.
pub(super) struct Controllers {
    cgroups: Cgroups<Record>,
    v1: Vec<Tree>,
    /// The containers whose v1 directories are known.
    known: HashMap<CgroupId, Arc<Identity>>,
    rows: Rows<fn(&Known) -> Option<u64>>,
    page: u64,
}

/// The tree of a v1 controller, and the containers by the inodes of their directories in it.
struct Tree {
    controller: &'static str,
    ids: HashMap<u64, CgroupId>,
}

/// The tree in which a cgroup was found.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TreeKind {
    V2,
    V1,
}

impl Controllers {
    /// Loads the program and attaches it to a part of each tree.
    pub(super) fn open(part: &Part, roots: &Roots, host: &Host) -> Result<Self, Refusal> {
        let v1: Vec<(&str, PathBuf)> =
            V1.iter().filter_map(|controller| Some((*controller, part.v1.get(*controller)?.clone()))).collect();
        let tops = part.top.iter().cloned().chain(v1.iter().map(|(_, top)| top.clone())).collect();
        let cgroups = Cgroups::open(&CONTROLLERS, tops, part.scope, roots, host)?;
        let v1 = v1.into_iter().map(|(controller, _)| Tree { controller, ids: HashMap::new() }).collect();
        let rows = Metric::fed_by(|origin| match origin {
            Origin::ControllerIterator(pick) => Some(*pick),
            _ => None,
        });
        Ok(Self { cgroups, v1, known: HashMap::new(), rows, page: rustix::param::page_size() as u64 })
    }

    /// Fills in the values that the runs find, and the change tokens.
    pub(super) fn sample(&mut self, times: &Times, into: &mut Snapshot) -> io::Result<()> {
        if !self.v1.is_empty() {
            self.learn(into);
        }
        let (page, rows) = (self.page, &self.rows);
        let mut fill = |id: CgroupId, found: &Record, kind: TreeKind| {
            let cgroup = into.cgroups.get_mut(&id);
            if let Some(cgroup) = cgroup.filter(|cgroup| !cgroup.identity.is_root) {
                fill(cgroup, rows, &known(found, kind, page));
                set_tokens(cgroup, found, times.total(id));
            }
        };
        for found in self.cgroups.pass(0)? {
            fill(CgroupId(found.cgroup), found, TreeKind::V2);
        }
        for (at, tree) in self.v1.iter().enumerate() {
            for found in self.cgroups.pass(at + 1)? {
                if let Some(id) = tree.ids.get(&found.cgroup) {
                    fill(*id, found, TreeKind::V1);
                }
            }
        }
        Ok(())
    }

    /// Looks up the v1 directories of new containers, and forgets those of exited ones.
    fn learn(&mut self, now: &Snapshot) {
        let is_there = |id: &CgroupId, identity: &Arc<Identity>| {
            now.cgroups.get(id).is_some_and(|cgroup| Arc::ptr_eq(&cgroup.identity, identity))
        };
        let before = self.known.len();
        if now.coverage == Coverage::All {
            self.known.retain(|id, identity| is_there(id, identity));
        }
        if self.known.len() < before {
            let known = &self.known;
            self.v1.iter_mut().for_each(|tree| tree.ids.retain(|_, id| known.contains_key(id)));
        }
        for (id, cgroup) in now.cgroups.iter().filter(|(_, cgroup)| cgroup.status != Status::Exited) {
            if self.known.contains_key(id) {
                continue;
            }
            self.known.insert(*id, Arc::clone(&cgroup.identity));
            for tree in &mut self.v1 {
                let directory = cgroup.identity.v1.get(tree.controller).and_then(|dir| fs::metadata(dir).ok());
                tree.ids.extend(directory.map(|directory| (directory.ino(), *id)));
            }
        }
    }
}

fn fill(cgroup: &mut Cgroup, rows: &Rows<fn(&Known) -> Option<u64>>, known: &Known) {
    for (metric, rank, pick) in rows {
        if let Some(value) = pick(known) {
            cgroup.values.put(*metric, *rank, value);
        }
    }
}

/// The token includes CPU time, so a statistic that changed and changed back is still noticed: only a process that ran
/// can have changed it.
fn set_tokens(cgroup: &mut Cgroup, found: &Record, total: Option<u64>) {
    if let (Some(statistics), Some(total)) = (some(found.statistics), total) {
        // In v1 the file holds the limit too.
        cgroup.tokens.set(ChangeToken::Memory, Some(mixed(mixed(statistics, total), found.pages_limit)));
    }
    if found.first_device == 0 {
        cgroup.tokens.set(ChangeToken::Io, Some(0));
    }
    // Each v1 tree knows only its own controllers.
    for (which, token) in [
        (ChangeToken::MemoryLimit, some(found.pages_limit)),
        (ChangeToken::TasksLimit, some(found.tasks_limit)),
        (ChangeToken::Quota, some(found.period).map(|period| mixed(found.quota, period))),
    ] {
        if token.is_some() {
            cgroup.tokens.set(which, token);
        }
    }
}

fn mixed(one: u64, other: u64) -> u64 {
    let mut mixed = DefaultHasher::new();
    mixed.write_u64(one);
    mixed.write_u64(other);
    mixed.finish()
}

fn some(number: u64) -> Option<u64> {
    (number != UNKNOWN).then_some(number)
}

/// Converts the state of the controllers to the units of the files.
fn known(found: &Record, kind: TreeKind, page: u64) -> Known {
    let bytes = |pages| some(pages).map(|pages| pages.saturating_mul(page));
    // Only the v2 tree has files for these; the sum of memory and swap in v1 does not replace them.
    let of_v2 = |number| (kind == TreeKind::V2).then_some(number);
    Known {
        periods: some(found.periods),
        throttled: some(found.throttled),
        throttled_time: some(found.throttled_time),
        memory: bytes(found.pages),
        memory_peak: bytes(found.peak_pages),
        swap: of_v2(found.swapped_pages).and_then(bytes),
        // In v1 a kill counts in the victim's own group alone, not in those around it.
        oom_kills: of_v2(found.oom_kills).and_then(some),
        tasks: some(found.tasks),
        frozen: of_v2(found.frozen),
        frozen_v1: some(found.frozen_v1),
        populated: of_v2(found.populated),
        pressure: of_v2(found.psi_idle).filter(|psi_idle| *psi_idle != 0).map(|_| 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Record = Record {
        cgroup: 1,
        populated: 0,
        frozen: 0,
        psi_idle: 0,
        periods: UNKNOWN,
        throttled: UNKNOWN,
        throttled_time: UNKNOWN,
        pages: UNKNOWN,
        peak_pages: UNKNOWN,
        pages_limit: UNKNOWN,
        tasks_limit: UNKNOWN,
        quota: UNKNOWN,
        period: UNKNOWN,
        swapped_pages: UNKNOWN,
        oom_kills: UNKNOWN,
        statistics: UNKNOWN,
        tasks: UNKNOWN,
        frozen_v1: UNKNOWN,
        first_device: UNKNOWN,
    };

    #[test]
    fn what_a_tree_does_not_have_is_left_to_the_files() {
        assert_eq!(known(&NOTHING, TreeKind::V1, 4096), Known::default());
        let only = Known { frozen: Some(0), populated: Some(0), ..Known::default() };
        assert_eq!(known(&NOTHING, TreeKind::V2, 4096), only);
        let found = Record { pages: 3, swapped_pages: 5, psi_idle: 1, tasks: 7, frozen_v1: 1, ..NOTHING };
        let (v1, v2) = (known(&found, TreeKind::V1, 4096), known(&found, TreeKind::V2, 4096));
        assert_eq!((v1.memory, v1.swap, v1.pressure, v1.frozen), (Some(12_288), None, None, None));
        assert_eq!((v2.memory, v2.swap, v2.pressure, v2.tasks), (Some(12_288), Some(20_480), Some(0), Some(7)));
    }

    #[test]
    fn memory_has_the_same_mark_only_while_nothing_moves_and_nobody_ran() {
        let of = |statistics, total| {
            let mut cgroup = Cgroup::default();
            set_tokens(&mut cgroup, &Record { statistics, ..NOTHING }, total);
            cgroup.tokens.get(ChangeToken::Memory)
        };
        assert_eq!(of(1, Some(2)), of(1, Some(2)));
        assert!(of(1, Some(2)) != of(1, Some(3)) && of(1, Some(2)) != of(2, Some(2)));
        assert_eq!((of(1, None), of(UNKNOWN, Some(2))), (None, None));
    }

    #[test]
    fn limits_have_marks_of_their_own_and_a_tree_without_them_changes_none() {
        let mut cgroup = Cgroup::default();
        let mut of = |found: Record| {
            set_tokens(&mut cgroup, &found, None);
            [ChangeToken::MemoryLimit, ChangeToken::TasksLimit, ChangeToken::Quota]
                .map(|which| cgroup.tokens.get(which))
        };
        assert_eq!(of(NOTHING), [None; 3]);
        assert_eq!(of(Record { pages_limit: 7, ..NOTHING }), [Some(7), None, None]);
        let all = of(Record { tasks_limit: 8, quota: 1, period: 2, ..NOTHING });
        assert_eq!(all[..2], [Some(7), Some(8)]);
        let other = of(Record { quota: UNKNOWN, period: 2, ..NOTHING });
        assert!(all[2].is_some() && other[2].is_some() && all[2] != other[2], "no quota is one too");
    }

    #[test]
    fn io_has_a_mark_only_while_there_was_none() {
        let of = |first_device| {
            let mut cgroup = Cgroup::default();
            set_tokens(&mut cgroup, &Record { first_device, ..NOTHING }, None);
            cgroup.tokens.get(ChangeToken::Io)
        };
        assert_eq!((of(0), of(0xffff_8880_0000_0000), of(UNKNOWN)), (Some(0), None, None));
    }
}
