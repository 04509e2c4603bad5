//! The kinds of memory of a group, by the agent and by the kernel's own files.

use std::collections::BTreeMap;

use monitor::metrics::Metric;

use crate::cgroup::Group;
use crate::eventually;
use crate::watched::{Outside, TIMEOUT};

/// A number with its file and the keys in it that are added, in v2 and in v1; without a key where the tree has none.
struct Kind(Metric, [(&'static str, &'static [&'static str]); 2]);

const STAT: &str = "memory.stat";
const NONE: (&str, &[&str]) = (STAT, &["none"]);

const KINDS: &[Kind] = &[
    Kind(Metric::MemoryActiveFile, [(STAT, &["active_file"]), (STAT, &["total_active_file"])]),
    Kind(Metric::MemorySlabReclaimable, [(STAT, &["slab_reclaimable"]), NONE]),
    Kind(Metric::MemorySlabUnreclaimable, [(STAT, &["slab_unreclaimable"]), NONE]),
    Kind(Metric::MemoryShmem, [(STAT, &["shmem"]), (STAT, &["total_shmem"])]),
    Kind(Metric::MemorySock, [(STAT, &["sock"]), NONE]),
    Kind(Metric::MemoryDirty, [(STAT, &["file_dirty"]), (STAT, &["total_dirty"])]),
    Kind(Metric::MemoryWriteback, [(STAT, &["file_writeback"]), (STAT, &["total_writeback"])]),
    Kind(
        Metric::MemoryRefaults,
        [
            (STAT, &["workingset_refault_anon", "workingset_refault_file"]),
            (STAT, &["total_workingset_refault_anon", "total_workingset_refault_file"]),
        ],
    ),
    Kind(Metric::MemoryScanned, [(STAT, &["pgscan"]), NONE]),
    Kind(Metric::MemoryHighHits, [("memory.events", &["high"]), ("memory.events", &["none"])]),
];

/// True if the memory controller is in the v2 tree.
pub fn is_v2(group: &Group) -> bool {
    group.dir("memory").is_some_and(|dir| dir.join("memory.current").exists())
}

fn of_the_kernel(group: &Group) -> BTreeMap<Metric, u64> {
    let version = usize::from(!is_v2(group));
    let told = |Kind(metric, keys): &Kind| Some((*metric, group.memory_file(keys[version].0, keys[version].1)?));
    KINDS.iter().filter_map(told).collect()
}

/// The numbers of a group, which the agent reads as the kernel tells them, and has no others.
pub fn agreed(group: &Group, files: &mut Outside) -> BTreeMap<Metric, u64> {
    let steady = || {
        let (before, look) = (of_the_kernel(group), files.look());
        (before == of_the_kernel(group)).then_some((before, look))
    };
    let (told, look) = eventually(TIMEOUT, steady).expect("the memory never stands still");
    for Kind(metric, _) in KINDS {
        let read = look.values.get(*metric).and_then(Result::ok);
        assert_eq!(read, told.get(metric).copied(), "{metric:?}: {:?}", look.get(*metric));
    }
    told
}
