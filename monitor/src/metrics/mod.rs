//! The table of every number that the agent reports, one row each.
//!
//! Reading, JSON, the terminal and `docs/metrics.md` are loops over it. A number that a kernel file already has is
//! added by adding its row to `table.rs`; one that eBPF counts needs the field and the increment as well.

mod file;
mod lookup;
mod origin;
mod table;
mod unit;

pub use self::file::{ChangeToken, File, Format, NO_LIMIT, NOT_VISIBLE, Upwards};
pub use self::lookup::{GROUPS, Rows};
pub use self::origin::{CONTROLLER_ITERATOR, CPU_ITERATOR, MEMORY_ITERATOR, Origin, TASK_ITERATOR, TreeVersion};
pub use self::table::{Derived, How, Metric, Shown, Spec, View};
pub use self::unit::{Kind, Unit};

#[cfg(test)]
mod tests;
