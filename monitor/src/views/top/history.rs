//! The last minutes of a container, for sparklines.

use std::collections::VecDeque;

use crate::metrics::Metric;
use crate::views::row::Row;

/// So many samples are kept: five minutes at one second.
pub const LENGTH: usize = 300;

/// What is kept, with the name of its sparkline.
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

/// The samples of one container, and how often the kernel killed in it while it was looked at.
#[derive(Clone, Debug, Default)]
pub struct History {
    rings: [VecDeque<Option<f32>>; TRACED.len()],
    kills: VecDeque<Option<u64>>,
}

impl History {
    /// Adds a sample.
    pub fn push(&mut self, row: &Row) {
        for (ring, (metric, _)) in self.rings.iter_mut().zip(TRACED) {
            #[expect(clippy::cast_possible_truncation, reason = "drawn in eight steps")]
            keep(ring, row.number(metric).map(|value| value as f32));
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
        keep(&mut self.kills, row.number(Metric::OomKills).map(|kills| kills as u64));
    }

    /// How many samples there are.
    pub fn len(&self) -> usize {
        self.kills.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.kills.is_empty()
    }

    /// The latest `count` samples of a traced number but the `skip` newest ones, oldest first.
    pub fn latest(&self, traced: usize, count: usize, skip: usize) -> impl Iterator<Item = Option<f32>> {
        let ring = &self.rings[traced];
        let end = ring.len().saturating_sub(skip);
        ring.range(end.saturating_sub(count)..end).copied()
    }

    /// Processes that were killed for want of memory within the samples. A counter that began anew counts from 0.
    pub fn kills(&self) -> u64 {
        let mut known = self.kills.iter().flatten();
        let first = known.next().copied().unwrap_or(0);
        let sum = |(before, killed): (u64, u64), &now: &u64| {
            (now, killed.saturating_add(now.checked_sub(before).unwrap_or(now)))
        };
        known.fold((first, 0), sum).1
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

    #[test]
    fn kills_are_those_that_were_seen_and_not_those_of_before() {
        let mut history = History::default();
        for kills in [7, 7, 9, 1] {
            history.push(&row("web", &[(Metric::OomKills, kills)]));
        }
        assert_eq!(history.kills(), 3);
        for kills in [u64::MAX - 1, 0, u64::MAX - 1] {
            history.push(&row("web", &[(Metric::OomKills, kills)]));
        }
        assert_eq!(history.kills(), u64::MAX, "whatever an agent has written");
    }
}
