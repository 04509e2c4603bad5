//! Files of cgroup directories, v2 and v1 (`Documentation/admin-guide/cgroup-v2.rst`, `…/cgroup-v1/*.rst`).
//!
//! Each file of the table is opened once per cgroup and kept open: a `pread` costs a third of open, read and close. If
//! the descriptor limit is too low, the files of the least active cgroups are opened for each sample. The limits of
//! ancestors are read once for all their descendants. Nothing is allocated while the same files exist, or are missing,
//! as in the last sample.

mod ancestors;
mod below;
mod binding;
mod cgroup_file;
mod context;
mod devices;
mod error;
mod file;
mod open_files;
mod plan;

use std::collections::{HashMap, HashSet};
use std::path::Path;

use self::ancestors::AncestorFiles;
use self::binding::BindingLevels;
use self::cgroup_file::CgroupFile;
use self::context::{Location, ReadContext, ReadRequest};
use self::open_files::OpenFiles;
use self::plan::{FilePlan, plans};
use super::fd_budget::choose;
use super::source::{Source, SourceError};
use crate::cause::{Cause, CauseKind};
use crate::metrics::{Metric, NO_LIMIT, NOT_VISIBLE, Upwards};
use crate::snapshot::{Cgroup, CgroupId, Coverage, Snapshot, Status, Values};

/// Samples after which a missing file is looked for again, since a controller may have been enabled.
const RETRY: u64 = 60;

/// Samples after which the choice of cgroups with open files is repeated.
const CHOOSE: u64 = 12;

/// Reads the cgroups of a snapshot.
#[derive(Debug)]
pub struct CgroupFiles {
    plans: Vec<FilePlan>,
    open: HashMap<CgroupId, OpenFiles>,
    above: AncestorFiles,
    binding: BindingLevels,
    context: ReadContext,
    readings: u64,
    ended: Cause,
    of_machine: Cause,
}

impl CgroupFiles {
    /// Keeps at most `room` files open. `sys` is where sysfs is mounted.
    pub fn new(room: usize, sys: &Path) -> Self {
        let (above, context) = (AncestorFiles::default(), ReadContext::new(room, sys));
        let ended = Cause::new(CauseKind::Exited, "the container has ended");
        let text = "the container is at the root of this cgroup tree, whose numbers are the machine's";
        let of_machine = Cause::new(CauseKind::NotApplicable, text);
        let binding = BindingLevels::default();
        Self { plans: plans(), open: HashMap::new(), above, binding, context, readings: 0, ended, of_machine }
    }
}

impl Source for CgroupFiles {
    fn name(&self) -> &'static str {
        "cgroup files"
    }

    fn sample(&mut self, into: &mut Snapshot) -> Result<(), SourceError> {
        let whole = into.coverage == Coverage::All;
        self.context.turn += 1;
        self.binding.clear();
        if self.readings.is_multiple_of(RETRY) {
            self.context.devices.forget();
        }
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
            let rows_of_machine = open.of_machine.iter().flat_map(|at| &self.plans[usize::from(*at)].rows);
            rows_of_machine.for_each(|(metric, rank, _)| values.miss(*metric, *rank, self.of_machine.clone()));
            for at in open.found.iter().copied().map(usize::from) {
                let (plan, kept) = (&self.plans[at], &mut open.files[at]);
                if identity.is_root && plan.is_of_machine {
                    continue;
                }
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
            unlimited(&self.plans, open, values);
            self.binding.fill(&open.limits(&self.plans), identity, &mut open.bounds, values);
            if let Some(Ok(used)) = values.get(Metric::CpuUsage) {
                open.activity.note(used);
            }
        }
        self.readings += u64::from(whole);
        Ok(())
    }
}

impl CgroupFiles {
    /// Chooses the cgroups whose files stay open when not all fit.
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

/// Without a file for a limit in any tree, at any level, no limit can have been set: the cgroup is the root, or the
/// controller is off. Where levels above are not visible, one may be set there. A file that exists but cannot be read
/// has left its cause instead.
fn unlimited(plans: &[FilePlan], open: &OpenFiles, values: &mut Values) {
    for at in open.found.iter().copied().map(usize::from) {
        if plans[at].file.upwards != Upwards::Smallest {
            continue;
        }
        let is_whole = open.files[at].as_ref().is_none_or(|file| file.sees_all());
        for (metric, rank, _) in &plans[at].rows {
            if values.get(*metric).is_none() || values.get(*metric) == Some(Ok(NO_LIMIT)) && !is_whole {
                values.put(*metric, *rank, if is_whole { NO_LIMIT } else { NOT_VISIBLE });
            }
        }
    }
}

#[cfg(test)]
mod limit_tests;
#[cfg(test)]
mod tests;
