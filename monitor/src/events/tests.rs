use std::time::{Duration, SystemTime};

use super::*;
use crate::cause::{Cause, CauseKind};
use crate::metrics::Metric;
use crate::report::Container;
use crate::report::Report;
use crate::snapshot::Status;
use crate::snapshot::{CgroupId, Snapshot, Stamp};

fn container(values: &[(Metric, u8, u64)]) -> Container {
    let mut now = Snapshot::new(Stamp { mono: Duration::from_secs(1), wall: SystemTime::UNIX_EPOCH });
    let cgroup = now.cgroups.entry(CgroupId(1)).or_default();
    cgroup.values.miss(Metric::CpuUsage, 9, Cause::new(CauseKind::Denied, "cpu.stat: no such device"));
    for &(metric, rank, value) in values {
        if metric.is_shared() { &mut now.host.values } else { &mut cgroup.values }.put(metric, rank, value);
    }
    Report::new(None, &now, Duration::ZERO).containers.remove(0)
}

fn texts(events: Vec<Event>) -> Vec<String> {
    events.into_iter().map(|event| format!("{} {event}", event.level().as_str())).collect()
}

#[test]
fn a_source_that_is_lost_and_comes_back_is_said_once_each() {
    let mut watch = Watch::default();
    let there = container(&[(Metric::CpuUsage, 1, 1)]);
    assert!(watch.events(&there).is_empty());
    assert_eq!(watch.events(&container(&[])), [], "it may be about to end");
    assert_eq!(
        texts(watch.events(&container(&[]))),
        ["WARN cpu is lost, was read from cgroup2: cpu.stat: no such device"]
    );
    assert!(watch.events(&container(&[])).is_empty());
    assert_eq!(texts(watch.events(&there)), ["INFO cpu is back, read from cgroup2"]);
}

#[test]
fn what_was_never_there_and_appears_is_no_event_and_another_source_is_one() {
    let mut watch = Watch::default();
    watch.events(&container(&[]));
    assert!(watch.events(&container(&[(Metric::CpuUsage, 2, 1)])).is_empty());
    let other = container(&[(Metric::CpuUsage, 1, 1)]);
    assert_eq!(texts(watch.events(&other)), ["WARN cpu is now read from cgroup2, no longer from cgroup1"]);
}

#[test]
fn an_oom_kill_is_an_error_and_counted() {
    let mut watch = Watch::default();
    assert!(watch.events(&container(&[(Metric::OomKills, 0, 3)])).is_empty());
    let now = container(&[(Metric::OomKills, 0, 5)]);
    assert_eq!(texts(watch.events(&now)), ["ERROR out of memory: the kernel killed 2 processes, 5 in all"]);
    assert!(watch.events(&now).is_empty());
}

#[test]
fn a_kill_that_only_the_last_report_knows_of_is_said() {
    let ended = |kills| {
        let mut container = container(&[(Metric::OomKills, 2, kills)]);
        container.status = Status::Exited;
        container
    };
    assert_eq!(
        texts(Watch::default().events(&ended(1)))[0],
        "ERROR out of memory: the kernel killed 1 process, 1 in all"
    );
    let mut watch = Watch::default();
    watch.events(&container(&[(Metric::OomKills, 0, 1)]));
    assert!(!texts(watch.events(&ended(1))).iter().any(|text| text.contains("memory")));
}

#[test]
fn memory_beyond_its_bound_does_not_chatter() {
    let mut watch = Watch::default();
    let mut at = |percent: u64| {
        texts(watch.events(&container(&[
            (Metric::MemoryUsage, 0, percent),
            (Metric::MemoryLimit, 0, 100),
            (Metric::MachineMemory, 0, 1000),
        ])))
    };
    assert_eq!(at(91), ["WARN memory in use, percent of the limit: 91.0"]);
    assert!(at(89).is_empty());
    assert!(at(92).is_empty());
    assert_eq!(at(80), ["INFO memory in use, percent of the limit: 80.0 again"]);
}

#[test]
fn a_frozen_container_is_said() {
    let mut watch = Watch::default();
    watch.events(&container(&[]));
    assert_eq!(texts(watch.events(&container(&[(Metric::Frozen, 0, 1)]))), ["INFO the container is frozen"]);
    assert_eq!(texts(watch.events(&container(&[]))), ["INFO the container runs again"]);
}

#[test]
fn a_heartbeat_names_what_is_there_and_what_is_not() {
    let container = container(&[(Metric::ProcessCount, 0, 3), (Metric::MemoryUsage, 2, 1 << 20)]);
    let text = Heartbeat::new(&container, None).to_string();
    assert!(text.starts_with("1.0 MiB, 3 processes, sources: memory from cgroup2"), "{text}");
    assert!(text.contains("absent: cpu, network"), "{text}");
}

#[test]
fn the_end_of_a_container_is_no_loss_of_its_sources() {
    let mut watch = Watch::default();
    watch.events(&container(&[(Metric::CpuUsage, 1, 1), (Metric::MemoryUsage, 2, 1), (Metric::ProcessCount, 1, 1)]));
    let mut exited = container(&[]);
    exited.status = Status::Exited;
    assert_eq!(watch.events(&exited), []);
}

#[test]
fn files_that_went_before_the_container_did_are_no_loss_of_a_source() {
    let mut watch = Watch::default();
    watch.events(&container(&[(Metric::CpuUsage, 1, 1)]));
    let mut now = Snapshot::new(Stamp { mono: Duration::from_secs(1), wall: SystemTime::UNIX_EPOCH });
    let gone = Cause::new(CauseKind::Exited, "cpu.stat: the cgroup has ended");
    now.cgroups.entry(CgroupId(1)).or_default().values.miss(Metric::CpuUsage, 9, gone);
    let container = Report::new(None, &now, Duration::ZERO).containers.remove(0);
    assert_eq!(watch.events(&container), []);
}

#[test]
fn a_container_without_processes_loses_no_source_while_its_files_go() {
    let mut watch = Watch::default();
    watch.events(&container(&[(Metric::CpuUsage, 1, 1), (Metric::ProcessCount, 0, 1)]));
    for _ in 0..3 {
        assert_eq!(watch.events(&container(&[(Metric::ProcessCount, 0, 0)])), []);
    }
}

#[test]
fn what_is_missing_for_one_reading_was_not_lost() {
    let mut watch = Watch::default();
    let there = container(&[(Metric::CpuUsage, 1, 1)]);
    for _ in 0..3 {
        assert_eq!(watch.events(&there), []);
        assert_eq!(watch.events(&container(&[])), []);
    }
}

#[test]
fn an_entry_that_is_read_back_has_the_topic_that_it_was_written_with() {
    let heartbeat = Heartbeat::new(&container(&[]), Some("connected".to_owned()));
    for event in [Event::Alive(Box::new(heartbeat)), Event::Exited, Event::AgentStopped, Event::Frozen] {
        let entry = LogEntry::new(SystemTime::UNIX_EPOCH, &event);
        assert_eq!(LogEntry::written(entry.at, entry.level, entry.message.as_str()), entry);
    }
}
