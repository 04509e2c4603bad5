//! Values of one cgroup, and for each value that is absent, the cause.

use crate::cause::Cause;
use crate::metrics::{ChangeToken, Metric, Origin, Rows};

/// The state of one number. `rank` is the position of the origin in the metric's row, 0 being preferred.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Reading {
    #[default]
    Unset,
    Absent(Cause, u8),
    Value(u64, u8),
}

/// One cell per metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Values([Reading; Metric::COUNT]);

impl Default for Values {
    fn default() -> Self {
        Self([const { Reading::Unset }; Metric::COUNT])
    }
}

impl Values {
    /// Records a value from the origin at `rank`, unless a more preferred origin gave one.
    pub fn put(&mut self, metric: Metric, rank: u8, value: u64) {
        let cell = &mut self.0[metric.index()];
        match cell {
            Reading::Value(_, held) if *held < rank => {}
            _ => *cell = Reading::Value(value, rank),
        }
    }

    /// Records why the origin at `rank` gave nothing. The cause of the least preferred origin stays.
    pub fn miss(&mut self, metric: Metric, rank: u8, cause: Cause) {
        let cell = &mut self.0[metric.index()];
        match cell {
            Reading::Value(..) => {}
            Reading::Absent(_, held) if *held > rank => {}
            _ => *cell = Reading::Absent(cause, rank),
        }
    }

    /// Takes over the values of an earlier reading that this one lacks.
    pub fn complete(&mut self, earlier: &Self) {
        for (cell, known) in self.0.iter_mut().zip(&earlier.0) {
            if let (Reading::Unset | Reading::Absent(..), Reading::Value(..)) = (&*cell, known) {
                *cell = known.clone();
            }
        }
    }

    /// Records a value that is known without reading it. The origin stays the one that was asked last.
    pub fn settle(&mut self, metric: Metric, value: u64) {
        let cell = &mut self.0[metric.index()];
        let rank = match cell {
            Reading::Value(_, rank) | Reading::Absent(_, rank) => *rank,
            Reading::Unset => u8::try_from(metric.spec().origins().len().saturating_sub(1)).unwrap_or(u8::MAX),
        };
        *cell = Reading::Value(value, rank);
    }

    /// Records the result of `read` for each of these rows, which have an origin of one kind.
    pub fn fill<P>(&mut self, rows: &Rows<P>, read: impl Fn(&P) -> Result<u64, Cause>) {
        for (metric, rank, pick) in rows {
            match read(pick) {
                Ok(value) => self.put(*metric, *rank, value),
                Err(cause) => self.miss(*metric, *rank, cause),
            }
        }
    }

    /// True if it is known to have no process: it has ended, or is about to. What the kernel says of the groups below it too
    /// goes before a count.
    pub fn is_empty_of_processes(&self) -> bool {
        let known = |metric| self.get(metric).and_then(Result::ok);
        known(Metric::Populated).or_else(|| known(Metric::ProcessCount)) == Some(0)
    }

    /// True if some number has no value from an origin preferred to this kind.
    pub fn want<P>(&self, rows: &Rows<P>) -> bool {
        rows.iter().any(|(metric, rank, _)| !self.served(*metric, *rank))
    }

    /// True if an origin preferred to `rank` has given the value already, so that reading it again is waste.
    pub fn served(&self, metric: Metric, rank: u8) -> bool {
        matches!(self.0[metric.index()], Reading::Value(_, held) if held < rank)
    }

    /// The value, or the cause of its absence; `None` when no source of this host reads it.
    pub fn get(&self, metric: Metric) -> Option<Result<u64, &Cause>> {
        match &self.0[metric.index()] {
            Reading::Unset => None,
            Reading::Absent(cause, _) => Some(Err(cause)),
            Reading::Value(value, _) => Some(Ok(*value)),
        }
    }

    /// The origins of the values.
    pub fn origins(&self) -> Origins {
        Origins(std::array::from_fn(|at| match self.0[at] {
            Reading::Value(_, rank) => rank,
            _ => u8::MAX,
        }))
    }
}

/// The origins of the values of a cgroup, as ranks; a rank behind the last origin of a row stands for none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origins([u8; Metric::COUNT]);

impl Origins {
    /// These, and those of an earlier reading for values that this one lacks.
    #[must_use]
    pub fn or(&self, earlier: &Self) -> Self {
        Self(std::array::from_fn(|at| if self.0[at] == u8::MAX { earlier.0[at] } else { self.0[at] }))
    }

    /// The origin of a value; `None` if there is no value.
    pub fn of(&self, metric: Metric) -> Option<&'static Origin> {
        metric.spec().origins().get(usize::from(self.0[metric.index()]))
    }
}

/// The value of each [`ChangeToken`] that is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChangeTokens([Option<u64>; 5]);

impl ChangeTokens {
    /// The value of a token, if it is known.
    pub fn get(&self, token: ChangeToken) -> Option<u64> {
        self.0[token as usize]
    }

    /// Sets the value of a token.
    pub fn set(&mut self, token: ChangeToken, value: Option<u64>) {
        self.0[token as usize] = value;
    }
}
