//! The cost of one reading, against `pread` of the same files.

use std::collections::BTreeMap;
use std::time::Duration;

use monitor::preflight::EbpfMode;
use monitor::report::Report;
use tests::spent;

use crate::containers::Containers;
use crate::floor::Floor;
use crate::machine::{Machine, descriptors};
use crate::table::Row;

/// Rounds in which the sides of a ratio take turns, so that other load affects all alike.
const ROUNDS: usize = 9;

/// Measures a reading of the containers, in every way.
pub fn readings(containers: &Containers) -> Vec<Row> {
    let number = containers.number;
    let (known, found) = {
        let mut machine = Machine::new(EbpfMode::Off, 0);
        // Names are resolved first.
        std::thread::sleep(Duration::from_millis(500));
        machine.read();
        let known = machine.read();
        let found = known.cgroups.len();
        (known, found)
    };
    let mut files = Floor::of(&known);
    let watched = files.snapshot.cgroups.len();
    let mut machine = Machine::new(EbpfMode::Auto, descriptors().saturating_sub(2 * files.kept.len()));
    let mut before = machine.read();
    for _ in 0..3 {
        before = machine.read();
    }
    let mut times: BTreeMap<&str, Vec<Duration>> = BTreeMap::new();
    for _ in 0..ROUNDS {
        let mut timed = |what, work: &mut dyn FnMut()| {
            let began = spent();
            work();
            times.entry(what).or_default().push(spent() - began);
        };
        timed("floor", &mut || files.pread());
        let mut empty = files.snapshot.clone();
        timed("files", &mut || files.source(&mut empty));
        timed("anew", &mut || files.anew());
        let mut now = None;
        timed("tick", &mut || now = Some(machine.read()));
        let now = now.unwrap();
        timed("report", &mut || drop(Report::new(Some(&before), &now, Duration::ZERO)));
        before = now;
    }
    let median = |what: &str| {
        let mut all = times[what].clone();
        all.sort();
        all[all.len() / 2]
    };
    let each = |took: Duration, of: usize| format!("{:.1} µs", took.as_secs_f64() * 1e6 / of as f64);
    let ratio = median("files").as_secs_f64() / median("floor").as_secs_f64();
    let tick = median("tick") + median("report");
    vec![
        Row::new(
            format!(
                "{number} containers: the {} files of {watched}, per `pread` of the same files kept open ({} each)",
                files.kept.len(),
                each(median("floor"), watched)
            ),
            format!("{ratio:.2}"),
            Some(("1.20", ratio <= 1.2)),
        ),
        Row::new(
            format!("{number} containers: opening, reading and closing the same files, per the same"),
            format!("{:.2}", median("anew").as_secs_f64() / median("floor").as_secs_f64()),
            None,
        ),
        Row::new(
            format!("{number} containers: one tick, all sources and the report, per container"),
            each(tick, found),
            None,
        ),
        Row::new(
            format!("{number} containers: one tick"),
            format!("{:.1} ms", tick.as_secs_f64() * 1e3),
            (number == 10_000).then_some(("100 ms", tick < Duration::from_millis(100))),
        ),
    ]
}
