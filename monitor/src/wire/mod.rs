//! The JSON that leaves the process: the only formats that readers know. Pure.
//!
//! The first nineteen fields of a report are a contract with readers that decode them strictly: integers are digits
//! only and fit `i64`, reals are finite, what is absent is `null`, and no two names are equal when case is ignored.

mod entry;
mod error;
mod layout;
mod number;
mod object;
mod report;
mod time;

pub use self::entry::entry;
pub use self::error::EncodeError;
pub(crate) use self::number::{Shape, number, seconds};
pub(crate) use self::report::Writer;
pub use self::report::report;
pub use self::time::timestamp;

#[cfg(test)]
mod tests;
