use std::collections::BTreeSet;

use super::*;

#[test]
fn names_are_unique_also_when_case_is_ignored() {
    let names: BTreeSet<String> = Metric::ALL.iter().map(|metric| metric.spec().name().to_lowercase()).collect();
    assert_eq!(names.len(), Metric::COUNT);
}

#[test]
fn each_row_stands_at_its_own_position() {
    let positions: Vec<usize> = Metric::ALL.iter().map(|metric| metric.index()).collect();
    assert_eq!(positions, (0..Metric::COUNT).collect::<Vec<_>>());
    assert_eq!(Metric::Threads.spec().name(), "processes.threads");
}

/// Where every eBPF program runs, these are the files that are read for each container and tick: a row that adds one
/// costs as many reads as there are containers, and has to say so.
#[test]
fn few_files_are_read_where_every_program_runs() {
    let files: BTreeSet<&str> = Metric::origins()
        .filter_map(|(_, _, origin)| match origin {
            Origin::V2(file) if file.costs_read => Some(file.name),
            _ => None,
        })
        .collect();
    assert_eq!(
        Vec::from_iter(files),
        [
            "cpu.max",
            "cpuset.cpus.effective",
            "io.stat",
            "memory.events",
            "memory.max",
            "memory.stat",
            "memory.swap.max",
            "pids.max"
        ]
    );
}
