//! The settings: their table, and where a value comes from.

mod collect;
mod error;
mod table;

pub use self::collect::{FILE_FLAG, FILE_VARIABLE, Settings};
pub use self::error::SettingError;
pub use self::table::{Setting, SettingName};

#[cfg(test)]
mod tests;
