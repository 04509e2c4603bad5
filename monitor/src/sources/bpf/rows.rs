//! Which numbers the maps feed: found once, and not for each cgroup.

use monitor_common::{Network, Processes};

use super::{Counted, PREFIX, ProgramState};
use crate::cause::{Cause, CauseKind};
use crate::metrics::{Metric, Origin};
use crate::snapshot::{CgroupId, Values};

/// The rows that the maps feed.
pub(super) struct Rows {
    pub(super) network: Feed<Network>,
    pub(super) processes: Feed<Processes>,
}

/// Those of one map, with what is known of each before anything is read.
pub(super) struct Feed<V> {
    rows: Vec<Row<V>>,
    unread: Cause,
    missed: Cause,
}

struct Row<V> {
    metric: Metric,
    rank: u8,
    programs: &'static [&'static str],
    field: fn(&V) -> u64,
    /// Why the first of its programs that does not count does not.
    lacks: Option<Cause>,
}

impl Rows {
    pub(super) fn new(programs: &[ProgramState]) -> Self {
        let network = Metric::fed_by(|origin| match origin {
            Origin::Network(programs, field) => Some((*programs, *field)),
            _ => None,
        });
        let processes = Metric::fed_by(|origin| match origin {
            Origin::Processes(programs, field) => Some((*programs, *field)),
            _ => None,
        });
        Self { network: Feed::new(network, programs), processes: Feed::new(processes, programs) }
    }
}

/// The programs that a number takes, and which of the counts it is.
type Pick<V> = (&'static [&'static str], fn(&V) -> u64);

impl<V: Copy + Default + PartialEq> Feed<V> {
    fn new(rows: crate::metrics::Rows<Pick<V>>, states: &[ProgramState]) -> Self {
        let lacks = |names: &[&str]| {
            let mut states = states.iter().filter(|program| names.contains(&program.name));
            let why = |program: &ProgramState| Some(format!("{PREFIX}{}: {}", program.name, program.state.why()?));
            states.find_map(why).map(|why| Cause::new(CauseKind::NotAttached, why))
        };
        let row = |(metric, rank, (programs, field))| Row { metric, rank, programs, field, lacks: lacks(programs) };
        Self {
            rows: rows.into_iter().map(row).collect(),
            unread: Cause::new(CauseKind::Failed, "the eBPF map cannot be read"),
            missed: Cause::new(
                CauseKind::LostEvents,
                "not all events are counted: a task was preempted in an eBPF program that others needed",
            ),
        }
    }

    /// Fills in what a cgroup has counted, if anything was read at all.
    pub(super) fn fill(&self, read: Option<&Counted<V>>, id: CgroupId, is_all: bool, values: &mut Values) {
        let counted = read.and_then(|read| read.of(id, is_all));
        let missed = read.map_or(&[][..], |read| &read.missed);
        for Row { metric, rank, programs, field, lacks } in &self.rows {
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
