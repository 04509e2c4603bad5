//! The last hour of every container, within a bound of bytes.
//!
//! While everything fits, each tick is an entry. When it does not, exited containers are forgotten first. Then every
//! second entry is merged into the one before, and from then on each entry covers twice as many ticks: the step gets
//! longer, the hour never shorter. A merged gauge keeps its highest value, so that no peak is lost; a counter keeps its
//! last.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::chart::{Chart, Columns, merge, packed};
use super::frame::Frame;
use super::log_entry::LogEntry;
use super::packed::{ABSENT, Packed, Row};
use crate::metrics::Metric;
use crate::unix_time::unix_millis;

/// The approximate limit of the memory, in bytes.
pub(super) const BOUND: usize = 12 << 20;
/// The time span that is kept.
const LENGTH: Duration = Duration::from_secs(3600);
/// Log entries that are kept of a container.
const ENTRIES: usize = 50;

/// The last hour of all containers.
#[derive(Debug)]
pub(super) struct Memory {
    bound: usize,
    metrics: Vec<Metric>,
    containers: BTreeMap<String, Remembered>,
    /// The number of frames that make one entry.
    stride: u32,
}

#[derive(Debug)]
struct Remembered {
    past: Packed,
    /// The entry in progress, and the number of frames in it.
    pending: Option<(Row, u32)>,
    /// The time of its latest report.
    latest: u64,
    /// The time of the latest frame that contained it.
    seen: u64,
    entries: VecDeque<LogEntry>,
}

impl Memory {
    /// Creates an empty memory of at most `bound` bytes.
    pub(super) fn new(bound: usize) -> Self {
        let metrics = Metric::fields().map(|(metric, _)| metric).collect();
        Self { bound, metrics, containers: BTreeMap::new(), stride: 1 }
    }

    /// Records a tick, and forgets what is too old or exceeds the bound.
    pub(super) fn record(&mut self, frame: &Frame) {
        self.add(frame);
        let now = unix_millis(frame.taken);
        let oldest = now.saturating_sub(u64::try_from(LENGTH.as_millis()).unwrap_or(u64::MAX));
        self.containers.retain(|_, remembered| {
            remembered.past.forget(oldest);
            remembered.seen >= oldest
        });
        self.fit(now);
    }

    /// Records some containers between two ticks.
    pub(super) fn add(&mut self, frame: &Frame) {
        let seen = unix_millis(frame.taken);
        for view in &frame.containers {
            let remembered = remembered(&mut self.containers, view.name(), self.metrics.len());
            remembered.seen = seen;
            let taken = view.taken().map_or(seen, unix_millis);
            // A fleet's report may have been seen before.
            if taken != remembered.latest {
                let row = self.metrics.iter().map(|metric| packed(view.number(*metric), *metric)).collect();
                remembered.take(taken, row, self.stride, &self.metrics);
            }
        }
    }

    /// Records a log entry.
    pub(super) fn note(&mut self, name: &str, entry: LogEntry) {
        let remembered = remembered(&mut self.containers, name, self.metrics.len());
        remembered.seen = remembered.seen.max(entry.time);
        remembered.entries.push_back(entry);
        let surplus = remembered.entries.len().saturating_sub(ENTRIES);
        remembered.entries.drain(..surplus);
    }

    /// The numbers of a container since a time; `None` when it is not known.
    pub(super) fn columns(&self, name: &str, metrics: &[Metric], since: u64) -> Option<Columns> {
        let past = &self.containers.get(name)?.past;
        let at: Vec<Option<usize>> =
            metrics.iter().map(|metric| self.metrics.iter().position(|known| known == metric)).collect();
        let mut chart = Chart::new(metrics, past.latest());
        past.each(|time, row| {
            if time >= since {
                chart.push(time, at.iter().map(|at| at.map_or(ABSENT, |at| row[at])).collect());
            }
        });
        Some(chart.columns())
    }

    /// The log entries of a container, oldest first; `None` when it is not known.
    pub(super) fn entries(&self, name: &str) -> Option<Vec<LogEntry>> {
        Some(self.containers.get(name)?.entries.iter().cloned().collect())
    }

    /// Bytes in use.
    fn size(&self) -> usize {
        self.containers.iter().map(|(name, remembered)| name.len() + remembered.size()).sum()
    }

    fn fit(&mut self, now: u64) {
        if self.size() > self.bound {
            self.containers.values_mut().for_each(|remembered| remembered.past.shrink());
        }
        if self.size() > self.bound {
            self.containers.retain(|_, remembered| remembered.seen >= now);
        }
        // With only a few entries per container, the number of containers determines the size.
        while self.size() > self.bound && self.containers.values().any(|remembered| remembered.past.len() > 8) {
            let metrics = &self.metrics;
            self.containers.values_mut().for_each(|remembered| remembered.thin(metrics));
            self.stride = self.stride.saturating_mul(2);
        }
    }
}

fn remembered<'a>(containers: &'a mut BTreeMap<String, Remembered>, name: &str, columns: usize) -> &'a mut Remembered {
    containers.entry(name.to_owned()).or_insert_with(|| Remembered::new(columns))
}

impl Remembered {
    fn new(columns: usize) -> Self {
        Self { past: Packed::new(columns), pending: None, latest: 0, seen: 0, entries: VecDeque::new() }
    }

    fn take(&mut self, now: u64, row: Row, stride: u32, metrics: &[Metric]) {
        self.latest = now;
        let (row, ticks) = match self.pending.take() {
            Some((mut before, ticks)) => {
                merge(&mut before, &row, metrics);
                (before, ticks + 1)
            }
            None => (row, 1),
        };
        if ticks < stride {
            self.pending = Some((row, ticks));
        } else {
            self.past.push(now, &row);
        }
    }

    /// Merges every second entry into the one before.
    fn thin(&mut self, metrics: &[Metric]) {
        let mut thinned = Packed::new(metrics.len());
        let mut first: Option<Row> = None;
        self.past.each(|time, row| match first.take() {
            Some(mut before) => {
                merge(&mut before, row, metrics);
                thinned.push(time, &before);
            }
            None => first = Some(row.into()),
        });
        if let Some(row) = first {
            thinned.push(self.past.latest(), &row);
        }
        thinned.shrink();
        self.past = thinned;
    }

    fn size(&self) -> usize {
        let texts = self.entries.iter().map(|entry| size_of::<LogEntry>() + entry.message.len());
        let pending = self.pending.as_ref().map_or(0, |(row, _)| size_of_val(&**row));
        size_of::<Self>() + self.past.size() + pending + texts.sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::SystemTime;

    use super::*;
    use crate::events::Topic;
    use crate::report::Report;
    use crate::snapshot::{CgroupId, Identity, Snapshot, Stamp};
    use crate::wire::Shape;

    const START: u64 = 1_700_000_000;

    /// A tick in which every container has as much memory as `memory` says, and twice as many received bytes.
    fn tick(second: u64, containers: u64, memory: impl Fn(u64) -> u64) -> Frame {
        let mono = Duration::from_secs(second);
        let mut now = Snapshot::new(Stamp { mono, wall: SystemTime::UNIX_EPOCH + Duration::from_secs(START) + mono });
        for id in 0..containers {
            let cgroup = now.cgroups.entry(CgroupId(id)).or_default();
            cgroup.identity = Identity { name: format!("c{id}"), ..Identity::default() }.into();
            cgroup.values.put(Metric::MemoryUsage, 0, memory(id));
            cgroup.values.put(Metric::NetworkRxBytes, 0, memory(id) * 2);
        }
        Frame::reported(&Arc::new(Report::new(None, &now, Duration::ZERO)))
    }

    fn wholes(columns: &Columns, metric: Metric) -> Vec<u64> {
        let whole = |value: &Option<Shape>| match value {
            Some(Shape::Whole(value)) => *value,
            other => panic!("{other:?}"),
        };
        columns.series[metric.spec().name()].iter().map(whole).collect()
    }

    #[test]
    fn what_was_recorded_is_told_for_an_hour() {
        let mut memory = Memory::new(BOUND);
        for second in (0..4000).step_by(5) {
            memory.record(&tick(second, 1, |_| second));
        }
        let columns = memory.columns("c0", &[Metric::MemoryUsage, Metric::CpuPercent], 0).unwrap();
        assert_eq!(columns.times.len(), 721);
        assert_eq!(columns.times[0], (START + 395) * 1000);
        assert_eq!(wholes(&columns, Metric::MemoryUsage)[0], 395);
        assert!(columns.series["cpu_percent"].iter().all(Option::is_none), "absent is null");
        let late = memory.columns("c0", &[Metric::MemoryUsage], (START + 3990) * 1000).unwrap();
        assert_eq!(wholes(&late, Metric::MemoryUsage), [3990, 3995]);
        assert!(memory.columns("c1", &[], 0).is_none());
    }

    #[test]
    fn a_long_series_keeps_its_peaks_and_its_last_counts() {
        let mut memory = Memory::new(BOUND);
        for second in 0..3000 {
            memory.record(&tick(second, 1, |_| if second == 1501 { 1_000_000 } else { second }));
        }
        let columns = memory.columns("c0", &[Metric::MemoryUsage, Metric::NetworkRxBytes], 0).unwrap();
        assert!(columns.thinned && columns.times.len() == 1000);
        assert_eq!(wholes(&columns, Metric::MemoryUsage).into_iter().max(), Some(1_000_000));
        assert_eq!(wholes(&columns, Metric::NetworkRxBytes).last(), Some(&5998));
        assert_eq!(wholes(&columns, Metric::NetworkRxBytes)[0], 4, "the last of the first three");
    }

    #[test]
    fn what_does_not_fit_is_told_in_longer_steps_and_not_for_a_shorter_time() {
        let bound = 150_000;
        let mut memory = Memory::new(bound);
        for second in (0..3600).step_by(5) {
            memory.record(&tick(second, 20, |id| second * 7_919 + id));
            assert!(memory.size() <= bound, "{} at {second}", memory.size());
        }
        let columns = memory.columns("c19", &[Metric::MemoryUsage], 0).unwrap();
        let (first, last) = (columns.times[0], columns.times[columns.times.len() - 1]);
        assert!(first <= (START + 600) * 1000 && last >= (START + 3000) * 1000, "{first} to {last}");
        assert!(columns.times.len() > 20, "{}", columns.times.len());
    }

    #[test]
    fn containers_that_have_ended_make_room_first_and_go_after_an_hour() {
        let mut narrow = Memory::new(250_000);
        narrow.record(&tick(0, 300, |id| id));
        assert_eq!(narrow.containers.len(), 300, "what is there is told");
        narrow.record(&tick(5, 1, |id| id));
        assert_eq!(narrow.containers.len(), 1);
        let mut roomy = Memory::new(BOUND);
        roomy.record(&tick(0, 2, |id| id));
        roomy.record(&tick(3599, 1, |id| id));
        assert!(roomy.columns("c1", &[], 0).is_some());
        roomy.record(&tick(3601, 1, |id| id));
        assert!(roomy.columns("c1", &[], 0).is_none());
    }

    #[test]
    fn only_the_newest_log_entries_stay() {
        let mut memory = Memory::new(BOUND);
        for time in 0..200 {
            memory.note("web", LogEntry { time, level: "WARN", message: "x".to_owned(), topic: Topic::Other });
        }
        let entries = memory.entries("web").unwrap();
        assert_eq!((entries.len(), entries[0].time), (ENTRIES, 150));
    }
}
