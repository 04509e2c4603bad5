//! File of one cgroup, and the metrics that it feeds.

use std::path::Path;
use std::time::Duration;

use super::ancestors::{AncestorFiles, AncestorLimits, Bound, is_root};
use super::below::GroupsBelow;
use super::context::{ReadContext, ReadRequest};
use super::error::FileError;
use super::file::Level;
use super::plan::{FilePlan, directory};
use crate::cause::Cause;
use crate::metrics::{File, Metric, NO_LIMIT, NOT_VISIBLE, Upwards};
use crate::snapshot::{Identity, Values};
use crate::sources::parse::{self, ParseError};

/// A file of one cgroup. There are dozens per cgroup, so rarely needed fields are boxed.
#[derive(Debug)]
pub(super) struct CgroupFile {
    own: Level,
    /// The ancestors' files, for a limit that they can lower.
    upwards: Option<Box<AncestorLimits>>,
    /// The values of the groups below, for a number that the kernel counts by group.
    below: Option<Box<GroupsBelow>>,
    lacks: Option<Box<MissingRows>>,
    /// The last read, for a file that is not read in each sample.
    held: Option<Box<LastRead>>,
}

/// The cause of each row that the file lacks.
#[derive(Debug, Default)]
struct MissingRows(Vec<Option<Cause>>);

/// The values of the last read, its time, and the file's change token.
#[derive(Debug)]
struct LastRead {
    at: Duration,
    token: Option<u64>,
    numbers: Vec<Result<u64, Cause>>,
}

impl LastRead {
    /// True if the file is unchanged.
    fn is_valid(&self, request: ReadRequest<'_>, now: Duration) -> bool {
        self.token.is_some_and(|token| request.is_same(token)) || !request.retry && request.is_fresh(self.at, now)
    }
}

impl CgroupFile {
    pub(super) fn find(at: usize, plan: &FilePlan, above: &mut AncestorFiles, identity: &Identity) -> Self {
        let is_cgroup = |dir: &&Path| dir.join("cgroup.procs").exists();
        let dir = directory(plan.tree, identity).filter(|_| plan.file.upwards != Upwards::Own);
        let upwards = dir.map(|dir| {
            let is_whole = dir.ancestors().take_while(is_cgroup).last().is_some_and(|top| is_root(top, plan.tree));
            let above = dir.ancestors().skip(1).take_while(is_cgroup).map(|dir| above.share(at, plan, dir)).collect();
            Box::new(AncestorLimits { above, is_whole, own: None, bound: None })
        });
        let below = plan.file.sums_downwards.then(Box::default);
        Self { own: Level::new(plan), upwards, below, lacks: None, held: None }
    }

    /// Returns the number of open files.
    pub(super) fn count_open(&self) -> usize {
        self.own.count_open()
    }

    /// Returns the number of files to keep open.
    pub(super) fn count_found(&self) -> usize {
        self.own.files().filter(|file| file.is_used && file.missing.is_none()).count()
    }

    /// True if every level up to the root of the tree is visible.
    pub(super) fn sees_all(&self) -> bool {
        self.upwards.as_ref().is_none_or(|upwards| upwards.is_whole)
    }

    /// Returns the level whose value counts, as it was found last.
    pub(super) fn bound(&self) -> Option<Bound> {
        self.upwards.as_ref()?.bound?.1.ok()?
    }

    pub(super) fn close(&mut self) {
        self.own.close();
    }

    /// Returns the cause of a row that the file is known to lack.
    fn lacks(&self, row: usize) -> Option<&Cause> {
        self.lacks.as_ref()?.0.get(row)?.as_ref()
    }

    /// True if the file may have a metric that no better origin has provided.
    pub(super) fn is_wanted(&self, plan: &FilePlan, retry: bool, values: &Values) -> bool {
        let mut rows = plan.rows.iter().enumerate();
        rows.any(|(at, (metric, rank, _))| !values.served(*metric, *rank) && (retry || self.lacks(at).is_none()))
    }

    pub(super) fn miss_what_it_lacks(&self, plan: &FilePlan, values: &mut Values) {
        for (at, (metric, rank, _)) in plan.rows.iter().enumerate() {
            if let Some(cause) = self.lacks(at) {
                values.miss(*metric, *rank, cause.clone());
            }
        }
    }

    pub(super) fn read(&mut self, request: ReadRequest<'_>, context: &mut ReadContext, values: &mut Values) {
        let plan = request.plan;
        if let Some(upwards) = &mut self.upwards {
            match upwards.bound(&mut self.own, request, context) {
                Ok(Some(Bound { limit, .. })) => {
                    let rows = plan.rows.iter();
                    rows.for_each(|(metric, rank, file)| values.put(*metric, *rank, scaled(limit.value, file.scale)));
                }
                Ok(None) => {}
                Err(error) => miss(plan, error, values),
            }
            return;
        }
        if let Some(held) = self.held.as_ref().filter(|held| held.is_valid(request, context.now)) {
            plan.rows.iter().zip(&held.numbers).for_each(|(row, number)| note(row, number, values));
            return;
        }
        self.held = None;
        if let (Some(below), Some(dir)) = (&mut self.below, request.directory())
            && let Err(error) = below.read(dir, plan)
        {
            miss(plan, error, values);
            return;
        }
        match self.own.text(request, context) {
            Ok(length) => {
                let length = context.devices.count_once(plan, &mut context.buffer, length);
                let is_held = request.token.is_some() || plan.file.holds > Duration::ZERO;
                let mut numbers = Vec::with_capacity(if is_held { plan.rows.len() } else { 0 });
                for (at, row) in plan.rows.iter().enumerate() {
                    let number = self.number(plan, at, &context.buffer[..length]);
                    note(row, &number, values);
                    if is_held {
                        numbers.push(number);
                    }
                }
                self.held = is_held.then(|| Box::new(LastRead { at: context.now, token: request.token, numbers }));
            }
            Err(error) => miss(plan, error, values),
        }
    }

    /// Parses a row's value from the text.
    fn number(&mut self, plan: &FilePlan, at: usize, text: &[u8]) -> Result<u64, Cause> {
        let (_, _, file) = &plan.rows[at];
        match parse::number(file.format, text) {
            Ok(value) => {
                let value = self.below.as_ref().map_or(value, |below| below.sum().saturating_add(value));
                self.lacks.as_mut().and_then(|lacks| lacks.0.get_mut(at)).map(Option::take);
                Ok(scaled(value, file.scale))
            }
            Err(error) => Err(self.lack(plan, at, error)),
        }
    }

    /// Returns the cause of a missing row; cached if the file does not have the row.
    fn lack(&mut self, plan: &FilePlan, row: usize, error: ParseError) -> Cause {
        let cause = plan.causes.of(FileError::Parse(error), plan.file.name);
        if matches!(error, ParseError::Missing(_)) {
            let lacks = &mut self.lacks.get_or_insert_default().0;
            lacks.resize(plan.rows.len(), None);
            lacks[row] = Some(cause.clone());
        }
        cause
    }
}

fn miss(plan: &FilePlan, error: FileError, values: &mut Values) {
    let cause = plan.causes.of(error, plan.file.name);
    plan.rows.iter().for_each(|(metric, rank, _)| values.miss(*metric, *rank, cause.clone()));
}

fn note((metric, rank, _): &(Metric, u8, File), number: &Result<u64, Cause>, values: &mut Values) {
    match number {
        Ok(value) => values.put(*metric, *rank, *value),
        Err(cause) => values.miss(*metric, *rank, cause.clone()),
    }
}

fn scaled(value: u64, scale: u64) -> u64 {
    if [NO_LIMIT, NOT_VISIBLE].contains(&value) { value } else { value.saturating_mul(scale) }
}
