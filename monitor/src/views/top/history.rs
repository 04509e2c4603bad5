//! The last minutes of a container, for sparklines.

use std::collections::VecDeque;

use crate::findings::Timeline;
use crate::metrics::Metric;
use crate::views::row::Row;

/// Samples that are kept: five minutes at one second.
pub const LENGTH: usize = 300;

/// The metrics that are kept, each with the name of its sparkline.
pub const TRACED: [(Metric, &str); 9] = [
    (Metric::CpuPercent, "cpu"),
    (Metric::CpuThrottledPercent, "throttled"),
    (Metric::MemoryUsage, "memory"),
    (Metric::NetworkRxRate, "net in"),
    (Metric::NetworkTxRate, "net out"),
    (Metric::IoReadRate, "disk read"),
    (Metric::IoWriteRate, "disk write"),
    (Metric::ProcessCount, "processes"),
    (Metric::FileDescriptors, "descriptors"),
];

/// The samples of one container, and its past.
#[derive(Clone, Debug, Default)]
pub struct History {
    rings: [VecDeque<Option<f32>>; TRACED.len()],
    timeline: Timeline,
}

impl History {
    /// Adds a sample.
    pub fn push(&mut self, row: &Row) {
        for (ring, (metric, _)) in self.rings.iter_mut().zip(TRACED) {
            #[expect(clippy::cast_possible_truncation, reason = "drawn in eight steps")]
            keep(ring, row.number(metric).map(|value| value as f32));
        }
        self.timeline.observe(row.taken, row.number(Metric::OomKills), row.number(Metric::Uptime));
    }

    /// Its OOM kills and restarts.
    pub fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    /// The number of samples.
    pub fn len(&self) -> usize {
        self.rings[0].len()
    }

    /// True without any sample.
    pub fn is_empty(&self) -> bool {
        self.rings[0].is_empty()
    }

    /// The latest `count` samples of a traced number but the `skip` newest ones, oldest first.
    pub fn latest(&self, traced: usize, count: usize, skip: usize) -> impl Iterator<Item = Option<f32>> {
        let ring = &self.rings[traced];
        let end = ring.len().saturating_sub(skip);
        ring.range(end.saturating_sub(count)..end).copied()
    }
}

fn keep<T>(ring: &mut VecDeque<T>, value: T) {
    if ring.len() == LENGTH {
        ring.pop_front();
    }
    ring.push_back(value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::views::sample::row;

    #[test]
    fn the_oldest_samples_go_and_gaps_stay_gaps() {
        let mut history = History::default();
        for count in 0..=LENGTH as u64 {
            history.push(&row("web", &[(Metric::ProcessCount, count)]));
        }
        history.push(&row("web", &[]));
        assert_eq!(history.len(), LENGTH);
        assert_eq!(history.latest(7, 3, 0).collect::<Vec<_>>(), [Some(299.0), Some(300.0), None]);
        assert_eq!(history.latest(7, 2, 1).collect::<Vec<_>>(), [Some(299.0), Some(300.0)]);
        assert_eq!(history.latest(7, 10_000, 10_000).count(), 0);
    }
}
