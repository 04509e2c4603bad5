//! Levels of the tree above a container whose limits bind: what all that they hold uses, and the throttling there.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::ancestors::Bound;
use super::file::LONGEST;
use super::plan::TreeKind;
use crate::cause::{Cause, CauseKind};
use crate::foreign;
use crate::metrics::Format::{Flat, Single};
use crate::metrics::{Format, Metric, NO_LIMIT, NOT_VISIBLE, Origin};
use crate::snapshot::{Identity, Values};
use crate::sources::parse;

/// `PAGE_COUNTER_MAX` in bytes, for any page size: no limit in v1.
const V1_NO_LIMIT: u64 = 0x7FFF_FFFF_FFFF_0000;

/// The rows that come from the level that binds, by the limit that tells it.
const ROWS: &[(Metric, &[Metric])] = &[
    (Metric::CpuLimit, &[Metric::CpuPeriod, Metric::CpuLevel, Metric::CpuLevelUsage]),
    (Metric::MemoryLimit, &[Metric::MemoryLimitLevel, Metric::MemoryLevelUsage]),
    (Metric::PidsLimit, &[Metric::PidsLimitLevel, Metric::PidsLevelUsage]),
];

/// A limit of a container, as its files gave it.
#[derive(Clone, Copy, Debug)]
pub(super) struct BindingLimit {
    pub(super) tree: TreeKind,
    pub(super) bound: Bound,
}

/// The limits of one container.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Limits {
    pub(super) quota: Option<BindingLimit>,
    pub(super) cpuset: Option<BindingLimit>,
    pub(super) memory: Option<BindingLimit>,
    pub(super) tasks: Option<BindingLimit>,
}

/// The levels that bound a container at its last sample: of the quota, and of the CPU time.
pub(super) type Before = Option<(usize, usize)>;

/// The files of levels that bind, each read once per sample.
#[derive(Debug, Default)]
pub(super) struct BindingLevels(HashMap<PathBuf, HashMap<&'static str, Option<Vec<u8>>>>);

impl BindingLevels {
    /// Forgets the last sample.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Fills in the rows that come from the level that binds.
    pub(super) fn fill(&mut self, limits: &Limits, identity: &Identity, before: &mut Before, values: &mut Values) {
        miss_with_limits(values);
        self.cpu(limits, identity, before, values);
        self.memory(limits.memory, identity, values);
        if let Some(found) = limits.tasks.filter(|found| is_set(found.bound)) {
            put(values, found.tree, Metric::PidsLimitLevel, Some(found.bound.level as u64));
            if let Some(dir) = above(found.tree, identity, found.bound.level) {
                put(values, found.tree, Metric::PidsLevelUsage, self.number(dir, "pids.current", Single));
            }
        }
    }

    fn cpu(&mut self, limits: &Limits, identity: &Identity, before: &mut Before, values: &mut Values) {
        let quota = limits.quota.filter(|found| is_set(found.bound));
        let whole = |found: BindingLimit| found.bound.limit.value.saturating_mul(1_000_000);
        let tighter = limits.cpuset.filter(|cpuset| quota.is_none_or(|quota| whole(*cpuset) < quota.bound.limit.value));
        let Some(binding) = tighter.or(quota) else {
            *before = None;
            return;
        };
        let now = (quota.map_or(0, |quota| quota.bound.level), binding.bound.level);
        let is_same = before.replace(now).is_none_or(|before| before == now);
        let tree = quota.map_or(binding.tree, |quota| quota.tree);
        put(values, tree, Metric::CpuLevel, Some(now.1 as u64));
        // The counters of two levels have nothing to do with each other: one sample is left out.
        let changed = || Cause::new(CauseKind::FirstReading, "another level of the tree limits the container now");
        let mut count = |metric, value: Option<u64>| match is_same {
            true => put(values, tree, metric, value),
            false => values.miss(metric, rank(metric, tree), changed()),
        };
        if let Some(period) = quota.and_then(|quota| quota.bound.limit.period) {
            count(Metric::CpuPeriod, Some(period.saturating_mul(1_000)));
        }
        if let Some(dir) = quota.and_then(|quota| above(quota.tree, identity, quota.bound.level)) {
            let time = match tree {
                TreeKind::V2 => self.number(dir, "cpu.stat", Flat("throttled_usec")).map(|time| time * 1_000),
                TreeKind::V1(_) => self.number(dir, "cpu.stat", Flat("throttled_time")),
            };
            count(Metric::CpuPeriods, self.number(dir, "cpu.stat", Flat("nr_periods")));
            count(Metric::CpuThrottled, self.number(dir, "cpu.stat", Flat("nr_throttled")));
            count(Metric::CpuThrottledTime, time);
        }
        if now.1 > 0 {
            count(Metric::CpuLevelUsage, self.cpu_time(identity, now.1));
        }
    }

    /// Returns the CPU time of a level, in nanoseconds, from the tree that counts it.
    fn cpu_time(&mut self, identity: &Identity, level: usize) -> Option<u64> {
        let v2 = above(TreeKind::V2, identity, level);
        v2.and_then(|dir| self.number(dir, "cpu.stat", Flat("usage_usec")))
            .map(|time| time.saturating_mul(1_000))
            .or_else(|| self.number(above(TreeKind::V1("cpuacct"), identity, level)?, "cpuacct.usage", Single))
    }

    fn memory(&mut self, found: Option<BindingLimit>, identity: &Identity, values: &mut Values) {
        let hierarchical = match values.get(Metric::MemoryHierarchicalLimit) {
            Some(Ok(limit)) => Some(if limit >= V1_NO_LIMIT { NO_LIMIT } else { limit }),
            _ => None,
        };
        // The kernel knows the levels that are not visible from here.
        if let (Some(limit), Some(Ok(seen))) = (hierarchical, values.get(Metric::MemoryLimit))
            && (limit < seen || seen == NOT_VISIBLE)
        {
            values.put(Metric::MemoryLimit, 1, limit);
            if limit != NO_LIMIT {
                let cause =
                    Cause::new(CauseKind::NotApplicable, "the level whose limit binds is not visible from here");
                values.miss(Metric::MemoryLimitLevel, 0, cause);
            }
            return;
        }
        let Some(BindingLimit { tree, bound }) = found.filter(|found| is_set(found.bound)) else { return };
        put(values, tree, Metric::MemoryLimitLevel, Some(bound.level as u64));
        let Some(dir) = above(tree, identity, bound.level) else { return };
        let (usage, inactive) = match tree {
            TreeKind::V2 => ("memory.current", "inactive_file"),
            TreeKind::V1(_) => ("memory.usage_in_bytes", "total_inactive_file"),
        };
        let usage = self.number(dir, usage, Single);
        let inactive = self.number(dir, "memory.stat", Flat(inactive));
        let needed = usage.zip(inactive).map(|(usage, inactive)| usage.saturating_sub(inactive));
        put(values, tree, Metric::MemoryLevelUsage, needed);
    }

    fn number(&mut self, dir: &Path, name: &'static str, format: Format) -> Option<u64> {
        if !self.0.contains_key(dir) {
            self.0.insert(dir.to_owned(), HashMap::new());
        }
        let text = self.0.get_mut(dir)?.entry(name).or_insert_with(|| foreign::read(&dir.join(name), LONGEST).ok());
        parse::number(format, text.as_deref()?).ok()
    }
}

/// Where a limit cannot be read, no level is known to bind.
fn miss_with_limits(values: &mut Values) {
    for (limit, rows) in ROWS {
        if let Some(Err(cause)) = values.get(*limit) {
            let cause = cause.clone();
            rows.iter().for_each(|row| values.miss(*row, 0, cause.clone()));
        }
    }
}

fn is_set(bound: Bound) -> bool {
    ![NO_LIMIT, NOT_VISIBLE].contains(&bound.limit.value)
}

/// Returns the directory a number of levels above a container; `None` for its own.
fn above(tree: TreeKind, identity: &Identity, level: usize) -> Option<&Path> {
    super::plan::directory(tree, identity)?.ancestors().nth(level).filter(|_| level > 0)
}

/// The rank of the level that binds among a row's origins.
fn rank(metric: Metric, tree: TreeKind) -> u8 {
    let is_of_level = |origin: &Origin| matches!(origin, Origin::BindingLevel(version) if *version == tree.version());
    let origins = metric.spec().origins().iter();
    origins.zip(0u8..).find(|(origin, _)| is_of_level(origin)).map_or(0, |(_, rank)| rank)
}

fn put(values: &mut Values, tree: TreeKind, metric: Metric, value: Option<u64>) {
    match value {
        Some(value) => values.put(metric, rank(metric, tree), value),
        None => {
            let cause =
                Cause::new(CauseKind::Missing, "the files of the level that limits the container cannot be read");
            values.miss(metric, rank(metric, tree), cause);
        }
    }
}
