//! A kernel that preempts a task in the middle of a program on a function, which then does not run for others.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use monitor::metrics::Metric;
use monitor::preflight::EbpfMode;
use tests::cgroup::Group;
use tests::watched::{Load, Outside};
use tests::{eventually, skip};

/// Files that each process opens and closes.
const FILES: u64 = 20_000;
/// Processes that do this.
const LOADS: usize = 6;

#[test]
fn what_a_program_misses_is_told_and_the_numbers_that_lack_it_are_null() {
    if !tests::is_root() {
        skip!("control groups take root");
    }
    let Some(group) = Group::new("preempted") else { skip!("no control group can be made here") };
    let mut events = Outside::programs(&group, EbpfMode::Auto, true, None);
    let numbers = [Metric::DescriptorsOpened, Metric::DescriptorsClosed];
    if let Some(Err(cause)) = events.look().values.get(numbers[0]) {
        skip!("{}: {cause}", numbers[0].spec().name());
    }
    let files = FILES.to_string();
    let mut done = 0;
    let missed = eventually(Duration::from_secs(20), || {
        let mut loads: Vec<Load> = (0..LOADS).map(|_| Load::start(&group, &["open-and-close", &files])).collect();
        loads.iter_mut().for_each(|load| _ = load.done());
        done += 2 * FILES * LOADS as u64;
        let before = events.lost();
        let values = events.look().values;
        (events.lost() > before).then_some(values)
    });
    let Some(values) = missed else { skip!("this kernel takes the CPU from no task in a program") };
    let causes = numbers.map(|metric| values.get(metric).unwrap().map_err(ToString::to_string));
    assert!(causes.iter().any(Result::is_err), "{causes:?}");
    for cause in causes.into_iter().filter_map(Result::err) {
        assert!(cause.contains("preempted"), "{cause}");
    }
    // When no more events are missed, the numbers are back; together with the missed ones they are the whole load.
    events.look();
    let counted: u64 = numbers.map(|metric| events.counter(metric)).into_iter().sum();
    assert!(counted + events.lost() >= done, "{counted} and {} of {done}", events.lost());
}
