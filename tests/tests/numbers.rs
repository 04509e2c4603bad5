//! Numbered samples through the sink into a real server and back: the effect of clocks and earlier runs on a history.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

use monitor::metrics::Metric;
use monitor::publish::{self, Publisher};
use monitor::report::{Delivery, Report};
use monitor::sinks::valkey::Valkey as Sink;
use monitor::sinks::{self, Sink as _};
use monitor::snapshot::{CgroupId, Identity, Snapshot, Stamp, Values};
use monitor::valkey::{Target, ValkeyOptions};
use tests::skip;
use tests::valkey::Valkey;
use tokio::sync::watch;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

static START: OnceLock<(Instant, SystemTime)> = OnceLock::new();

fn clock() -> Stamp {
    let (start, wall) = *START.get_or_init(|| (Instant::now(), SystemTime::now()));
    Stamp { mono: start.elapsed(), wall: wall + start.elapsed() }
}

/// Publishes a sample with a number in it, whose wall clock time may be wrong.
fn sample(publisher: &Publisher, number: u64, wall: SystemTime) {
    give(publisher, number, wall, |_| ());
}

/// The same, with an event that makes a log entry with the number in it.
fn logged_sample(publisher: &Publisher, number: u64, wall: SystemTime) {
    give(publisher, number, wall, |values| values.put(Metric::OomKills, 0, number));
}

fn give(publisher: &Publisher, number: u64, wall: SystemTime, more: impl Fn(&mut Values)) {
    let mut now = Snapshot::new(Stamp { wall, ..clock() });
    let cgroup = now.cgroups.entry(CgroupId(1)).or_default();
    cgroup.identity = Identity { name: "web".to_owned(), ..Identity::default() }.into();
    cgroup.values.put(Metric::ProcessCount, 0, number);
    more(&mut cgroup.values);
    publisher.publish(Report::new(None, &now, Duration::ZERO));
}

struct Running {
    publisher: Publisher,
    delivery: watch::Receiver<Delivery>,
    task: tokio::task::JoinHandle<()>,
}

fn start(valkey: &Valkey) -> Running {
    let target = Target::parse(&format!("valkey://127.0.0.1:{}", valkey.port)).unwrap();
    let (mut publisher, reports) = publish::channel();
    let sink = Sink::new(ValkeyOptions { target, history: Some(DAY), ..ValkeyOptions::default() }, clock);
    let delivery = sink.delivery().unwrap();
    let task = sinks::start(Box::new(sink), &mut publisher, &reports);
    Running { publisher, delivery, task }
}

impl Running {
    async fn end(self) {
        drop(self.publisher);
        self.task.await.unwrap();
    }
}

/// Waits until the history has this number of entries: an agent that ends writes one more batch and no backlog.
async fn until_stored(valkey: &Valkey, entries: u64) {
    let stored = async {
        while valkey.query::<u64>(&["XLEN", "system:history:web"]) < entries {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), stored).await.expect("reports are missing in the history");
}

/// The numbers in the history, in its order.
fn numbers(valkey: &Valkey) -> Vec<u64> {
    let number = |report: &str| serde_json::from_str::<serde_json::Value>(report).unwrap()["process_count"].as_u64();
    valkey.history("web").iter().map(|(_, report)| number(report).unwrap()).collect()
}

/// The numbers in the log, in its order.
fn logged_numbers(valkey: &Valkey) -> Vec<u64> {
    let entries: Vec<tests::valkey::StreamEntry> = valkey.query(&["XRANGE", "system:logstream:web", "-", "+"]);
    let number = |bytes: &[u8]| {
        let entry: serde_json::Value = serde_json::from_slice(bytes).unwrap();
        entry["message"].as_str().unwrap().strip_suffix(" in all")?.rsplit(' ').next()?.parse().ok()
    };
    entries.iter().filter_map(|(_, fields)| number(&fields[0].1)).collect()
}

/// A clock that is right, an hour late, right, a day early, and right again: a hundred samples each.
#[tokio::test]
async fn a_clock_that_steps_back_an_hour_and_forward_a_day_costs_no_sample_and_no_order() {
    let Some(valkey) = Valkey::start(&[]) else { skip!("valkey-server is not installed") };
    let running = start(&valkey);
    let steps: [fn(SystemTime) -> SystemTime; 5] =
        [|wall| wall, |wall| wall - HOUR, |wall| wall, |wall| wall + DAY, |wall| wall];
    for (phase, step) in steps.into_iter().enumerate() {
        for number in 0..100 {
            logged_sample(&running.publisher, phase as u64 * 100 + number, step(clock().wall));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    running.end().await;
    assert_eq!(numbers(&valkey), (0..500).collect::<Vec<_>>());
    assert_eq!(logged_numbers(&valkey), (1..500).collect::<Vec<_>>());
}

/// The last entry of an earlier run is from tomorrow; so are log entries.
#[tokio::test]
async fn a_history_that_ends_in_the_future_is_gone_on_with() {
    let Some(valkey) = Valkey::start(&[]) else { skip!("valkey-server is not installed") };
    let tomorrow = (clock().wall + DAY).duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis().to_string();
    let _: () = valkey.query(&["XADD", "system:history:web", &tomorrow, "report", r#"{"process_count":0}"#]);
    let _: () = valkey.query(&["XADD", "system:logstream:web", &tomorrow, "entry", "{}"]);
    let running = start(&valkey);
    for number in 1..50 {
        sample(&running.publisher, number, clock().wall);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    running.end().await;
    assert_eq!(numbers(&valkey), (0..50).collect::<Vec<_>>());
    assert!(valkey.query::<u64>(&["XLEN", "system:logstream:web"]) > 1);
}

/// Reports come faster than the server takes them: none is skipped.
#[tokio::test]
async fn a_burst_is_written_as_it_came() {
    let Some(valkey) = Valkey::start(&[]) else { skip!("valkey-server is not installed") };
    let running = start(&valkey);
    for number in 0..2_000 {
        logged_sample(&running.publisher, number, clock().wall);
        tokio::task::yield_now().await;
    }
    until_stored(&valkey, 2_000).await;
    running.end().await;
    assert_eq!(numbers(&valkey), (0..2_000).collect::<Vec<_>>());
    assert_eq!(logged_numbers(&valkey), (1..2_000).collect::<Vec<_>>());
}

/// Resident memory of this process in bytes.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// More than fits: the newest entries stay, as many as the bound allows, and the missing ones have been counted.
#[tokio::test]
async fn an_outage_beyond_the_buffer_costs_the_oldest_and_counts_them() {
    let Some(mut valkey) = Valkey::prepare(&[]) else { skip!("valkey-server is not installed") };
    let running = start(&valkey);
    let before = resident();
    let all = 20_000;
    for number in 0..all {
        sample(&running.publisher, number, clock().wall);
        tokio::task::yield_now().await;
    }
    let grown = resident().saturating_sub(before);
    println!("{} MiB for a buffer of 32", grown >> 20);
    assert!(grown < 48 << 20, "{grown} bytes");
    let mut delivery = running.delivery.clone();
    let dropped = delivery.borrow().dropped;
    assert!(dropped > 0, "everything fits");
    valkey.restart();
    let written = async { delivery.wait_for(|delivery| delivery.backlog == 0).await.unwrap().dropped };
    let still_dropped = tokio::time::timeout(Duration::from_secs(60), written).await.expect("the backlog stays");
    running.end().await;
    let numbers = numbers(&valkey);
    assert_eq!(numbers, (all - numbers.len() as u64..all).collect::<Vec<_>>());
    // Log entries may have been dropped too: this container has one, the first heartbeat.
    let missing = all - numbers.len() as u64;
    assert!(
        (missing..=missing + 1).contains(&dropped) && dropped == still_dropped,
        "{dropped} dropped, {missing} missing"
    );
}
