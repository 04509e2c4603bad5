//! The files of cgroup directories, v2 and v1 (`Documentation/admin-guide/cgroup-v2.rst`, `…/cgroup-v1/*.rst`).
//!
//! Each file that the table names is opened once per cgroup and kept open: a `pread` costs a third of open, read and
//! close. Where the limit of descriptors leaves no room, those of the least active cgroups are opened for each reading.
//! The limits of what containers lie in are read once for all of them. Nothing is allocated while the same things are
//! there, or missing, as last time.

mod ancestors;
mod cgroup_file;
mod context;
mod error;
mod file;
mod open_files;
mod plan;

use std::collections::{HashMap, HashSet};

use self::ancestors::AncestorFiles;
use self::cgroup_file::CgroupFile;
use self::context::{Location, ReadContext, ReadRequest};
use self::open_files::OpenFiles;
use self::plan::{FilePlan, plans};
use super::fd_budget::choose;
use super::source::{Source, SourceError};
use crate::cause::{Cause, CauseKind};
use crate::metrics::{Metric, NO_LIMIT};
use crate::snapshot::{Cgroup, CgroupId, Coverage, Snapshot, Status, Values};

/// A file that is not there is looked for again after so many readings: controllers are switched on, rarely.
const RETRY: u64 = 60;

/// Which cgroups keep their files open is decided anew after so many readings.
const CHOOSE: u64 = 12;

/// Reads the cgroups of a snapshot.
#[derive(Debug)]
pub struct CgroupFiles {
    plans: Vec<FilePlan>,
    open: HashMap<CgroupId, OpenFiles>,
    above: AncestorFiles,
    context: ReadContext,
    readings: u64,
    ended: Cause,
}

impl CgroupFiles {
    /// Keeps at most `room` files open.
    pub fn new(room: usize) -> Self {
        let (above, context) = (AncestorFiles::default(), ReadContext::new(room));
        let ended = Cause::new(CauseKind::Exited, "the container has ended");
        Self { plans: plans(), open: HashMap::new(), above, context, readings: 0, ended }
    }
}

impl Source for CgroupFiles {
    fn name(&self) -> &'static str {
        "cgroup files"
    }

    fn sample(&mut self, into: &mut Snapshot) -> Result<(), SourceError> {
        let whole = into.coverage == Coverage::All;
        self.context.turn += 1;
        self.context.now = into.taken.mono;
        let known = self.open.len();
        self.open.retain(|id, open| {
            let stays = match into.cgroups.get(id) {
                Some(cgroup) => cgroup.status != Status::Exited && open.is_of(&cgroup.identity),
                None => !whole,
            };
            if !stays {
                self.context.room += open.count();
            }
            stays
        });
        if self.open.len() < known {
            self.context.room += self.above.leave();
        }
        if whole && self.readings.is_multiple_of(CHOOSE) {
            self.choose();
        }
        for (id, cgroup) in &mut into.cgroups {
            let Cgroup { identity, values, status, tokens, .. } = cgroup;
            if *status == Status::Exited {
                let rows = self.plans.iter().flat_map(|plan| &plan.rows);
                rows.for_each(|(metric, rank, _)| values.miss(*metric, *rank, self.ended.clone()));
                continue;
            }
            let open = self.open.entry(*id).or_insert_with(|| OpenFiles::find(&self.plans, identity));
            self.context.keep = open.stays_open;
            let retry = self.readings.is_multiple_of(RETRY);
            for at in open.found.iter().copied().map(usize::from) {
                let (plan, kept) = (&self.plans[at], &mut open.files[at]);
                match kept {
                    Some(kept) if !kept.is_wanted(plan, retry, values) => kept.miss_what_it_lacks(plan, values),
                    None if plan.is_served(values) => {}
                    kept => {
                        let find = || Box::new(CgroupFile::find(at, plan, &mut self.above, identity));
                        let token = plan.file.token.and_then(|token| tokens.get(token));
                        let request = ReadRequest { plan, location: Location::Of(identity), token, retry };
                        kept.get_or_insert_with(find).read(request, &mut self.context, values);
                    }
                }
            }
            unlimited(&self.plans, &open.found, values);
            if let Some(Ok(used)) = values.get(Metric::CpuUsage) {
                open.activity.note(used);
            }
        }
        self.readings += u64::from(whole);
        Ok(())
    }
}

impl CgroupFiles {
    /// Where there was no room for all files, decides whose stay open.
    fn choose(&mut self) {
        if !std::mem::take(&mut self.context.lacked_room) && self.open.values().all(|open| open.stays_open) {
            return;
        }
        let open: usize = self.open.values().map(OpenFiles::count).sum();
        let all = self.open.iter().map(|(id, open)| (*id, open.activity, open.count_found())).collect();
        let chosen: HashSet<CgroupId> = choose(all, self.context.room + open);
        for (id, open) in &mut self.open {
            open.stays_open = chosen.contains(id);
            if !open.stays_open {
                self.context.room += open.count();
                open.close();
            }
        }
    }
}

/// Where no tree has a file for a limit, at no level, no limit can have been set: the root, or a controller that is
/// off. A file that is there and cannot be read has left its cause instead.
fn unlimited(plans: &[FilePlan], found: &[u8], values: &mut Values) {
    for (metric, rank, _) in found
        .iter()
        .map(|at| &plans[usize::from(*at)])
        .filter(|plan| plan.file.smallest_upwards)
        .flat_map(|plan| &plan.rows)
    {
        if values.get(*metric).is_none() {
            values.put(*metric, *rank, NO_LIMIT);
        }
    }
}

#[cfg(test)]
mod tests;
