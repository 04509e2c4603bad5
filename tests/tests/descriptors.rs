//! Descriptors that are opened and closed, counted in the kernel, against the open ones in `/proc`.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use monitor::metrics::Metric;
use monitor::preflight::EbpfMode;
use monitor::sources::bpf::pins::Pins;
use tests::cgroup::Group;
use tests::watched::{Load, Outside};
use tests::{eventually, skip};

/// The end of a thread is visible to others before its descriptors are closed.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Counts descriptors that are opened and closed in a group.
fn watch(group: &Group, pins: Option<&Pins>) -> Outside {
    Outside::programs(group, EbpfMode::Auto, true, pins)
}

/// Numbers of descriptors opened and closed.
fn counted(events: &mut Outside) -> [u64; 2] {
    let values = events.look().values;
    [Metric::DescriptorsOpened, Metric::DescriptorsClosed].map(|metric| values.get(metric).unwrap().unwrap())
}

/// The open descriptors of all processes of a group.
fn open(group: &Group) -> u64 {
    let members = fs::read_to_string(group.v2().unwrap().join("cgroup.procs")).unwrap();
    let of = |process: &str| fs::read_dir(format!("/proc/{process}/fd")).map_or(0, Iterator::count);
    members.lines().map(of).sum::<usize>() as u64
}

/// Makes a group with its counters, or skips the test.
macro_rules! counting {
    ($name:literal) => {{
        if !tests::is_root() {
            skip!("control groups take root");
        }
        let Some(group) = Group::new($name) else { skip!("no control group can be made here") };
        let mut events = watch(&group, None);
        let values = events.look().values;
        for metric in [Metric::DescriptorsOpened, Metric::DescriptorsClosed] {
            if let Some(Err(cause)) = values.get(metric) {
                skip!("{}: {cause}", metric.spec().name());
            }
        }
        (group, events)
    }};
}

#[test]
fn whatever_opens_and_closes_the_difference_is_what_is_open() {
    let (group, mut events) = counting!("descriptors");
    let mut load = Load::start(&group, &["descriptors"]);
    let mut next = load.done();
    // The load and its first descriptors were made by a process outside of the group.
    let [opened, closed] = counted(&mut events);
    let before = open(&group) + closed - opened;
    let mut steps = 0;
    while let Some(operation) = next.pop() {
        load.go_on();
        next = load.done();
        let said = |events: &mut Outside| (counted(events), open(&group));
        let is_all = |([opened, closed], open): &([u64; 2], u64)| open + closed == before + opened;
        let all = eventually(TIMEOUT, || Some(said(&mut events)).filter(is_all));
        assert!(all.is_some(), "{operation}: {:?}, {before} before", said(&mut events));
        steps += 1;
    }
    assert_eq!(steps, 27);
    let [opened, closed] = counted(&mut events);
    assert!(opened > 100 && closed > 50, "{opened} {closed}");
}

#[test]
fn each_file_counts_once_and_what_is_not_asked_for_is_not_counted() {
    let (group, mut events) = counting!("files");
    let mut load = Load::start(&group, &["descriptors"]);
    load.done();
    let [opened, closed] = counted(&mut events);
    for expected in [[opened + 5, closed], [opened + 5, closed + 2]] {
        load.go_on();
        load.done();
        assert_eq!(counted(&mut events), expected);
    }
    let values = Outside::ebpf(&group, EbpfMode::Auto).look().values;
    let cause = values.get(Metric::DescriptorsOpened).unwrap().unwrap_err().to_string();
    assert_eq!(cause, "eBPF fd_install: --ebpf-fd-events is off");
}

#[test]
fn counting_goes_on_between_two_agents_and_ends_with_one_that_is_not_asked_for_it() {
    let (group, events) = counting!("pinned-files");
    drop(events);
    let dir = format!("/sys/fs/bpf/descriptors-{}", std::process::id());
    let pins = match Pins::open(Path::new(&dir), "test") {
        Ok(pins) => pins,
        Err(error) => skip!("{error}"),
    };
    let mut first = watch(&group, Some(&pins));
    let mut load = Load::start(&group, &["descriptors"]);
    load.done();
    let [opened, closed] = counted(&mut first);
    drop(first);
    load.go_on();
    load.done();
    let mut second = watch(&group, Some(&pins));
    assert_eq!(counted(&mut second), [opened + 5, closed]);
    load.go_on();
    load.done();
    assert_eq!(counted(&mut second), [opened + 5, closed + 2]);
    drop(second);
    drop(Outside::programs(&group, EbpfMode::Auto, false, Some(&pins)));
    let links = Path::new(&dir).join("process/links");
    assert!(!links.join("fd_install").exists() && links.join("task_newtask").exists());
    pins.detach().unwrap();
}
