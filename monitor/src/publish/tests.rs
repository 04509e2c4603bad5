use std::time::{Duration, SystemTime};

use super::*;
use crate::snapshot::{CgroupId, Snapshot, Stamp, Status};

fn report(seconds: u64, coverage: Coverage, containers: &[(u64, Status)]) -> Report {
    let taken = Stamp { mono: Duration::from_secs(seconds), wall: SystemTime::UNIX_EPOCH };
    let mut now = Snapshot { coverage, ..Snapshot::new(taken) };
    for &(id, status) in containers {
        now.cgroups.entry(CgroupId(id)).or_default().status = status;
    }
    Report::new(None, &now, Duration::ZERO)
}

fn whole(seconds: u64, containers: &[(u64, Status)]) -> Report {
    report(seconds, Coverage::All, containers)
}

fn ended(seconds: u64, id: u64) -> Report {
    report(seconds, Coverage::Exited, &[(id, Status::Exited)])
}

async fn all(mut reports: Reports) -> Vec<(u64, Vec<u64>)> {
    let mut all = Vec::new();
    while let Some(report) = reports.next().await {
        all.push((report.taken.mono.as_secs(), report.containers.iter().map(|container| container.id.0).collect()));
    }
    all
}

#[tokio::test]
async fn the_latest_whole_report_wins_and_none_of_an_end_is_lost() {
    let (publisher, reports) = channel();
    let other = reports.clone();
    publisher.publish(whole(1, &[(1, Status::Running)]));
    publisher.publish(ended(2, 20));
    publisher.publish(whole(3, &[(1, Status::Running), (30, Status::Exited)]));
    publisher.publish(ended(4, 40));
    publisher.publish(ended(5, 50));
    drop(publisher);
    let expected = [(2, vec![20]), (3, vec![30]), (3, vec![1]), (4, vec![40]), (5, vec![50])];
    assert_eq!(all(reports).await, expected);
    assert_eq!(all(other).await, expected);
}

#[tokio::test]
async fn who_wants_every_report_gets_every_one_with_what_is_known_of_the_delivery() {
    let (mut publisher, _reports) = channel();
    let (delivery, receiver) = watch::channel(Delivery::default());
    publisher.set_delivery(receiver);
    let mut every = publisher.every();
    publisher.publish(whole(1, &[(1, Status::Running)]));
    delivery.send_modify(|delivery| delivery.backlog = 7);
    publisher.publish(whole(2, &[(1, Status::Running), (30, Status::Exited)]));
    drop(publisher);
    let mut all = Vec::new();
    while let Ok(report) = every.recv().await {
        let backlog = report.delivery.as_ref().unwrap().backlog;
        all.push((report.taken.mono.as_secs(), report.containers[0].id.0, backlog));
    }
    assert_eq!(all, [(1, 1, 0), (2, 30, 7), (2, 1, 7)]);
}

#[tokio::test]
async fn a_whole_report_from_before_an_end_is_not_given_behind_it() {
    let (publisher, reports) = channel();
    publisher.publish(whole(1, &[(1, Status::Running)]));
    publisher.publish(ended(2, 1));
    drop(publisher);
    assert_eq!(all(reports).await, [(1, vec![1]), (2, vec![1])]);
}

#[tokio::test]
async fn the_last_report_of_the_own_container_is_one_report() {
    let (publisher, reports) = channel();
    publisher.publish(whole(1, &[(1, Status::Running), (2, Status::Running)]).as_last());
    drop(publisher);
    assert_eq!(all(reports).await, [(1, vec![1, 2])]);
}

#[tokio::test]
async fn who_is_too_slow_loses_the_oldest() {
    let (publisher, reports) = channel();
    for seconds in 0..=MOST_QUEUED as u64 {
        publisher.publish(ended(seconds, 1));
    }
    drop(publisher);
    let all = all(reports).await;
    assert_eq!((all.len(), all[0].0), (MOST_QUEUED, 1));
}
