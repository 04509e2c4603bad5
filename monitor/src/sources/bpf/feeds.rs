//! Metrics that a group of counters feeds: resolved once, not per cgroup.

use super::counters::Counted;
use super::group::CounterGroup;
use crate::cause::{Cause, CauseKind};
use crate::metrics::Metric;
use crate::programs::{PREFIX, ProgramState};
use crate::snapshot::{CgroupId, Values};

/// The metrics of one group, each with its state before anything is read.
pub(super) struct MetricFeed<V> {
    rows: Vec<FeedRow<V>>,
    unread: Cause,
    missed: Cause,
}

struct FeedRow<V> {
    metric: Metric,
    rank: u8,
    programs: &'static [&'static str],
    field: fn(&V) -> u64,
    /// The cause of the first of its programs that is not attached.
    lacks: Option<Cause>,
}

impl<V: CounterGroup> MetricFeed<V> {
    /// Resolves the metrics of a group whose programs have these states.
    pub(super) fn new(states: &[ProgramState]) -> Self {
        let lacks = |names: &[&str]| {
            let mut states = states.iter().filter(|program| names.contains(&program.name));
            let why = |program: &ProgramState| Some(format!("{PREFIX}{}: {}", program.name, program.state.why()?));
            states.find_map(why).map(|why| Cause::new(CauseKind::NotAttached, why))
        };
        let row = |(metric, rank, (programs, field))| FeedRow { metric, rank, programs, field, lacks: lacks(programs) };
        Self {
            rows: Metric::fed_by(V::field).into_iter().map(row).collect(),
            unread: Cause::new(CauseKind::Failed, "the eBPF map cannot be read"),
            missed: Cause::new(
                CauseKind::LostEvents,
                "not all events are counted: a task was preempted in an eBPF program that others needed",
            ),
        }
    }

    /// Fills in the counters of a cgroup, if any were read.
    pub(super) fn fill(&self, read: Option<&Counted<V>>, id: CgroupId, is_all: bool, values: &mut Values) {
        let counted = read.and_then(|read| read.of(id, is_all));
        let missed = read.map_or(&[][..], |read| &read.missed);
        for FeedRow { metric, rank, programs, field, lacks } in &self.rows {
            match (lacks, &counted) {
                (Some(cause), _) | (None, Some(Err(cause))) => values.miss(*metric, *rank, cause.clone()),
                (None, None) => values.miss(*metric, *rank, self.unread.clone()),
                (None, Some(Ok(_))) if programs.iter().any(|program| missed.contains(program)) => {
                    values.miss(*metric, *rank, self.missed.clone());
                }
                (None, Some(Ok(counted))) => values.put(*metric, *rank, field(counted)),
            }
        }
    }
}
